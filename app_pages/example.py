from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from app_components import model_gate as model
from app_components import session as context
from app_components.example_list import painted_rows
from app_components.stored_form import StoredForm, quoted
from app_components.table import Column, show_table
from saliency_core.analysis.example_detail import (
    seen_of_side,
    word_frame,
    word_scores_by_target,
    words_of_layer,
)
from saliency_core.analysis.similar_explanations import SAMPLE, nearest_explanations
from saliency_core.errors import UserError
from saliency_core.output import highlighting
from saliency_core.output.charts.words import heatmap, plain_bars
from saliency_core.store import Run
from saliency_core.store.write.annotations import set_note

TARGETS = {
    "predicted": "the predicted class",
    "gold": "the gold class",
    "contrast": "the predicted class rather than the gold one",
}
UNCHANGED = ""
"""Stands for no other label than the gold one; no class is called so."""

run = context.opened()


def go(to: str):
    st.session_state["id"] = to


def chosen_example():
    """Return the filter line, the positions it holds and the example the address names."""
    columns = st.columns([3, 1])
    with columns[0]:
        where = context.slice_input(first="wrong")
    context.counted(run.filter(where))
    order = context.order(run.filter(where), "confidence", True)
    wanted = columns[1].text_input("Id", key="id", bind="query-params", help="The example's id.")
    asked = str(wanted) if wanted or not len(order) else int(order[0])
    try:
        return where, order, context.ask(Run.example, run, example=asked)
    except UserError as error:
        st.warning(context.escape(error))
        st.stop()


def previous_and_next(order: np.ndarray, position: int):
    """Lead through the filter, by button and by key."""
    place = np.flatnonzero(order == position)
    if not len(place):
        st.caption("This example is not in the filter.")
        return
    at = int(place[0])
    beside = order[max(at - 1, 0) : at + 2].tolist()
    ids = dict(zip(beside, run.examples_at(beside)["id"], strict=True))
    with st.container(horizontal=True, vertical_alignment="center"):
        for name, key, to in (("Previous", "J", at - 1), ("Next", "K", at + 1)):
            inside = 0 <= to < len(order)
            st.button(
                name,
                disabled=not inside,
                on_click=go,
                args=(ids[int(order[to])],) if inside else None,
                shortcut=key,
            )
        st.caption(f"{at + 1:,} of {len(order):,} in the filter, most confident first.")


def answer(example: dict):
    """Show what was right and what the model said."""
    with st.container(horizontal=True):
        st.metric(
            "Gold",
            context.escape(gold_of(example)),
            border=True,
            help="The label that the dataset gives.",
        )
        st.metric(
            "Predicted",
            context.escape(example["predicted"] or "none"),
            border=True,
            help="The class of the highest logit.",
        )
        confidence = example["confidence"]
        st.metric(
            "Confidence",
            "–" if confidence is None else f"{confidence:.3f}",
            border=True,
            help="Probability of the predicted class.",
        )
        coherence = example["coherence"]
        st.metric(
            "Coherence",
            "–" if coherence is None else f"{coherence:+.3f}",
            border=True,
            help="How alike the words of this explanation are to those of examples answered the "
            "same, beyond those answered differently; at the recommended layer. Low: unusual.",
        )
    context.link("What if this text were another? →", "what_if", what_id=example["id"])


def painted_texts(example: dict, words: list[dict], scale: float):
    """Paint the text and its pair; what the model did not read is grey."""
    painted = [highlighting.STYLE]
    pair = bool(example["pair"])
    for side, text in enumerate((example["text"], example["pair"])):
        if not text:
            continue
        if pair:
            painted.append(f"<div class='side'>{('First text', 'Second text')[side]}</div>")
        own = [word for word in words if word["side"] == side]
        painted.append(highlighting.paint(text, own, scale, seen_of_side(example, words, side)))
    st.html("".join(painted))


def neighbours(position: int, layer: int, where: str):
    """Show the examples that are explained alike, right and wrong ones."""
    st.subheader("Explained alike")
    within = st.toggle(
        "Only within the filter", key="alike_within", help="Else all examples are compared."
    )
    try:
        found = context.ask(
            nearest_explanations,
            run.filter(where if within else ""),
            position=position,
            layer=layer,
        )
    except UserError as error:
        st.info(context.escape(error))
        return
    st.caption(
        "The examples whose three most salient words lie nearest to this one's in the language "
        f"model's own space (cosine, 1 is the same), at layer {layer}; of at most {SAMPLE:,} "
        "compared. Wrong answers explained like right ones hint at wrong labels."
    )
    columns = st.columns(2)
    named = {
        "right": "Answered right",
        "wrong": "Answered wrong",
        "unknown": "Without a gold label",
    }
    positions = found["example"].tolist()
    examples = run.examples_at(positions).to_dict("records")
    texts = context.ask(Run.top_words, run, positions=positions, layer=layer)
    for place, (name, part) in enumerate(found.groupby("answer", sort=False)):
        with columns[place % 2]:
            st.markdown(f"**{named[name]}**")
            rows = [
                highlighting.painted_row(
                    examples[row.Index],
                    texts[row.Index],
                    about=f"cosine {row.cosine:.2f}: {row.words}",
                )
                for row in part.itertuples()
            ]
            painted_rows(rows, f"alike-{name}-{run.number}-{position}-{layer}", on_open=go)
    kept = found.drop(columns="example").assign(id=[example["id"] for example in examples])
    context.download(kept, "explained-alike", "These rows as CSV")


