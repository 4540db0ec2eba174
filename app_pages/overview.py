from functools import partial

import streamlit as st

from app_components import session
from app_components.clicks import on_click
from app_components.filter_line import filter_chip
from app_components.findings_list import findings_list
from app_components.review import progress_sentence
from app_components.table import Column, show_table
from saliency_core.analysis.calibration import calibration
from saliency_core.analysis.highlights import by_severity, findings, headline
from saliency_core.analysis.layers.advice import layer_advice
from saliency_core.output.charts.layers import by_layer
from saliency_core.output.charts.overview import (
    MAX_CONFUSION_CLASSES,
    confidence_histogram,
    confusion_matrix,
    reliability_curve,
)
from saliency_core.quality.highlights import data_findings
from saliency_core.store import Run, Slice
from saliency_core.store.connection import day
from saliency_core.store.query.terms import quote

FINDINGS = 6
"""Rows at most."""

run = session.opened(tells_all=True)
filter_chip(run)


def what_was_audited():
    """Say in one sentence what this is; how it was computed stands behind a question mark."""
    model, dataset, settings = run.model, run.dataset, run.settings
    head = "its own input embeddings" if model.lm_head_is_fallback else model.lm_head
    facts = [
        f"Model {model.name}, {model.architecture}",
        f"dataset {dataset.source}",
        f"language-model head {head}",
        f"explained class: {'label' if settings.target == 'gold' else settings.target}",
        settings.rule_named,
        f"audited on {day(run.created)}",
    ]
    st.markdown(
        session.escape(session.ask(headline, run)), help=session.escape("; ".join(facts) + ".")
    )


def scores_by_path():
    """Say how many examples the secant rule did not reach."""
    incomplete = run.incomplete
    if incomplete:
        st.caption(
            f"The secant rule's scores do not add up for {incomplete:,} of the examples, so the "
            "path rule was used there instead."
        )


def numbers() -> int:
    """Show the counts; return how many answers can be right or wrong."""
    count = {
        name: session.ask(Slice.count, run.filter(name))
        for name in ("", "right", "wrong", "truncated", "failed")
    }
    judged = count["right"] + count["wrong"]
    accuracy = f"{count['right'] / judged:.1%}" if judged else "no labels"
    shown = {
        "Examples": (f"{count['']:,}", "All examples of the run."),
        "Accuracy": (accuracy, "Right predictions among the labelled examples."),
        "Wrong": (
            f"{count['wrong']:,}" if judged else "unknown",
            "Labelled examples whose prediction is wrong.",
        ),
        "Truncated": (f"{count['truncated']:,}", "Texts that the model read only in part."),
        "Failed": (
            f"{count['failed']:,}",
            "Texts that are empty, or for which the model returned no finite numbers.",
        ),
    }
    if judged:
        error = session.ask(calibration, run.filter())["error"]
        text = (
            "Expected calibration error: mean gap between how sure the model is and how often it "
            "is right; 0 is best."
        )
        shown["Calibration error"] = (f"{error:.3f}", text)
    with st.grid(len(shown), min_column_width=130):
        for name, (value, meaning) in shown.items():
            st.metric(name, value, border=True, help=meaning)
    return judged


def first_looks():
    """Say what to look at first, the worst first."""
    found = by_severity([*session.ask(findings, run), *session.ask(data_findings, run)])
    if found:
        st.header("Look here first")
        findings_list(found[:FINDINGS])


def open_errors(row: dict):
    session.go_to("errors", where=row["where"])


def confusions():
    st.header(
        "Confusion matrix",
        help="Rows are labels, columns predicted classes; each number counts examples.",
    )
    many = len(run.label_names) > MAX_CONFUSION_CLASSES
    st.caption(
        "The most frequent confusions, label → prediction; click one to see its examples."
        if many
        else "Click a cell to see its examples."
    )
    counts = session.ask(Slice.confusion, run.filter())

    def open_cell(cell: dict):
        terms = (f"{term}:{quote(str(cell[term]))}" for term in ("gold", "predicted"))
        session.go_to("errors", where=" ".join(terms))

    session.figure(
        partial(confusion_matrix, counts, run.label_names),
        "Confusion matrix: label by predicted class",
        counts,
        "confusion-matrix",
        **on_click("confusion", "cell", open_cell),
    )


