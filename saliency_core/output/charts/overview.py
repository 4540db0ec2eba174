"""Arrays in, Altair charts out; never calls Streamlit."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

BLUE, ORANGE, GREY = "#2f6ea8", "#de8d33", "#8a8a8a"
MAX_CONFUSION_CLASSES = 30
"""Beyond this many classes a matrix can't be read; the most frequent confusions are shown."""
SHOWN_CONFUSIONS = 25
MAX_LEVEL_CHARACTERS = 40
"""Characters that fit side by side under a matrix, also on a phone."""


def names_axis(limit: int, **options: Any) -> alt.Axis:
    """Return an axis on which every name stands in the middle of its band, `limit` pixels wide."""
    return alt.Axis(labelLimit=limit, labelOverlap=False, labelFlush=False, **options)


def confusion(counts: pd.DataFrame, labels: list[str]) -> alt.Chart | alt.LayerChart:
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
        y=alt.Y("gold:N", sort=labels, title="Gold", axis=names_axis(140)),
    )
    cells = base.mark_rect(cursor="pointer").encode(
        color=alt.Color("tone:Q", legend=None).scale(scheme="blueorange", domain=[-1.6, 1.6]),
        tooltip=["gold:N", "predicted:N", "count:Q", alt.Tooltip("share:Q", format=".1%")],
    )
    numbers = base.mark_text(color="#111").encode(text="count:Q")
    return (cells.add_params(_cell()) + numbers).properties(
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
            y=alt.Y(
                "pair:N",
                sort=rows["pair"].tolist(),
                title=None,
                axis=names_axis(240),
            ),
            x=alt.X("count:Q", title="Examples", axis=alt.Axis(tickMinStep=1)),
            tooltip=["gold:N", "predicted:N", "count:Q"],
        )
        .add_params(_cell())
        .properties(height=alt.Step(20))
    )


def _cell() -> alt.Parameter:
    return alt.selection_point("cell", fields=["gold", "predicted"], clear="dblclick")


def confidence(histogram: pd.DataFrame) -> alt.Chart:
    """Return the histogram of `calibration`, right and wrong answers stacked."""
    return (
        alt.Chart(histogram)
        .mark_bar()
        .encode(
            x=alt.X("from:Q", bin="binned", title="Confidence", scale=alt.Scale(domain=[0, 1])),
            x2="to:Q",
            y=alt.Y("examples:Q", title="Examples"),
            color=alt.Color(
                "answer:N",
                scale=alt.Scale(domain=["right", "wrong"], range=[BLUE, ORANGE]),
                title=None,
                legend=alt.Legend(orient="top", offset=4),
            ),
            tooltip=["answer:N", "from:Q", "to:Q", "examples:Q"],
        )
        .properties(height=240)
    )


def reliability(bins: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Return accuracy by confidence, points on the dashed line being as right as they are sure."""
    ends = pd.DataFrame({"confidence": [0.0, 1.0], "accuracy": [0.0, 1.0]})
    scale = alt.Scale(domain=[0, 1])
    x = alt.X("confidence:Q", title="Mean confidence", scale=scale)
    y = alt.Y("accuracy:Q", title="Accuracy", scale=scale)
    line = alt.Chart(ends).mark_line(strokeDash=[4, 4], color=GREY).encode(x=x, y=y)
    points = (
        alt.Chart(bins)
        .mark_point(filled=True, color=BLUE)
        .encode(
            x=x,
            y=y,
            size=alt.Size("examples:Q", legend=None, scale=alt.Scale(range=[30, 300])),
            tooltip=[
                alt.Tooltip("confidence:Q", format=".3f"),
                alt.Tooltip("accuracy:Q", format=".3f"),
                "examples:Q",
            ],
        )
    )
    return alt.layer(line, points).properties(height=240)


GROUP_COLOURS = "#2f6ea8 #de8d33 #4b9b7a #b04a7a #7a6fb0 #8a6d3b #5b93c4 #9a9a9a".split()
GROUP_SHAPES = "circle square triangle-up diamond cross triangle-down triangle-right stroke".split()


def groups_by_layer(rows: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Return a line a group: coherence by layer with its 95 % interval; shape tells groups too."""
    groups = rows["group"].drop_duplicates().tolist()
    base = alt.Chart(rows).encode(
        x=alt.X("layer:O", title="Layer", axis=alt.Axis(labelAngle=0)),
        color=alt.Color(
            "group:N",
            title=None,
            sort=groups,
            scale=alt.Scale(domain=groups, range=GROUP_COLOURS[: len(groups)]),
            legend=alt.Legend(orient="bottom", columns=2, labelLimit=180),
        ),
    )
    line = base.mark_line().encode(y=alt.Y("coherence:Q", title="Coherence"))
    whiskers = base.mark_rule().encode(y="low:Q", y2="high:Q")
    points = base.mark_point(filled=True, size=70).encode(
        y="coherence:Q",
        shape=alt.Shape(
            "group:N",
            title=None,
            sort=groups,
            scale=alt.Scale(domain=groups, range=GROUP_SHAPES[: len(groups)]),
        ),
        tooltip=["group:N", "layer:O", alt.Tooltip("coherence:Q", format=".3f")],
    )
    return alt.layer(line, whiskers, points).properties(height=300)


def share_by_layer(rows: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Return a word's mean share by layer with its 95 % interval."""
    base = alt.Chart(rows).encode(x=alt.X("layer:O", title="Layer", axis=alt.Axis(labelAngle=0)))
    line = base.mark_line(color=GREY).encode(y=alt.Y("mean_share:Q", title="Mean share"))
    whiskers = base.mark_rule(color=GREY).encode(y="low:Q", y2="high:Q")
    points = base.mark_point(filled=True, size=90, color=BLUE).encode(
        y="mean_share:Q",
        tooltip=["layer:O", alt.Tooltip("mean_share:Q", format=".3f"), "examples:Q"],
    )
    return alt.layer(line, whiskers, points).properties(height=200)


def agreement(pairs: pd.DataFrame) -> alt.LayerChart:
    """Return the layer x layer matrix of rank correlations."""
    base = alt.Chart(pairs).encode(
        x=alt.X("layer:O", title="Layer", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("other:O", title="Layer"),
    )
    cells = base.mark_rect().encode(
        color=alt.Color("correlation:Q", title="Correlation").scale(
            scheme="blueorange", domain=[-1, 1], domainMid=0
        ),
        tooltip=["layer:O", "other:O", alt.Tooltip("correlation:Q", format=".2f")],
    )
    numbers = base.mark_text().encode(
        text=alt.Text("correlation:Q", format=".2f"),
        color=alt.condition("abs(datum.correlation) > 0.75", alt.value("#fff"), alt.value("#111")),
    )
    return (cells + numbers).properties(height=alt.Step(28))


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
