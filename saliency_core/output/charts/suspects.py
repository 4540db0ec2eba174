"""Charts of suspects and of edited texts; never calls Streamlit."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from saliency_core.output.charts.overview import BLUE, GREY, ORANGE, names_axis

MAX_POINTS = 1000
"""Beyond this many suspects a scatter can't be read; the strongest are shown."""
MAX_NAMES = 8
"""Suspects whose name stands beside their point."""
MAX_WORDS = 60
"""Bars of aligned words."""
RING = "#c2409a"
"""Around the suspect on show: no colour of the effect, in every kind of sight."""
RISING = ["#3b6fb6", "#35b2a5", "#f2c12e"]
"""From none to all: rises in lightness too, none of it lost on a white or a dark page."""
SUSPECT_FACTS = ["feature", "class", "verdict", "examples", "z", "mean_share", "flip_rate"]
"""What the chart of suspects shows of each."""


def suspects(table: pd.DataFrame, current: tuple[str, str]) -> alt.LayerChart | alt.FacetChart:
    """Return association against reliance; points are selectable as `mark` (feature, class).

    Args:
        table: rows of `presentation.with_judgements`, strongest first.
        current: feature and class of the suspect on show, which gets a ring.
    """
    rows = table.dropna(subset=["mean_share", "z"]).head(MAX_POINTS)[SUSPECT_FACTS]
    rows = rows.assign(
        current=(rows["feature"] == current[0]) & (rows["class"] == current[1]),
        order=-rows["examples"],
    )
    base = alt.Chart(rows).encode(
        x=alt.X(
            "mean_share:Q",
            title="Reliance: mean share of the saliency",
            axis=alt.Axis(format="%"),
            # Room for the names on the right.
            scale=alt.Scale(domain=[0, 1.25 * float(rows["mean_share"].max() or 1)], nice=False),
        ),
        y=alt.Y("z:Q", title="Association: z"),
        size=alt.Size(
            "examples:Q",
            title="Examples",
            scale=alt.Scale(range=[30, 600]),
            legend=alt.Legend(orient="bottom", tickCount=3),
        ),
        order="order:Q",
        tooltip=[
            "feature:N",
            "class:N",
            "verdict:N",
            "examples:Q",
            alt.Tooltip("z:Q", format=".1f"),
            alt.Tooltip("mean_share:Q", format=".1%", title="mean share"),
            alt.Tooltip("flip_rate:Q", format=".1%", title="answers that flip"),
        ],
    )
    # Grey and hollow where the effect was not measured: an empty value is no zero.
    unknown = base.transform_filter("!isValid(datum.flip_rate)").mark_point(
        color=GREY, opacity=0.6, cursor="pointer"
    )
    measured = base.transform_filter("isValid(datum.flip_rate)").mark_circle(
        opacity=0.9, stroke=GREY, strokeWidth=1, cursor="pointer"
    )
    measured = measured.encode(
        color=alt.Color(
            "flip_rate:Q",
            title="Answers that flip",
            scale=alt.Scale(range=RISING, domain=[0, 1]),
            legend=alt.Legend(format="%", orient="bottom", gradientLength=80),
        )
    )
    ring = base.transform_filter("datum.current").mark_point(
        color=RING, strokeWidth=3, opacity=1, cursor="pointer"
    )
    named = alt.Chart(rows.dropna(subset=["flip_rate"]).head(MAX_NAMES)).mark_text(
        align="left", dx=8, color=GREY, fontWeight="bold", limit=120
    )
    named = named.encode(x="mean_share:Q", y="z:Q", text="feature:N")
    pick = alt.selection_point("mark", fields=["feature", "class"], clear="dblclick")
    return alt.layer(unknown, measured.add_params(pick), ring, named).properties(height=440)


def aligned(words: pd.DataFrame) -> alt.Chart:
    """Return the differences of aligned words (`what_if.aligned_words`) as bars, as in the text.

    Of many words those that differ most.
    """
    rows = words.assign(pair=[f"{place:03d} {name}" for place, name in enumerate(pairs(words))])
    rows = rows.loc[sorted(rows["difference"].abs().nlargest(MAX_WORDS).index)]
    return (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            y=alt.Y(
                "pair:O",
                sort=None,
                title=None,
                axis=names_axis(220, labelExpr="slice(datum.label,4)"),
            ),
            x=alt.X("difference:Q", title="Score after minus before (logits)"),
            color=alt.condition("datum.difference < 0", alt.value(BLUE), alt.value(ORANGE)),
            tooltip=[
                "before:N",
                "after:N",
                alt.Tooltip("score_before:Q", format="+.2f"),
                alt.Tooltip("score_after:Q", format="+.2f"),
                alt.Tooltip("difference:Q", format="+.2f"),
            ],
        )
        .properties(height=alt.Step(20))
    )


def pairs(words: pd.DataFrame) -> list[str]:
    """Return a label a row of `what_if.aligned_words`: the word, or what became of it."""
    labels = []
    for before, after in zip(words["before"], words["after"], strict=True):
        if not isinstance(after, str):
            labels.append(f"{before} → (gone)")
        elif not isinstance(before, str):
            labels.append(f"(new) → {after}")
        else:
            labels.append(before if before == after else f"{before} → {after}")
    return labels


def probabilities(before: dict[str, float], after: dict[str, float]) -> alt.Chart:
    """Return the probability of every class before and after, at most the twelve that count."""
    names = sorted(before, key=lambda name: -max(before[name], after[name]))[:12]
    rows = pd.DataFrame(
        {
            "class": names * 2,
            "text": np.repeat(["as it is", "edited"], len(names)),
            "probability": [side[name] for side in (before, after) for name in names],
        }
    )
    return (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            y=alt.Y("class:N", sort=names, title=None, axis=names_axis(160)),
            yOffset=alt.YOffset("text:N", sort=["as it is", "edited"]),
            x=alt.X("probability:Q", title="Probability", scale=alt.Scale(domain=[0, 1])),
            color=alt.Color(
                "text:N",
                title=None,
                scale=alt.Scale(domain=["as it is", "edited"], range=[BLUE, ORANGE]),
            ),
            tooltip=["class:N", "text:N", alt.Tooltip("probability:Q", format=".3f")],
        )
        .properties(height=alt.Step(16))
    )


def error_rates(sides: pd.DataFrame) -> alt.LayerChart:
    """Return the error rates of slices (slice, error_rate, low, high) with their intervals."""
    rows = sides[["slice", "error_rate", "low", "high"]]
    base = alt.Chart(rows).encode(y=alt.Y("slice:N", sort=None, title=None, axis=names_axis(260)))
    marks = base.mark_rule(color=GREY, strokeWidth=2).encode(x="low:Q", x2="high:Q")
    points = base.mark_point(filled=True, size=110, color=ORANGE, opacity=1).encode(
        x=alt.X(
            "error_rate:Q",
            title="Error rate with 95 % interval",
            axis=alt.Axis(format="%"),
            scale=alt.Scale(zero=True),
        ),
        tooltip=["slice:N"]
        + [alt.Tooltip(f"{name}:Q", format=".1%") for name in ("error_rate", "low", "high")],
    )
    return (marks + points).properties(height=alt.Step(34))
