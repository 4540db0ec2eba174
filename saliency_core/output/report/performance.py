"""Sections of what was measured: accuracy, layers, words; charts in the body, tables behind."""

from __future__ import annotations

from typing import Any

import pandas as pd

from saliency_core.analysis.calibration import calibration
from saliency_core.analysis.layers.advice import layer_advice
from saliency_core.analysis.word_tables import contrast, word_table
from saliency_core.errors import cut, lower_first
from saliency_core.output.charts.layers import by_layer
from saliency_core.output.charts.overview import (
    MAX_CONFUSION_CLASSES,
    confidence_histogram,
    confusion_matrix,
)
from saliency_core.output.charts.svg import draw
from saliency_core.output.charts.words import word_bars
from saliency_core.output.report.blocks import Chart, Charts, Paragraph, Section, Table
from saliency_core.output.report.scope import View, number, percent

CHARTED_CLASSES = 6
"""Classes that get a chart of words each; more get a table."""
WORDS_A_CLASS = 12
TABLED_CLASSES = 40
"""Classes listed one by one; of more, those with the most errors."""


def accuracy_section(view: View) -> Section | None:
    """Return how right the model is, in charts; of a filter that asks for errors, which ones."""
    found = calibration(view)
    if found["bins"].empty:
        return None
    confusion = draw(confusion_matrix(view.confusion(), view.run.label_names), 330)
    charts = [
        Chart(
            confusion,
            "The label in the data (rows) against the model's prediction (columns); right "
            "predictions are on the diagonal."
            if len(view.run.label_names) <= MAX_CONFUSION_CLASSES
            else "The most frequent confusions: label in the data → the model's prediction.",
        )
    ]
    for kind in ("wrong", "right"):
        if getattr(view, kind):
            drawn = draw(confidence_histogram(found["histogram"], kind), 330)
            charts.append(Chart(drawn, f"Confidence of the {kind} predictions."))
    if view.settled:
        return Section("Which classes they are", [Charts(charts)])
    said = Paragraph(
        "Expected calibration error (the mean gap between the model's confidence and how often it "
        f"is right; 0 is best): {found['error']:.3f}."
    )
    return Section("Accuracy and confidence", [Charts(charts), said])


def classes_section(view: View) -> Section | None:
    """Return the classes one by one, with accuracy where the filter leaves it open."""
    metrics = view.class_metrics()
    if not view.judged:
        return None
    if view.settled:
        return _settled_classes(view, metrics)
    metrics["wrong"] = metrics["support"] - metrics["right"]
    blocks: list[Any] = []
    if len(metrics) > TABLED_CLASSES:
        blocks.append(
            Paragraph(f"The {TABLED_CLASSES} of {len(metrics)} classes with the most errors:")
        )
        metrics = metrics.nlargest(TABLED_CLASSES, "wrong")
    columns = [
        "Class*",
        "Labelled#",
        "Of these, misclassified#",
        "Predicted#",
        "Precision#",
        "Recall#",
        "F1#",
    ]
    rows = [
        [
            str(row["class"]),
            f"{row['support']:,}",
            f"{row['wrong']:,}",
            f"{row['predicted']:,}",
            *(number(row[name]) for name in ("precision", "recall", "f1")),
        ]
        for row in metrics.to_dict("records")
    ]
    return Section("Accuracy by class", [*blocks, Table(columns, rows)])


def _settled_classes(view: View, metrics: pd.DataFrame) -> Section:
    """Return the predictions of each class where the filter asks for right or wrong ones."""
    everywhere = view.run.filter().class_metrics().set_index("class")["support"]
    rows = [
        [
            str(row["class"]),
            f"{row['support']:,}",
            percent(row["support"], everywhere[row["class"]]),
            f"{row['predicted']:,}",
        ]
        for row in metrics.nlargest(TABLED_CLASSES, "support").to_dict("records")
    ]
    columns = ["Class*", "Here, by label#", "Of all with this label#", "Here, by prediction#"]
    return Section("Predictions by class", [Table(columns, rows)])


def layers_section(view: View) -> Section:
    """Return which layer is read, and why."""
    layers = view.run.layers()
    recommended, most_readable = view.run.recommended, view.run.most_readable
    blocks: list[Any] = [
        Paragraph(
            "A classifier of this kind works in layers; layer 0 is its input. Two tests choose the "
            "layer to read. Comprehensiveness: how far does the probability of the predicted "
            "class fall when the words the layer points to are hidden? Mosaics: when two texts are "
            "joined, does the layer point to the text whose class is predicted? The choice score "
            "is the mean of the two results after each has been rescaled so that 0 means no effect "
            "(or chance) and 1 is the result of the best layer."
        )
    ]
    if recommended is not None:
        over = ", chosen over the whole audit" if view.where else ""
        advice = layer_advice(view.run, layers)
        why = " ".join(filter(None, [advice.why, advice.tied, advice.readable, *advice.notes]))
        blocks.append(Paragraph(f"This report uses layer {recommended}{over}. {why}"))
    shown = [
        ("choice", "Choice score"),
        ("comprehensiveness", "Comprehensiveness"),
        ("mosaic", "Mosaics"),
        ("coherence", "Coherence"),
    ]
    differs = most_readable not in (None, recommended)
    readable = ", green the most readable one" if differs else ""
    charts = [
        Chart(
            draw(by_layer(layers, column, name, recommended, most_readable), 330),
            f"{name} by layer; higher is better; orange is the layer read here{readable}.",
        )
        for column, name in shown
        if layers[column].notna().any()
    ]
    return Section("Which layer was read", [*blocks, *([Charts(charts)] if charts else [])])


