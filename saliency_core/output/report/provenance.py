"""Sections of what lies behind the numbers: what was audited, the method, its limits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from saliency_core.output.report.html import Bullets, Paragraph, Section, Table
from saliency_core.output.report.scope import View


def audited_section(view: View) -> Section:
    """Return what was audited, so that it can be repeated."""
    facts, model, dataset = view.facts, view.facts["model"], view.facts["dataset"]
    settings = facts["settings"]
    roles = ", ".join(f"{role} = {column}" for role, column in dataset["columns"].items())
    rows = [
        ["Model", f"{model['name']}{_revision(model)}"],
        ["Kind", f"{model['architecture']}, {model['layers']} layers, {model['task']}"],
        ["Labels", _some(view.labels)],
        ["Dataset", f"{dataset['source']}{_revision(dataset)}"],
        ["Split", dataset["split"] or ""],
        ["Columns", roles],
        ["Language-model head", model["lm_head"]],
        ["Scores speak for", _target(settings["target"])],
        ["Steps", str(settings["steps"])],
        ["Longest text", f"{settings['max_length']} tokens, longer ones: {settings['long_text']}"],
        ["Computed in", settings["dtype"]],
        ["Weights", model["model_digest"]],
        ["Database", f"{view.store.path.name}, run {view.run}, {facts['created']}"],
        ["Versions", ", ".join(f"{name} {v}" for name, v in facts["versions"].items())],
    ]
    blocks: list[Any] = [Table(["", ""], [row for row in rows if row[1]])]
    if facts["warnings"]:
        blocks += [Paragraph("To be kept in mind:"), Bullets(facts["warnings"])]
    if facts["status"] != "finished":
        blocks.append(Paragraph("The audit is not finished; numbers will change."))
    return Section("What was audited", blocks)


def _revision(what: dict[str, Any]) -> str:
    return f" at {what['revision']}" if what.get("revision") else ""


def _target(target: str) -> str:
    return {
        "predicted": "the class the model predicted",
        "gold": "the class of the label",
    }.get(target, target)


def _some(names: Iterable[str], shown: int = 20) -> str:
    names = list(names)
    more = f", ... ({len(names)} in all)" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def method_section(view: View) -> Section:
    """Return how it was measured, for someone who never saw the tool."""
    steps = view.facts["settings"]["steps"]
    return Section(
        "How this was measured",
        [
            Paragraph(
                "Each text is compared with a blank one of the same length, in which every word is "
                f"masked. On the way from the blank to the text, in {steps} steps, the model's own "
                "gradient tells how much every place of every layer adds to the answer. The "
                "pretrained language model the classifier was made from then says which of the "
                "text's own words each place stands for. So every word gets a score at every "
                "layer."
            ),
            Paragraph(
                "Scores are in logits, the model's own unit before it turns them into "
                "probabilities. The scores of a text add up to (nearly) the difference between the "
                "text and its blank. A word's share is its part of all that speaks for the answer, "
                "from 0 to 1."
            ),
            Paragraph(
                "From Hou and Castañón, Decoding Layer Saliency in Language Transformers (ICML "
                "2023): saliency of the hidden layers, their decoding through the language-model "
                "head, and the idea of a layer's coherence. The path from a blank, the weighting "
                "among a text's own words, the definition of coherence and the choice of a layer "
                "by faithfulness are this tool's completion."
            ),
        ],
    )


def limits_section(view: View) -> Section:
    """Return what the numbers can't tell."""
    items = [
        "This shows what the model used, not what is right to use. A word that carries the meaning "
        "of a class is also relied on; the judgement is a person's.",
        "A high share is evidence, not proof: only deleting a word and seeing the answer change "
        "shows an effect.",
        "Means of few examples are uncertain; read the intervals. Of many words compared, some "
        "stand out by chance.",
        "Scores depend on what counts as a blank text; here its words are replaced by "
        f"{view.facts['model']['blank_token']}.",
        "Labels may be wrong too, most of all among the answers the model was surest of.",
        "Numbers are of these examples; another dataset may behave otherwise.",
    ]
    if view.facts["model"]["causal"]:
        items.append(
            "The language-model head of this kind of model speaks of the next word, so a layer's "
            "decoding is a likeness, not an identity."
        )
    if view.facts["model"]["lm_head_is_fallback"]:
        items.append(
            "No language-model head was given: layers were decoded through the input embeddings, "
            "which is rougher."
        )
    return Section("Limits", [Bullets(items)])
