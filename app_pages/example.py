import itertools
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from app_components import model_gate, session
from app_components.example_list import painted_rows
from app_components.filter_line import filter_line
from app_components.navigation import end_page, entitle, keep
from app_components.other_run import show_other_run
from app_components.review_panel import review_panel, row_of
from app_components.sorting import ROWS, chosen_sort, in_order
from app_components.table import Column, show_table
from saliency_core.analysis.example_detail import word_frame, word_scores_by_target, words_of_layer
from saliency_core.analysis.similar_explanations import SAMPLE, nearest_explanations
from saliency_core.errors import UserError
from saliency_core.output import highlighting
from saliency_core.output.charts.words import heatmap, plain_bars
from saliency_core.output.rendering import direction_of
from saliency_core.store import Run

TARGETS = {
    "predicted": "the predicted class",
    "gold": "the class of the label",
    "contrast": "the predicted class rather than that of the label",
}
SAID = {"gold": "label"}
"""What a target is called on the page; the address and the file keep its name."""
SHOWN_CHARACTERS = 3_000
"""Characters of a text that are shown before more are asked for."""
RELIABLE = (0.7, 1.3)
"""Part of the difference from the blanked-out text between which scores add up well enough."""

run = session.opened()


def chosen_example():
    """Return the filter line, the positions it holds and the example the address names."""
    columns = st.columns([3, 1])
    with columns[0]:
        where = filter_line(run, "wrong")
    order = in_order(run.filter(where))
    wanted = columns[1].text_input("ID", key=keep("id", ""), help="The example's ID.")
    asked = str(wanted) if wanted or not len(order) else int(order[0])
    try:
        return where, order, session.ask(Run.example, run, example=asked)
    except UserError as error:
        st.warning(session.escape(error))
        end_page()


def back_to_the_list(order: np.ndarray, position: int):
    """Lead back to the page of the list that the example stands on."""
    place = np.flatnonzero(order == position)
    page = int(place[0]) // ROWS + 1 if len(place) else 1
    session.link(f"← Back to the {len(order):,} examples", "errors", page=page)


def painted(example: dict, words: list[dict], scale: float) -> list[list]:
    """Return the text, and its pair, in painted pieces: folded where long, until asked for."""
    pieces = highlighting.pieces_of_example(example, words, scale)
    folded = [highlighting.folded(one, SHOWN_CHARACTERS) for one in pieces]
    unread = example["chars_total"] - example["chars_seen"]
    with beside:
        if unread:
            st.warning(
                f"The model read {example['chars_seen']:,} of {example['chars_total']:,} "
                "characters."
            )
        if folded == pieces:
            return pieces
        with st.container(horizontal=True):
            whole = st.toggle("Show everything the model read", key=keep("whole_text", False))
            rest = unread and st.toggle("Also show what was not read", key="unread_text")
    if rest:
        return pieces
    return [highlighting.folded(one, None) for one in pieces] if whole else folded


def neighbours(position: int, layer: int, where: str):
    """Show the examples with similar explanations, right and wrong ones."""
    st.header("Similar explanations")
    within = st.toggle(
        "Only examples that match the filter",
        key="alike_within",
        help="Otherwise, all examples are compared.",
    )
    try:
        found = session.ask(
            nearest_explanations,
            run.filter(where if within else ""),
            position=position,
            layer=layer,
        )
    except UserError as error:
        st.info(session.escape(error))
        return
    st.caption(
        "The examples whose three most salient words are closest in meaning to this one's at layer "
        f"{layer}. If a wrong prediction relies on words like those of right predictions, its "
        "label may be wrong.",
        help="Cosine similarity in the language model's embedding space; 1 is identical. At most "
        f"{SAMPLE:,} examples are compared.",
    )
    columns = st.columns(2)
    named = {
        "right": "Right predictions",
        "wrong": "Wrong predictions",
        "unknown": "Without a label",
    }
    _, near = session.with_words(run, found["example"].tolist(), layer)
    for place, (name, part) in enumerate(found.groupby("answer", sort=False)):
        with columns[place % 2]:
            st.markdown(f"**{named[name]}**")
            rows = [
                highlighting.painted_row(
                    *near[row.Index], about=f"cosine {row.cosine:.2f}: {row.words}"
                )
                for row in part.itertuples()
            ]
            painted_rows(
                rows,
                f"alike-{name}-{run.number}-{position}-{layer}",
                on_open=lambda id: st.session_state.update(id=id),
            )
    kept = found.drop(columns="example").assign(id=[example["id"] for example, _ in near])
    session.download(kept, "similar-explanations", "Download rows (CSV)")