def decoded(example: dict, layer: int):
    """Show what every layer says in the whole vocabulary; this needs the model."""
    st.subheader("What the layers decode to")
    st.caption(
        "The words that the language model's head reads off where the classifier looks, of the "
        "whole vocabulary: they need not stand in the text."
    )
    folder = model.asked_for(run)
    if folder is None:
        return
    from saliency_core.saliency.logit_lens import decoded_words

    with model.RUNNING:
        classifier = model.loaded(run, folder)
        found = decoded_words(classifier, example["text"], example["pair"])
    rows = found[found["layer"] == layer]
    left, right = st.columns(2)
    with left:
        context.figure(
            partial(plain_bars, rows, "word", "probability", f"Probability at layer {layer}"),
            f"Vocabulary words that layer {layer} decodes to",
            found,
            "decoded-words",
        )
    table = found.groupby("layer")["word"].agg(", ".join).reset_index(name="words")
    with right:
        show_table(
            table,
            "decoded-table",
            "Vocabulary words each layer decodes to",
            columns={
                "layer": Column(help="0 is the embeddings."),
                "words": Column(help="Most probable first."),
            },
        )


def note_form(example: dict):
    """Let the analyst write a note and propose another label."""
    id, labels = example["id"], run.label_names

    def stored() -> dict:
        note = run.note(id) or {"note": "", "proposed_label": None}
        return note | {"proposed_label": note["proposed_label"] or UNCHANGED}

    def write(values: dict):
        proposed = values["proposed_label"]
        proposed = None if proposed == UNCHANGED else proposed
        set_note(run.store.path, run.number, id, values["note"].strip(), proposed)

    form = StoredForm(f"note-{context.here(run)}-{id}", stored, write, in_words)
    # A label that the file holds stays a choice, whatever the model's labels are.
    choices = dict.fromkeys([UNCHANGED, *labels, stored()["proposed_label"]])
    with st.form(form.key):
        st.text_area("Your note", key=form.field("note"), help="Kept in the file and exported.")
        st.selectbox(
            "Correct label",
            list(choices),
            key=form.field("proposed_label"),
            format_func=lambda name: name or f"{gold_of(example)} (unchanged)",
            help="What the gold label should be; kept and exported, the dataset stays as it is.",
        )
        form.submit()
    form.say()


def gold_of(example: dict) -> str:
    """Return the label that the dataset gives, in words."""
    return example["gold"] or example["label"] or "none"


def in_words(note: dict) -> str:
    """Say what the file holds on an example."""
    said = [quoted(note["note"])] if note["note"] else []
    if note["proposed_label"] != UNCHANGED:
        said.append(f"correct label {context.escape(note['proposed_label'])}")
    return (", ".join(said) or "no note, label unchanged") + "."


where, order, example = chosen_example()
previous_and_next(order, example["example"])
answer(example)
if example["failure"]:
    st.info(f"This example has no saliency: {context.escape(example['failure'])}")
    st.text(example["text"])
    st.stop()

by_target = word_scores_by_target(example)
targets = sorted(by_target, key=lambda name: [*TARGETS, name].index(name))
controls = st.columns([1, 1])
target = controls[0].segmented_control(
    "What the words speak for",
    targets,
    key="target",
    bind="query-params",
    required=True,
    default=targets[0],
    format_func=context.escape,
    help="; ".join(f"{name}: {meaning}" for name, meaning in TARGETS.items())
    + ". A right answer has one target only: predicted and gold are the same class.",
)
with controls[1]:
    layer = context.layer_slider(run, "layer")
scores = by_target[target if target in by_target else targets[0]]  # (layer, word)
scale = highlighting.scale_of(scores.ravel())
words = words_of_layer(example, scores[layer])
painted_texts(example, words, scale)
sentence = (
    f"Orange speaks for it, blue against it; full colour is {scale:.2f} logits, at any layer."
)
if example["incomplete"] or run.settings.rule == "path":
    completeness = float(example["completeness"][target][layer])
    sentence += (
        f" The words of this layer account for {completeness:.0%} of the difference from the same "
        "text blanked out: the path rule computed them, which adds up only roughly."
    )
if example["chars_seen"] < example["chars_total"]:
    sentence += (
        f" The model read {example['chars_seen']:,} of {example['chars_total']:,} characters; "
        "the rest is grey."
    )
st.caption(sentence)
names = [word["word"] for word in words]
context.figure(
    partial(heatmap, names, scores),
    "Saliency of every word at every layer",
    pd.DataFrame(scores.T, columns=[f"layer {n}" for n in range(len(scores))]).assign(word=names),
    "saliency",
)
left, right = st.columns(2)
with left:
    table = word_frame(words)
    show_table(
        table,
        "scores-table",
        f"Score of every word at layer {layer}",
        columns={
            "score": Column(
                help="Logits of the target that the word accounts for.", format="{:+.3f}"
            ),
            "share": Column(help="Part of all positive score in the text."),
            "start": Column(help="First character in the text."),
            "end": Column(help="Character behind the last."),
            "side": Column(help="0 the first text, 1 the second."),
        },
    )
    context.download(table, "words-of-example")
with right:
    chances = pd.DataFrame({"class": run.label_names, "value": example["probabilities"]})
    is_regression = run.model.task == "regression"
    show_table(
        chances.sort_values("value", ascending=False),
        "probabilities-table",
        "Probability of every class",
        columns={
            "value": Column("output" if is_regression else "probability", bar=not is_regression)
        },
    )
    if example["metadata"]:
        told = (f"{name}: {value}" for name, value in example["metadata"].items())
        st.caption(context.escape("; ".join(told)), help="Metadata of the example.")
    note_form(example)
neighbours(example["example"], layer, where)
decoded(example, layer)
