"""Charts of predictions: which classes are confused, how confident, how right."""

from __future__ import annotations

import altair as alt
import pandas as pd

from saliency_core.output.charts.theme import BLUE, GREY, ORANGE, named_rows, names_axis, picks

MAX_CONFUSION_CLASSES = 30
"""Beyond this many classes a matrix can't be read; the most frequent confusions are shown."""
SHOWN_CONFUSIONS = 25
MAX_LEVEL_CHARACTERS = 40
"""Characters that fit side by side under a matrix, also on a phone."""
CELL = ("cell", "gold", "predicted")
"""What a click on a confusion chooses."""
COUNTED = [alt.Tooltip("gold:N", title="label"), *map(alt.Tooltip, ("predicted:N", "count:Q"))]


def confusion_matrix(counts: pd.DataFrame, labels: list[str]) -> alt.Chart | alt.LayerChart:
    """Return the confusion matrix; cells are selectable as `cell` with gold and predicted."""
    if len(labels) > MAX_CONFUSION_CLASSES:
        return _most_confused(counts)
    every = pd.MultiIndex.from_product([labels, labels], names=["gold", "predicted"])
    rows = counts.set_index(["gold", "predicted"]).reindex(every, fill_value=0).reset_index()
    right = rows["gold"] == rows["predicted"]
    rows["share"] = rows["count"] / rows.groupby("gold")["count"].transform("sum").clip(lower=1)
    rows["tone"] = rows["share"].where(~right, -rows["share"])
    # Level where all names fit side by side in a column of the page.
    level = max(map(len, labels), default=0) * len(labels) <= MAX_LEVEL_CHARACTERS
    axis = names_axis(140, labelAngle=0 if level else -40)
    base = alt.Chart(rows).encode(
        x=alt.X("predicted:N", sort=labels, title="Predicted", axis=axis),
        y=alt.Y("gold:N", sort=labels, title="Label", axis=names_axis(140)),
    )
    cells = base.mark_rect(cursor="pointer").encode(
        color=alt.Color("tone:Q", legend=None).scale(scheme="blueorange", domain=[-1.6, 1.6]),
        tooltip=[*COUNTED, alt.Tooltip("share:Q", format=".1%")],
    )
    numbers = base.mark_text(color="#111").encode(text="count:Q")
    return (cells.add_params(picks(*CELL)) + numbers).properties(
        height=max(260, min(700, 52 * len(labels)))
    )


def _most_confused(counts: pd.DataFrame) -> alt.Chart:
    """Return the most frequent confusions as bars, selectable as the cells of a matrix are."""
    rows = counts[counts["gold"] != counts["predicted"]].nlargest(SHOWN_CONFUSIONS, "count")
    rows = rows.assign(pair=rows["gold"] + " → " + rows["predicted"])
    return (
        alt.Chart(rows)
        .mark_bar(color=ORANGE, cursor="pointer")
        .encode(
            y=named_rows("pair:N", 240, rows["pair"].tolist()),
            x=alt.X("count:Q", title="Examples", axis=alt.Axis(tickMinStep=1)),
            tooltip=COUNTED,
        )
        .add_params(picks(*CELL))
        .properties(height=alt.Step(20))
    )


def confidence_histogram(histogram: pd.DataFrame, prediction: str) -> alt.Chart:
    """Return the histogram of the `right` or of the `wrong` predictions of `calibration`.

    Each has a scale of its own, as the many right ones would hide the wrong. Bars are selectable
    as `bar` with where.
    """
    rows = histogram[histogram["prediction"] == prediction]
    return (
        alt.Chart(rows)
        .mark_bar(color=BLUE if prediction == "right" else ORANGE, cursor="pointer")
        .encode(
            x=alt.X("from:Q", bin="binned", title="Confidence", scale=alt.Scale(domain=[0, 1])),
            x2="to:Q",
            y=alt.Y(
                "examples:Q",
                title=prediction.capitalize(),
                axis=alt.Axis(tickMinStep=1, tickCount=3, format=",d"),
            ),
            tooltip=[
                alt.Tooltip("from:Q", title="confidence from", format=".2f"),
                alt.Tooltip("to:Q", title="to", format=".2f"),
                alt.Tooltip("examples:Q", title=f"{prediction} predictions", format=",d"),
            ],
        )
        .add_params(picks("bar", "where"))
        .properties(height=140)
    )


def reliability_curve(bins: pd.DataFrame) -> alt.LayerChart:
    """Return accuracy by confidence, points on the dashed line being as right as they are sure.

    Points are selectable as `bin` with where.
    """
    ends = pd.DataFrame({"confidence": [0.0, 1.0], "accuracy": [0.0, 1.0]})
    scale = alt.Scale(domain=[0, 1])
    x = alt.X("confidence:Q", title="Mean confidence", scale=scale)
    y = alt.Y("accuracy:Q", title="Accuracy", scale=scale)
    line = alt.Chart(ends).mark_line(strokeDash=[4, 4], color=GREY).encode(x=x, y=y)
    points = (
        alt.Chart(bins)
        .mark_point(filled=True, color=BLUE, opacity=0.9, cursor="pointer")
        .encode(
            x=x,
            y=y,
            size=alt.Size("examples:Q", legend=None, scale=alt.Scale(range=[30, 300])),
            tooltip=[
                alt.Tooltip("confidence:Q", format=".3f"),
                alt.Tooltip("accuracy:Q", format=".3f"),
                alt.Tooltip("examples:Q", format=",d"),
            ],
        )
        .add_params(picks("bin", "where"))
    )
    return alt.LayerChart(layer=[line, points], height=240)
