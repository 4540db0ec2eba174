"""Charts of two runs, and of slices, side by side."""

from __future__ import annotations

import altair as alt
import pandas as pd

from saliency_core.output.charts.theme import BLUE, GREY, ORANGE, named_rows, picks


def words_between(words: pd.DataFrame, before: str, after: str) -> alt.LayerChart | alt.FacetChart:
    """Return how much more of the saliency each word has in one run than in the other.

    Bars are selectable as `word`; those whose interval contains 0 are pale.

    Args:
        words: columns word, difference (after - before), low, high, examples_a and examples_b.
        before: what the run on the left is called.
        after: what the run on the right is called.
    """
    rows = words.assign(
        run=[after if value > 0 else before for value in words["difference"]],
        clear=(words["low"] > 0) | (words["high"] < 0),
    )
    base = alt.Chart(rows).encode(y=named_rows("word:N", 140, rows["word"].tolist()))
    bars = (
        base.mark_bar(cursor="pointer")
        .encode(
            x=alt.X("difference:Q", title="Difference in mean share"),
            color=alt.Color(
                "run:N",
                title="relied on more by",
                scale=alt.Scale(domain=[before, after], range=[BLUE, ORANGE]),
                legend=alt.Legend(orient="top"),
            ),
            opacity=alt.condition("datum.clear", alt.value(1), alt.value(0.25)),
            tooltip=[
                "word:N",
                alt.Tooltip("difference:Q", format="+.3f"),
                alt.Tooltip("low:Q", title="from", format="+.3f"),
                alt.Tooltip("high:Q", title="to", format="+.3f"),
                alt.Tooltip("examples_a:Q", title="texts", format=",d"),
            ],
        )
        .add_params(picks("word", "word"))
    )
    whiskers = base.mark_rule(color=GREY).encode(
        x=alt.X("low:Q", title="Difference in mean share"),
        x2="high:Q",
        opacity=alt.condition("datum.clear", alt.value(1), alt.value(0.4)),
    )
    return alt.layer(bars, whiskers).properties(height=alt.Step(20))


def error_rates(sides: pd.DataFrame) -> alt.LayerChart:
    """Return the error rates of slices (slice, error_rate, low, high) with their intervals."""
    columns = ["error_rate", "low", "high"]
    base = alt.Chart(sides[["slice", *columns]]).encode(y=named_rows("slice:N", 260))
    whiskers = base.mark_rule(color=GREY, strokeWidth=2).encode(x="low:Q", x2="high:Q")
    points = base.mark_point(filled=True, size=110, color=ORANGE, opacity=1).encode(
        x=alt.X(
            "error_rate:Q",
            title="Error rate with 95% interval",
            axis=alt.Axis(format="%"),
            scale=alt.Scale(zero=True),
        ),
        tooltip=["slice:N", *(alt.Tooltip(f"{name}:Q", format=".1%") for name in columns)],
    )
    return (whiskers + points).properties(height=alt.Step(34))
