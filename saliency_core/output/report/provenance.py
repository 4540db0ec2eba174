"""Sections of what lies behind the numbers: what was audited, the method, its limits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from saliency_core.output.report.blocks import Bullets, Paragraph, Section, Table
from saliency_core.output.report.scope import View, name_of
from saliency_core.records import DatasetInfo, ModelInfo
from saliency_core.store import Run
from saliency_core.store.connection import day

NAMED = 20
"""Classes that are named of many."""
TARGETS = {"predicted": "the class that the model predicted", "gold": "the class of the label"}


def audited_section(view: View) -> Section:
    """Return what was audited, so that it can be repeated."""
    run, model, dataset = view.run, view.run.model, view.run.dataset
    settings = run.settings
    cut = "read in windows" if settings.long_text == "window" else "truncated"
    names = run.label_names
    labels = ", ".join(names[:NAMED]) + f", ... ({len(names)} in all)" * (len(names) > NAMED)
    roles = ", ".join(
        role if role == column else f"{role} = {column}" for role, column in dataset.columns.items()
    )
    rows = [
        ["Model", f"{name_of(model.name)}{_revision(model)}"],
        ["Kind", f"{model.architecture}, {model.layers} layers, {model.task}"],
        ["Labels", labels],
        ["Dataset", f"{name_of(dataset.source)}{_revision(dataset)}"],
        ["Split", dataset.split or ""],
        ["Columns", roles],
        ["Metadata", ", ".join(run.metadata_columns())],
        ["Language-model head", name_of(model.lm_head)],
        ["Scores measure support for", TARGETS.get(settings.target, settings.target)],
        ["Scores computed by", f"the {settings.rule_named}"],
        ["Maximum length", f"{settings.max_length} tokens; longer texts are {cut}"],
        ["Computed in", settings.dtype],
        ["Checksum of the weights", model.model_digest],
        ["Audited on", day(run.created)],
        ["Database", f"{run.store.path.name}, run {run.number}"],
        ["Versions", ", ".join(f"{name} {v}" for name, v in run.versions.items())],
    ]
    blocks: list[Any] = [Table(["*", ""], [row for row in rows if row[1]])]
    if run.warnings:
        blocks += [Paragraph("Keep in mind:"), Bullets(_without_paths(view, run.warnings))]
    if not run.is_finished:
        blocks.append(Paragraph("The audit is not finished; numbers will change."))
    return Section("What was audited", blocks)


def _without_paths(view: View, sentences: Iterable[str]) -> list[str]:
    """Return sentences in which the folders of this machine are called by their names."""
    model, dataset = view.run.model, view.run.dataset
    paths = [path for path in (model.name, model.lm_head, dataset.source) if "/" in path]
    found = list(sentences)
    for path in sorted(paths, key=len, reverse=True):
        found = [sentence.replace(path, name_of(path)) for sentence in found]
    return found


def _revision(what: ModelInfo | DatasetInfo) -> str:
    return f" at {what.revision}" if what.revision else ""


def _how(run: Run) -> str:
    """Say how the model's prediction is shared out among positions."""
    compared = "Each text is compared with a copy of itself in which every word is blanked out. "
    if run.settings.rule == "path":
        return (
            f"{compared}On the way from the blanked-out text to the original text, in "
            f"{run.settings.steps} steps, the model's own gradient shows how much each position "
            "of each layer adds to the prediction; the parts add up only approximately."
        )
    but = long = ""
    if run.incomplete:
        but = (
            f" For {run.incomplete:,} of the examples, this sum failed, and gradients along a path "
            "from the blanked-out text were used instead."
        )
    if run.windowed:
        long = (
            f" Long texts ({run.windowed:,}) were read in overlapping windows; the prediction is "
            "the mean over the windows."
        )
    return (
        f"{compared}Both are run through the model together, and the difference between their "
        "logits is shared out, operation by operation, among the positions at each layer; at each "
        f"layer, the parts add up to the whole, and this is checked for every example.{but}{long}"
    )


def method_section(view: View) -> Section:
    """Return how it was measured, for someone who never saw the tool."""
    return Section(
        "How this was measured",
        [
            Paragraph(
                f"{_how(view.run)} The pretrained language model from which the classifier "
                "was fine-tuned then determines which of the text's own words each position stands "
                "for. In this way, every word gets a score at every layer."
            ),
            Paragraph(
                "Scores are in logits, the model's raw outputs, before they are turned into "
                "probabilities. The scores of a text's words add up to the difference in logits "
                "between the text and the same text blanked out. A word's share is how much of a "
                "text's total support for the prediction comes from that word, on a scale from 0 "
                "to 1."
            ),
            Paragraph(
                "Three ideas are taken from Hou and Castañón, Decoding Layer Saliency in "
                "Language Transformers (ICML 2023): saliency of the hidden layers, their decoding "
                "through the language-model head, and the notion of a layer's coherence. The rule "
                "by which scores add up, the weighting among a text's own words, the definition of "
                "coherence and the choice of a layer by the two tests above are this tool's own "
                "additions."
            ),
        ],
    )


def limits_section(view: View) -> Section:
    """Return what the numbers can't tell."""
    items = [
        "This report shows what the model relies on, not what it should rely on. It may rely both "
        "on shortcuts and on words that carry the meaning of a class; a person must judge which is "
        "which.",
        "A high share is evidence, not proof: only deleting a word and seeing the prediction "
        "change shows an effect.",
        "Means over few examples are uncertain; read the intervals. When many words are compared, "
        "some stand out by chance.",
        "Scores depend on the blanked-out copy that each text is compared with; in that copy, "
        f"words are replaced by {view.run.model.reference}.",
        "Some labels may be wrong, especially where a confident prediction counts as an error.",
        "The numbers describe these examples only; another dataset may give different ones.",
    ]
    if view.run.model.causal:
        items.append(
            "The language-model head of this kind of model predicts the next word, so a layer's "
            "decoding is an approximation, not an identity."
        )
    if view.run.model.lm_head_is_fallback:
        items.append(
            "No language-model head was given: layers were decoded through the input embeddings, "
            "which is less accurate."
        )
    return Section("Limits", [Bullets(items)])