def decoded(example: dict, layer: int):
    """Show what every layer says in the whole vocabulary; this needs the model."""
    st.header("Vocabulary of each layer")
    st.caption(
        "Words from the whole vocabulary that the language-model head decodes from each layer's "
        "states. The text need not contain them."
    )
    folder = model_gate.asked_for(run)
    if folder is None:
        return
    from saliency_core.saliency.logit_lens import decoded_words

    with model_gate.RUNNING:
        classifier = model_gate.loaded(run, folder)
        found = decoded_words(classifier, example["text"], example["pair"])
    rows = found[found["layer"] == layer]
    left, right = st.columns(2)
    with left:
        session.figure(
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


def facts_of(example: dict) -> str:
    """Say in one line what else is known: metadata, and how usual the explanation is."""
    known = [f"{name}: {value}" for name, value in example["metadata"].items()]
    if example["coherence"] is not None:
        known.append(f"coherence {example['coherence']:+.2f}")
    return "; ".join(known)


where, order, example = chosen_example()
entitle(example["id"], where)
back_to_the_list(order, example["example"])
beside = st.container()


def show(columns: list[list], layer: int):
    """Show the text, painted, and what may be said of it."""
    direction = direction_of(itertools.chain.from_iterable(columns))
    gold = example["gold"] or example["label"] or "no label"
    row = row_of(example, [], gold=gold, about=facts_of(example))
    with beside:
        review_panel(
            run.filter(where),
            order,
            row | {"columns": [columns], "direction": direction},
            layer,
            f" that match the filter, {chosen_sort()} first",
        )
        session.link("Edit this text and see what changes →", "what_if", what_id=example["id"])


if example["failure"]:
    show([[(text, "", "")] for text in (example["text"], example["pair"]) if text], 0)
    st.info(f"This example has no saliency: {session.escape(example['failure'])}")
    end_page()

by_target = word_scores_by_target(example)
targets = sorted(by_target, key=lambda name: [*TARGETS, name].index(name))
controls = st.columns([1, 1])
target = controls[0].segmented_control(
    "Explained class",
    targets,
    key=keep("target", targets[0], targets),
    required=True,
    format_func=lambda name: session.escape(SAID.get(name, name)),
    help="; ".join(f"{SAID.get(name, name)}: {meaning}" for name, meaning in TARGETS.items())
    + ". A right prediction has only one class to explain: predicted class and label are the same.",
)
with controls[1]:
    layer = session.layer_slider(run)
scores = by_target[target if target in by_target else targets[0]]  # (layer, word)
scale = highlighting.scale_of(scores.ravel())
words = words_of_layer(example, scores[layer])
show(painted(example, words, scale), layer)
sentence = (
    "Orange words support this class; blue, underlined words count against it. All layers share "
    f"one colour scale: the darkest shade is {scale:.2f} logits."
)
if example["incomplete"] or run.settings.rule == "path":
    completeness = float(example["completeness"][target][layer])
    if RELIABLE[0] <= completeness <= RELIABLE[1]:
        sentence += (
            f" The scores at this layer account for {completeness:.0%} of the difference from the "
            "same text blanked out: the path rule, which computed them, adds up only approximately."
        )
    else:
        st.warning(
            "The scores of this text at this layer are not reliable: they account for "
            f"{completeness:.0%} of the difference from the same text blanked out."
        )
st.caption(sentence)
show_other_run(run, example["example"])
names = [word["word"] for word in words]
session.figure(
    partial(heatmap, names, scores),
    "Saliency of every word at every layer",
    pd.DataFrame(scores.T, columns=[f"layer {n}" for n in range(len(scores))]).assign(word=names),
    "saliency",
)
left, right = st.columns(2)
with left:
    table = word_frame(words)
    show_table(
        table.drop(columns=["start", "end"]),
        "scores-table",
        f"Score of every word at layer {layer}",
        columns={
            "score": Column(
                "score (logits)", "What the word adds to the explained class.", format="{:+.2f}"
            ),
            "share": Column(
                "share",
                "Share of everything in the text that supports the explained class.",
                "{:.1%}",
            ),
            "side": Column("text", "0: the first text; 1: the second."),
        },
    )
    session.download(table, "words-of-example")
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
neighbours(example["example"], layer, where)
decoded(example, layer)
