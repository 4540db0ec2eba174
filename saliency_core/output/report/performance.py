"""Sections of what was measured: accuracy, layers, words, and words of wrong answers."""

from __future__ import annotations

from typing import Any

from saliency_core.output.charts.svg import draw
from saliency_core.output.report.html import Bullets, Chart, Facts, Paragraph, Section, Table
from saliency_core.output.report.scope import View, interval, number, percent

CHARTED_CLASSES = 6
"""Classes that get a chart of words each; more get a table."""
WORDS_A_CLASS = 12
TABLED_CLASSES = 40
"""Classes listed one by one; of more, those with the most errors."""


def in_brief_section(view: View) -> Section:
    """Return the few numbers and sentences a reader takes away."""
    from saliency_core.analysis.highlights import findings

    total, right, wrong = view.count(), view.count("right"), view.count("wrong")
    failed, truncated = view.count("failed"), view.count("truncated")
    items = [("Examples", f"{total:,}", "in this slice" if view.where else "audited")]
    if right + wrong:
        items.append(
            (
                "Accuracy",
                percent(right, right + wrong),
                f"95 % interval {interval(right, right + wrong)}",
            )
        )
        items.append(("Wrong", f"{wrong:,}", f"of {right + wrong:,} with a label"))
    items.append(("Read in part", f"{truncated:,}", "texts longer than the model takes"))
    items.append(("Failed", f"{failed:,}", "empty, or no finite answer"))
    blocks: list[Any] = [Facts(items)]
    if not right + wrong:
        blocks.append(
            Paragraph(
                "These examples have no labels, so right and wrong are unknown; what follows tells "
                "what the model leans on, not how good it is."
            )
        )
    if view.where:
        blocks.append(Paragraph(_against_all(view, right, wrong)))
    else:
        sentences = [finding.sentence for finding in findings(view.run)]
        if sentences:
            blocks += [Paragraph("What stands out:"), Bullets(sentences)]
    return Section("In brief", blocks)


def _against_all(view: View, right: int, wrong: int) -> str:
    everything = view.run.filter().count()
    said = f"The slice {view.where} holds {view.count():,} of the {everything:,} audited examples."
    judged = [view.run.filter(term).count() for term in ("right", "wrong")]
    if right + wrong and sum(judged):
        said += (
            f" The model is right on {percent(right, right + wrong)} of it, and on "
            f"{percent(judged[0], sum(judged))} of all examples."
        )
    return said


def accuracy_section(view: View) -> Section | None:
    """Return how right the model is, by class and by its own confidence."""
    from saliency_core.analysis.calibration import calibration
    from saliency_core.output.charts.overview import (
        MAX_CONFUSION_CLASSES,
        confidence_histogram,
        confusion_matrix,
    )

    found = calibration(view.part)
    if found["bins"].empty:
        return None
    confusion = draw(confusion_matrix(view.part.confusion(), view.labels), 330)
    histograms = [
        (draw(confidence_histogram(found["histogram"], kind), 330), kind)
        for kind in ("wrong", "right")
    ]
    metrics = view.part.class_metrics()
    metrics["wrong"] = metrics["support"] - metrics["right"]
    blocks: list[Any] = [
        Chart(
            confusion,
            "What the label says (gold) against what the model said; the diagonal is right."
            if len(view.labels) <= MAX_CONFUSION_CLASSES
            else "The most frequent confusions: what the label says → what the model said.",
        ),
        *(Chart(drawn, f"Confidence of the {kind} predictions.") for drawn, kind in histograms),
    ]
    blocks.append(
        Paragraph(
            f"Expected calibration error {found['error']:.3f}: the mean gap between how sure the "
            "model is and how often it is right; 0 is best."
        )
    )
    if len(metrics) > TABLED_CLASSES:
        blocks.append(
            Paragraph(f"The {TABLED_CLASSES} of {len(metrics)} classes with the most errors:")
        )
        metrics = metrics.nlargest(TABLED_CLASSES, "wrong")
    blocks.append(
        Table(
            ["Class", "Examples#", "Predicted#", "Wrong#", "Precision#", "Recall#", "F1#"],
            [
                [
                    str(row["class"]),
                    f"{row['support']:,}",
                    f"{row['predicted']:,}",
                    f"{row['wrong']:,}",
                    *(number(row[name]) for name in ("precision", "recall", "f1")),
                ]
                for row in metrics.to_dict("records")
            ],
        )
    )
    return Section("How right it is", blocks)


