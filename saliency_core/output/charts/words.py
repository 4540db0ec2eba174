"""Charts of words and their saliency."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from saliency_core.output.charts.theme import BLUE, GREY, ORANGE, names_axis


def share_by_layer(rows: pd.DataFrame) -> alt.LayerChart:
    """Return a word's mean share by layer with its 95 % interval."""
    base = alt.Chart(rows).encode(x=alt.X("layer:O", title="Layer", axis=alt.Axis(labelAngle=0)))
    line = base.mark_line(color=GREY).encode(y=alt.Y("mean_share:Q", title="Mean share"))
    whiskers = base.mark_rule(color=GREY).encode(y="low:Q", y2="high:Q")
    points = base.mark_point(filled=True, size=90, color=BLUE).encode(
        y="mean_share:Q",
        tooltip=["layer:O", alt.Tooltip("mean_share:Q", format=".3f"), "examples:Q"],
    )
    return alt.LayerChart(layer=[line, whiskers, points], height=200)


def heatmap(words: list[str], scores: np.ndarray) -> alt.Chart:
    """Return the layer x word heatmap of one example, (layer, word) logits."""
    names = [f"{place:03d} {word}" for place, word in enumerate(words)]
    layers, count = scores.shape
    frame = pd.DataFrame(
        {
            "layer": np.repeat(np.arange(layers), count),
            "place": names * layers,
            "word": list(words) * layers,
            "score": scores.ravel().astype(float),
        }
    )
    limit = float(max(0.1, np.abs(scores).max(initial=0)))
    return (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X(
                "place:O",
                sort=None,
                title=None,
                # Upright, so that only the words that find no room (a phone) go unnamed.
                axis=alt.Axis(
                    labelExpr="slice(datum.label,4)",
                    labelAngle=-90,
                    labelOverlap="greedy",
                    labelLimit=90,
                ),
            ),
            y=alt.Y("layer:O", sort="descending", title="Layer", axis=alt.Axis(labelOverlap=False)),
            color=alt.Color("score:Q", title="Logits").scale(
                scheme="blueorange", domain=[-limit, limit], domainMid=0
            ),
            tooltip=["layer:O", "word:N", alt.Tooltip("score:Q", format="+.3f")],
        )
        .properties(height=alt.Step(20))
    )


def word_bars(table: pd.DataFrame, value: str, title: str) -> alt.LayerChart:
    """Return words as bars with their 95 % interval (`low`, `high`)."""
    order = table["word"].tolist()
    base = alt.Chart(table).encode(y=alt.Y("word:N", sort=order, title=None, axis=names_axis(160)))
    bars = base.mark_bar().encode(
        x=alt.X(f"{value}:Q", title=title),
        color=alt.condition(f"datum.{value} < 0", alt.value(BLUE), alt.value(ORANGE)),
        tooltip=[alt.Tooltip(name) for name in table.columns],
    )
    whiskers = base.mark_rule(color="#707070", strokeWidth=1.5).encode(x="low:Q", x2="high:Q")
    return (bars + whiskers).properties(height=alt.Step(18))


def plain_bars(table: pd.DataFrame, name: str, value: str, title: str) -> alt.Chart:
    """Return a bar a row, in the order given; `name` says what, `value` how much."""
    return (
        alt.Chart(table)
        .mark_bar(color=BLUE)
        .encode(
            y=alt.Y(
                f"{name}:N",
                sort=table[name].tolist(),
                title=None,
                axis=names_axis(160),
            ),
            x=alt.X(f"{value}:Q", title=title),
            tooltip=[alt.Tooltip(column) for column in table.columns],
        )
        .properties(height=alt.Step(18))
    )
