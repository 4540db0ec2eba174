"""Charts of edited texts."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from saliency_core.output.charts.theme import BLUE, ORANGE, named_rows

SHOWN_WORDS = 12
"""Bars of aligned words; more hide what counts."""


def aligned_bars(words: pd.DataFrame) -> alt.Chart:
    """Return the first differences of `counterfactuals.aligned_words` as bars, in its order."""
    rows = words.head(SHOWN_WORDS)
    rows = rows.assign(pair=[f"{n:03d} {name}" for n, name in enumerate(pair_labels(rows))])
    return (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            y=named_rows("pair:O", 220, labelExpr="slice(datum.label,4)"),
            x=alt.X("difference:Q", title="Score, edited minus original (logits)"),
            color=alt.condition("datum.difference < 0", alt.value(BLUE), alt.value(ORANGE)),
            tooltip=[
                alt.Tooltip("before:N", title="original word"),
                alt.Tooltip("after:N", title="edited word"),
                alt.Tooltip("score_before:Q", title="score in the original", format="+.2f"),
                alt.Tooltip("score_after:Q", title="score in the edited text", format="+.2f"),
                alt.Tooltip("difference:Q", format="+.2f"),
            ],
        )
        .properties(height=alt.Step(20))
    )


def pair_labels(words: pd.DataFrame) -> list[str]:
    """Return a label a row of `counterfactuals.aligned_words`: the word, or what became of it."""
    labels = []
    for before, after in zip(words["before"], words["after"], strict=True):
        if not isinstance(after, str):
            labels.append(f"{before} → (gone)")
        elif not isinstance(before, str):
            labels.append(f"(new) → {after}")
        else:
            labels.append(before if before == after else f"{before} → {after}")
    return labels


def class_probabilities(before: dict[str, float], after: dict[str, float]) -> alt.Chart:
    """Return the probability of every class before and after, at most the twelve that count."""
    shown = sorted(before, key=lambda name: -max(before[name], after[name]))[:12]
    texts = ["original", "edited"]
    rows = pd.DataFrame(
        {
            "class": shown * 2,
            "text": np.repeat(texts, len(shown)),
            "probability": [side[name] for side in (before, after) for name in shown],
        }
    )
    return (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            y=named_rows("class:N", 160, shown),
            yOffset=alt.YOffset("text:N", sort=texts),
            x=alt.X("probability:Q", title="Probability", scale=alt.Scale(domain=[0, 1])),
            color=alt.Color(
                "text:N", title=None, scale=alt.Scale(domain=texts, range=[BLUE, ORANGE])
            ),
            tooltip=["class:N", "text:N", alt.Tooltip("probability:Q", format=".3f")],
        )
        .properties(height=alt.Step(16))
    )
