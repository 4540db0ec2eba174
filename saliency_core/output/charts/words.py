"""Charts of words and their saliency."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from saliency_core.output.charts.theme import BLUE, GREY, LAYERS, ORANGE, named_rows, picks
from saliency_core.output.rendering import direction_of

TOOLTIPS = {
    "examples": ("texts with it", ","),
    "mean_share": ("share of the saliency", ".1%"),
    "difference": ("difference of the shares", "+.1%"),
    "low": ("95% interval from", ".1%"),
    "high": ("to", ".1%"),
    "top3_rate": ("in the top three", ".0%"),
    "z": ("z", "+.1f"),
}
"""Column -> its name in a tooltip, and the format of its numbers."""


def share_by_layer(rows: pd.DataFrame) -> alt.LayerChart:
    """Return a word's mean share by layer with its 95 % interval."""
    base = alt.Chart(rows).encode(x=LAYERS)
    line = base.mark_line(color=GREY).encode(
        y=alt.Y("mean_share:Q", title="Share of the saliency", axis=alt.Axis(format="%"))
    )
    whiskers = base.mark_rule(color=GREY).encode(y="low:Q", y2="high:Q")
    points = base.mark_point(filled=True, size=90, color=BLUE).encode(
        y="mean_share:Q", tooltip=["layer:O", *_tooltips(rows[["mean_share", "examples"]])]
    )
    return alt.LayerChart(layer=[line, whiskers, points], height=200)


def heatmap(words: list[str], scores: np.ndarray) -> alt.Chart:
    """Return the layer x word heatmap of one example, (layer, word) logits.

    Its columns run as the text is read: from right to left where most letters of the words do.
    """
    places = [f"{place:03d} {word}" for place, word in enumerate(words)]
    layers, count = scores.shape
    frame = pd.DataFrame(
        {
            "layer": np.repeat(np.arange(layers), count),
            "place": places * layers,
            "word": list(words) * layers,
            "score": scores.ravel().astype(float),
        }
    )
    limit = float(max(0.1, np.abs(scores).max(initial=0)))
    is_leftward = direction_of((word, "", "") for word in words) == "rtl"
    return (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X(
                "place:O",
                sort=None,
                title=None,
                scale=alt.Scale(reverse=is_leftward),
                # Upright, so that only the words that find no room (a phone) go unnamed.
                axis=alt.Axis(
                    labelExpr="slice(datum.label,4)",
                    labelAngle=-90,
                    labelOverlap="greedy",
                    labelLimit=90,
                ),
            ),
            y=alt.Y("layer:O", sort="descending", title="Layer", axis=alt.Axis(labelOverlap=False)),
            color=alt.Color(
                "score:Q",
                title="Logits",
                legend=alt.Legend(
                    values=[-limit, 0, limit], format="+.1f", gradientLength=80, padding=8
                ),
            ).scale(scheme="blueorange", domain=[-limit, limit], domainMid=0),
            tooltip=["layer:O", "word:N", alt.Tooltip("score:Q", format="+.3f")],
        )
        .properties(height=alt.Step(20))
    )


def word_bars(
    table: pd.DataFrame,
    value: str,
    title: str,
    *,
    clickable: bool = False,
    longest: float | None = None,
) -> alt.LayerChart:
    """Return words as bars of a share with their 95 % interval (`low`, `high`), in the order given.

    Args:
        table: a row per word.
        value: column of the share, or of the difference of two.
        title: of the axis.
        clickable: whether a bar can be chosen, as `mark` with its word.
        longest: where the axis ends, so that charts beside each other compare.
    """
    base = alt.Chart(table).encode(y=named_rows("word:N", 160, table["word"].tolist()))
    bars = base.mark_bar(cursor="pointer" if clickable else "default").encode(
        x=alt.X(
            f"{value}:Q",
            title=title,
            axis=alt.Axis(tickCount=5, labelOverlap=True, format="%"),
            scale=alt.Scale() if longest is None else alt.Scale(domain=[0, longest]),
        ),
        color=alt.condition(f"datum.{value} < 0", alt.value(BLUE), alt.value(ORANGE)),
        tooltip=[alt.Tooltip("word:N"), *_tooltips(table)],
    )
    if clickable:
        bars = bars.add_params(picks("mark", "word"))
    whiskers = base.mark_rule(color="#707070", strokeWidth=1.5).encode(x="low:Q", x2="high:Q")
    return (bars + whiskers).properties(height=alt.Step(18))


def _tooltips(table: pd.DataFrame) -> list[alt.Tooltip]:
    """Return what the pointer reads of a word: numbers with a name, rounded."""
    return [
        alt.Tooltip(f"{name}:Q", title=title, format=form)
        for name, (title, form) in TOOLTIPS.items()
        if name in table
    ]


def plain_bars(table: pd.DataFrame, name: str, value: str, title: str) -> alt.Chart:
    """Return a bar a row, in the order given; `name` says what, `value` how much."""
    return (
        alt.Chart(table)
        .mark_bar(color=BLUE)
        .encode(
            y=named_rows(f"{name}:N", 160, table[name].tolist()),
            x=alt.X(f"{value}:Q", title=title),
            tooltip=[f"{name}:N", alt.Tooltip(f"{value}:Q", title=title, format=".3f")],
        )
        .properties(height=alt.Step(18))
    )