def layer_table_section(view: View) -> Section:
    """Return all that was measured of the layers."""
    layers, recommended = view.run.layers(), view.run.recommended
    measured = [
        name
        for name in ("comprehensiveness", "sufficiency", "mosaic", "decodability")
        if layers[name].notna().any()
    ]
    chosen = ["Choice score#", "95% interval#"] if layers["choice"].notna().any() else []
    lead = (
        "The layer used here is marked with an asterisk. Higher is better, except for sufficiency "
        "(how far the probability falls when only the layer's top words remain; a value below 0 "
        "means that it rises). Coherence: does the layer point to words of similar meaning in "
        "texts with the same prediction? Decodability: can the layer's states still be decoded "
        "into the words they stand for?"
    )
    columns = [
        "Layer*",
        *chosen,
        *(f"{'mosaics' if name == 'mosaic' else name}#".capitalize() for name in measured),
    ]
    rows = [
        [
            f"{row['layer']}{' *' if row['layer'] == recommended else ''}",
            *(_with_interval(row, "choice", "choice_low", "choice_high") if chosen else ()),
            *(number(row[name]) for name in measured),
            *_with_interval(row, "coherence", "low", "high"),
        ]
        for row in layers.to_dict("records")
    ]
    table = Table([*columns, "Coherence#", "95% interval#"], rows)
    return Section("Layers", [Paragraph(lead), table])


def _with_interval(row: dict[str, Any], *names: str) -> tuple[str, str]:
    """Return a value and its interval as two cells."""
    value, low, high = (number(row[name]) for name in names)
    return value, f"{low} to {high}"


def words_section(view: View) -> Section | None:
    """Return the words the model relies on, in a chart for each predicted class."""
    by_class = _words_by_class(view)
    if not by_class:
        said = "No word occurs in five or more examples, so no mean is shown."
        return Section("Most salient words", [Paragraph(said)])
    if len(by_class) > CHARTED_CLASSES:
        return None
    charts = []
    for name, rows in by_class.items():
        bars = word_bars(
            rows[["word", "examples", "mean_share", "low", "high"]], "mean_share", "Mean share"
        )
        heading = cut(f"Predicted {name}" if name is not None else "All examples", 60)
        drawn = draw(bars.properties(title=heading), 240)
        charts.append(Chart(drawn, f"{heading}: words by mean share, with its 95% interval."))
    return Section(
        "Most salient words",
        [
            Paragraph(
                f"For each predicted class, the appendix lists {lower_first(_share_meaning(view))}"
            ),
            Charts(charts),
        ],
    )


def word_table_section(view: View) -> Section | None:
    """Return the words the model relies on, by predicted class."""
    by_class = _words_by_class(view)
    columns = ["Predicted", "Word*", "Examples#", "Mean share#", "95% interval#", "In the top 3#"]
    rows = [
        [
            name or "all",
            row["word"],
            f"{row['examples']:,}",
            *_with_interval(row, "mean_share", "low", "high"),
            f"{row['top3_rate']:.0%}",
        ]
        for name, part in by_class.items()
        for row in part.to_dict("records")
    ]
    if not rows:
        return None
    return Section(
        "Words by predicted class", [Paragraph(_share_meaning(view)), Table(columns, rows)]
    )


def _share_meaning(view: View) -> str:
    return (
        f"The words with the largest mean share at layer {view.layer}, among those that occur in "
        "at least five examples. A word's share is how much of a text's total support for the "
        "prediction comes from that word."
    )


def _words_by_class(view: View) -> dict[str | None, pd.DataFrame]:
    """Return the first words of each predicted class, of all examples in a regression."""
    regression = view.run.model.task == "regression"
    table = word_table(view, view.layer, by_class=not regression)
    table = table[table["word"].str.contains(r"\w", regex=True)]
    if regression:
        return {None: table.head(WORDS_A_CLASS)} if len(table) else {}
    names = [name for name in view.run.label_names if (table["class"] == name).any()]
    most = WORDS_A_CLASS if len(names) <= CHARTED_CLASSES else 5
    return {name: table[table["class"] == name].head(most) for name in names}


def contrast_section(view: View) -> Section | None:
    """Return the words that lead more often in wrong predictions, and in right ones."""
    if not (view.right and view.wrong):
        return None
    table = contrast(view.filter("wrong"), view.filter("right"), view.layer)
    table = table[table["word"].str.contains(r"\w", regex=True) & (table["z"].abs() > 1.96)]
    table = table.sort_values("z", ascending=False)
    parts = [("wrong", table[table["z"] > 0].head(10)), ("right", table[table["z"] < 0].tail(10))]
    rows = [
        [f"{side} predictions", row["word"], f"{row['log_odds']:+.2f}", f"{row['z']:+.1f}"]
        for side, part in parts
        for row in part.to_dict("records")
    ]
    if not rows:
        return None
    return Section(
        "Words in wrong and right predictions",
        [
            Paragraph(
                "Words that are more often, or less often, among a text's three most salient "
                "words in wrong predictions than in right ones (|z| above 1.96), at most ten of "
                "each. Log-odds are shrunk for rare words. With many words tested, some "
                "differences are due to chance."
            ),
            Table(["Typical of", "Word*", "Log-odds#", "z#"], rows),
        ],
    )