def layers_section(view: View) -> Section:
    """Return the layers' coherence and faithfulness, and which one is read."""
    from saliency_core.analysis.layers.advice import layer_advice
    from saliency_core.output.charts.layers import by_layer

    layers = view.run.layers()
    recommended, most_readable = view.run.recommended, view.run.most_readable
    blocks: list[Any] = [
        Paragraph(
            "A classifier of this kind works in layers; 0 is its input. Two tests choose the layer "
            "to read. Comprehensiveness: does the prediction change when the words the layer "
            "points at are masked? Mosaics: of two texts joined, do they lie in the one that is "
            "predicted? The choice score is the mean of both, each relative to its best layer. "
            "Beside them: does the layer point at words of like meaning when the prediction is the "
            "same (coherence), do its states still name their own word (decodability), and is the "
            "prediction kept where only its words are (sufficiency; lower is better)?"
        )
    ]
    if recommended is not None:
        over = " over the whole audit" if view.where else ""
        blocks.append(
            Paragraph(
                f"This report reads layer {recommended}, chosen{over}. "
                + layer_advice(view.run, layers).text()
            )
        )
    shown = [
        ("choice", "Choice score"),
        ("comprehensiveness", "Comprehensiveness"),
        ("mosaic", "Mosaics"),
        ("coherence", "Coherence"),
    ]
    for column, name in shown:
        if layers[column].notna().any():
            drawn = draw(by_layer(layers, column, name, recommended, most_readable), 330)
            blocks.append(Chart(drawn, f"{name} by layer; orange is the layer read here."))
    measured = [
        name
        for name in ("comprehensiveness", "sufficiency", "mosaic", "decodability")
        if layers[name].notna().any()
    ]
    chosen = ["Choice#", "95 % interval#"] if layers["choice"].notna().any() else []
    blocks.append(
        Table(
            [
                "Layer#",
                *chosen,
                *(f"{name.capitalize()}#" for name in measured),
                "Coherence#",
                "95 % interval#",
            ],
            [
                [
                    f"{row['layer']}{' *' if row['layer'] == recommended else ''}",
                    *(_with_interval(row, "choice", "choice_low", "choice_high") if chosen else ()),
                    *(number(row[name]) for name in measured),
                    *_with_interval(row, "coherence", "low", "high"),
                ]
                for row in layers.to_dict("records")
            ],
        )
    )
    return Section("Which layer to read", blocks)


def _with_interval(row: dict[str, Any], *names: str) -> tuple[str, str]:
    """Return a value and its interval as two cells."""
    value, low, high = (number(row[name]) for name in names)
    return value, f"{low} to {high}"


def words_section(view: View) -> Section | None:
    """Return the words the model leans on, by predicted class."""
    from saliency_core.analysis.word_tables import word_table
    from saliency_core.output.charts.words import word_bars

    table = word_table(view.part, view.layer, by_class=not view.regression)
    table = table[table["word"].str.contains(r"\w", regex=True)]
    if table.empty:
        return Section(
            "What it leans on",
            [Paragraph("No word stands in five examples or more, so no mean is shown.")],
        )
    lead = (
        f"Words of at least five examples, at layer {view.layer}, by their mean share: the part of "
        "all that speaks for the answer in a text which falls to this word."
    )
    blocks: list[Any] = [Paragraph(lead)]
    classes = [
        name for name in dict.fromkeys([*view.labels, None]) if (table["class"] == name).any()
    ]
    if view.regression:
        classes = [None]
    few = len(classes) <= CHARTED_CLASSES
    rows: list[list[str]] = []
    for name in classes:
        part = table if name is None else table[table["class"] == name]
        part = part.head(WORDS_A_CLASS if few else 5)
        if few:
            bars = word_bars(
                part[["word", "examples", "mean_share", "low", "high"]], "mean_share", "Mean share"
            )
            heading = f"Predicted {name}" if name is not None else "All examples"
            drawn = draw(bars.properties(title=_plain_title(heading)), 240)
            blocks.append(Chart(drawn, f"{heading}: words by mean share, with its 95 % interval."))
        rows += [_word_row(row, name) for row in part.to_dict("records")]
    columns = ["Predicted", "Word", "Examples#", "Mean share#", "95 % interval#", "In the top 3#"]
    blocks.append(Table(columns, rows))
    return Section("What it leans on", blocks)


def _plain_title(text: str) -> str:
    """Return a title that Vega takes for text."""
    return text if len(text) <= 60 else text[:59] + "…"


def _word_row(row: dict[str, Any], name: str | None) -> list[str]:
    return [
        name or "all",
        row["word"],
        f"{row['examples']:,}",
        number(row["mean_share"]),
        f"{number(row['low'])} to {number(row['high'])}",
        f"{row['top3_rate']:.0%}",
    ]


def contrast_section(view: View) -> Section | None:
    """Words that lead more often in wrong answers than in right ones, and the other way round."""
    from saliency_core.analysis.word_tables import contrast

    if not (view.count("right") and view.count("wrong")):
        return None
    table = contrast(view.part.filter("wrong"), view.part.filter("right"), view.layer)
    table = table[table["word"].str.contains(r"\w", regex=True) & (table["z"].abs() > 1.96)]
    table = table.sort_values("z", ascending=False)
    parts = [("wrong", table[table["z"] > 0].head(10)), ("right", table[table["z"] < 0].tail(10))]
    rows = [
        [side, row["word"], f"{row['log_odds']:+.2f}", f"{row['z']:+.1f}"]
        for side, part in parts
        for row in part.to_dict("records")
    ]
    if not rows:
        return None
    return Section(
        "Words of wrong and of right answers",
        [
            Paragraph(
                "Words that are among the three most salient of a text more often in wrong answers "
                "than in right ones, or less often. Log-odds with a prior that shrinks rare words; "
                "|z| above 1.96. With many words tested, some of these are chance."
            ),
            Table(["Typical of", "Word", "Log-odds#", "z#"], rows),
        ],
    )
