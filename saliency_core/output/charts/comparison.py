"""Charts of two runs side by side."""

from __future__ import annotations

import altair as alt
import pandas as pd

from saliency_core.output.charts.theme import BLUE, GREY, ORANGE, names_axis


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
    base = alt.Chart(rows).encode(
        y=alt.Y("word:N", sort=rows["word"].tolist(), title=None, axis=names_axis(140))
    )
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
        .add_params(alt.selection_point("word", fields=["word"], clear="dblclick"))
    )
    whiskers = base.mark_rule(color=GREY).encode(
        x=alt.X("low:Q", title="Difference in mean share"),
        x2="high:Q",
        opacity=alt.condition("datum.clear", alt.value(1), alt.value(0.4)),
    )
    return alt.layer(bars, whiskers).properties(height=alt.Step(20))