def confidences():
    st.header("Confidence", help="The probability of the predicted class.")
    found = session.ask(calibration, run.filter())
    histogram = found["histogram"]
    # One above the other, each with its own scale: among the right ones the wrong would not show.
    for kind, table in (("wrong", None), ("right", histogram)):
        session.figure(
            partial(confidence_histogram, histogram, kind),
            f"Histogram of the confidence of {kind} predictions",
            table,
            f"confidence-{kind}",
            **on_click(f"confidence-{kind}", "bar", open_errors),
        )


def calibrated():
    st.header(
        "Calibration",
        help="Is the confidence deserved? Each point stands for predictions of similar "
        "confidence; its size shows how many. On the line, the model is right as often as it is "
        "confident; below it, the model is overconfident.",
    )
    found = session.ask(calibration, run.filter())
    session.figure(
        partial(reliability_curve, found["bins"]),
        "Accuracy by confidence",
        found["bins"],
        "calibration",
        **on_click("calibration", "bin", open_errors),
    )


def which_layer():
    st.header(
        "Which layer to read",
        help="The choice score is the mean of two tests, each on a scale from 0 "
        "(no effect, or chance) to 1 (the best layer): does "
        "hiding the layer's top words change the prediction, and when two texts are joined, do "
        "its words lie in the one whose class was predicted? Whiskers are 95% intervals.",
    )
    layers = session.ask(Run.layers, run)
    if layers.empty:
        st.info("The layers will be summarised once the audit has finished.")
        return
    shown = {"choice": "Choice score", "comprehensiveness": "Comprehensiveness"}
    shown["coherence"] = "Coherence"
    known = [name for name in shown if layers[name].notna().any()]
    advice = layer_advice(run, layers)
    if known:
        name, title = known[0], shown[known[0]]
        session.figure(
            partial(by_layer, layers, name, title, run.recommended, run.most_readable),
            f"{title} by layer",
            layers,
            "layers",
            **on_click(
                "layer-chart",
                "point",
                lambda point: session.go_to("layers", layer=int(point["layer"])),
            ),
        )
    st.caption(f"**{advice.use}** {advice.why} {advice.tied}")


def classes():
    st.header("Classes")
    st.caption("Lowest F1 first. Select a class to see its errors.")
    table = session.ask(Slice.class_metrics, run.filter())
    table = table.sort_values("f1", kind="stable", ignore_index=True)

    def open_class(place: int):
        name = table["class"].iloc[place]
        session.go_to("errors", where=f"wrong gold:{quote(name)}")

    columns = {
        "class": Column(),
        "support": Column("labelled", "Examples with this label."),
        "predicted": Column(help="Examples predicted as this class."),
        "precision": Column(help="Right among those predicted as this class."),
        "recall": Column(help="Right among those with this label."),
        "f1": Column("F1", "Harmonic mean of precision and recall."),
    }
    show_table(
        table[list(columns)],
        f"classes-{run.number}",
        "Precision, recall and F1 of every class",
        columns=columns,
        on_choose=open_class,
        ticks=False,
    )
    session.download(table, "classes")


what_was_audited()
# Found last, as it takes longest; everything else is there meanwhile.
looks = st.skeleton(height=200) if run.accuracy is not None else st.empty()
judged = numbers()
if judged:
    session.link(
        f"Wrong predictions: {progress_sentence(run.filter('wrong'))} →",
        "errors",
        key="reviewed",
        where="wrong -reviewed",
    )
scores_by_path()
if judged:
    left, right = st.columns(2)
    with left:
        confusions()
    with right:
        classes()
    parts = st.columns(3)
    for part, draw in zip(parts, (confidences, calibrated, which_layer), strict=True):
        with part:
            draw()
else:
    st.info(
        "This run has no labels, so right and wrong are unknown; the other pages show all examples."
    )
    which_layer()
with looks.container():
    if judged:
        first_looks()
