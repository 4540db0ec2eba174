from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from app_components import model_gate, session, slice_edit
from app_components.filter_line import filter_line
from app_components.navigation import end_page, keep, name_in_address
from app_components.table import Column, show_table
from saliency_core.errors import UserError
from saliency_core.output import highlighting
from saliency_core.output.charts.counterfactuals import (
    SHOWN_WORDS,
    aligned_bars,
    class_probabilities,
    pair_labels,
)
from saliency_core.output.charts.words import heatmap
from saliency_core.shortcuts.counterfactuals import (
    aligned_words,
    changed_words,
    edit_text,
    edits,
    most_changed_first,
)
from saliency_core.store import Slice
from saliency_core.store.query.editing import joined
from saliency_core.store.query.terms import quote

VIEWS = ("one text", "a word in a slice")
LISTED = 8
"""Changes of a text that are named."""

run = session.opened()
st.caption(
    "Edit a text, or one word in many texts, and see how the prediction changes. Nothing on this "
    "page is saved."
)
view = st.segmented_control(
    "What to edit", VIEWS, required=True, key=keep("what_view", VIEWS[0], VIEWS)
)


@st.cache_data(max_entries=32, show_spinner="Running the model ...")
def explained(audited: str, folder: str, before: tuple, after: tuple):
    classifier, settings = model_gate.loaded(run, folder), run.settings
    with model_gate.RUNNING:
        return edit_text(classifier, before, after, rule=settings.rule, steps=settings.steps)


def original() -> tuple[str, str | None, str]:
    """Return the text as it is, its pair and what names it: an example, or typed."""
    surest = session.ask(
        Slice.examples, run.filter("wrong"), sort="confidence", descending=True, limit=1
    )
    wanted = st.text_input(
        "Example ID",
        key=keep("what_id", str(surest["id"].iloc[0]) if len(surest) else ""),
        placeholder="leave empty to type a text of your own",
        help="Shown on the Example page. Starts with the most confident error.",
    ).strip()
    # In the address in any case: a pasted edit must meet the text it was made on.
    name_in_address("what_id", wanted)
    if not wanted:
        text = st.text_area("Original text", key=keep("what_text", ""))
        return text, None, "typed"
    try:
        example = run.example(wanted)
    except UserError as error:
        st.warning(session.escape(error))
        end_page()
    gold = session.escape(example["gold"] or "no label")
    predicted = session.escape(example["predicted"] or "nothing")
    st.caption(f"Labelled {gold}, predicted {predicted}.")
    return example["text"], example["pair"] or None, wanted


def edited_of(text: str, pair: str | None, name: str) -> tuple[str, str | None]:
    """Let the user edit the text; the edit is in the URL."""

    def area(label: str, value: str, parameter: str) -> str:
        # A field of its own for every original, so that no edit moves to another.
        key = f"{parameter}-{session.here(run)}-{name}-{value if name == 'typed' else ''}"
        return st.text_area(
            label,
            key=keep(parameter, value, key=key),
            height=160,
            help="Click outside the box, or press Ctrl+Enter, to see the result.",
        )

    first = area("Edited text", text, "edited")
    return first, None if pair is None else area("Edited second text", pair, "edited_pair")


def one_text():
    text, pair, name = original()
    if not text.strip():
        st.info("Name an example or type a text to continue.")
        return
    after = edited_of(text, pair, name)
    changes = [
        change
        for one, other in zip((text, pair), after, strict=True)
        for change in edits(one or "", other or "")
    ]
    if changes:
        more = f", and {len(changes) - LISTED} more" if len(changes) > LISTED else ""
        st.markdown(f"Changed: {session.escape(', '.join(changes[:LISTED]))}{more}.")
    else:
        st.caption("Nothing has been changed yet: edit the text above.")
    folder = model_gate.asked_for(run)
    if folder is None:
        return
    try:
        found = explained(model_gate.audited(run), folder, (text, pair), after)
    except UserError as error:
        st.error(session.escape(error))
        return
    answers(found)
    layer_by_layer(found)


def answers(found: dict):
    """Show what the model predicts before and after."""
    before, after = found["before"], found["after"]
    changed = before["prediction"] != after["prediction"]
    with st.container(horizontal=True):
        for label, side in (("Original prediction", before), ("New prediction", after)):
            value = side["probabilities"].get(side["prediction"])
            st.metric(
                label,
                session.escape(side["prediction"] or "none"),
                "" if value is None else f"probability {value:.3f}",
                delta_color="off",
                delta_arrow="off",
                border=True,
                help="The class with the highest probability.",
            )
        st.metric(
            "Effect of the edit",
            "a different prediction" if changed else "no change",
            border=True,
            help="Whether the two texts are predicted as the same class.",
        )
    rows = [
        {"class": name, "original": value, "edited": after["probabilities"][name]}
        for name, value in before["probabilities"].items()
    ]
    session.figure(
        partial(class_probabilities, before["probabilities"], after["probabilities"]),
        "Probability of every class, original and edited",
        pd.DataFrame(rows),
        "probabilities",
    )


def layer_by_layer(found: dict):
    """Show the saliency of both texts at a layer, and how aligned words differ."""
    layer = session.layer_slider(run)
    sides = [found[side] for side in ("before", "after")]
    # One scale over both texts and all layers, so that colours compare.
    scale = highlighting.scale_of(
        [word["score"] for side in sides for words in side["layers"].values() for word in words]
    )
    titles = ("Original", "Edited")
    for column, side, title, changed in zip(
        st.columns(2), sides, titles, changed_words(found), strict=True
    ):
        column.markdown(f"**{title}**")
        words = [
            word | {"changed": number in changed}
            for number, word in enumerate(side["layers"][str(layer)])
        ]
        whole = side | {"chars_seen": 0, "chars_total": 0}
        pieces = highlighting.pieces_of_example(whole, words, scale)
        column.html(highlighting.painted(pieces))
    st.caption(
        "Changed words are framed. Orange words support the predicted class; blue words count "
        f"against it. The darkest shade is {scale:.2f} logits. If the prediction changes, the "
        "colours of the two texts stand for different classes."
    )
    words = most_changed_first(aligned_words(found, layer))
    st.header("What each word gained or lost")
    session.figure(
        partial(aligned_bars, words),
        "Difference of the scores of aligned words",
        words,
        "aligned-words",
    )
    st.caption(
        "Edited words first, then those whose score differs most"
        + f"; {SHOWN_WORDS} of {len(words):,}" * (len(words) > SHOWN_WORDS)
        + "."
    )
    differences = {
        f"layer {number}": aligned_words(found, number)["difference"].loc[words.index].to_numpy()
        for number in range(run.model.layers + 1)
    }
    names = pair_labels(words)
    with st.expander("All words, and every layer"):
        show_table(
            words,
            "aligned-table",
            "Scores of aligned words, original and edited",
            columns={
                "before": Column("original word"),
                "after": Column("edited word"),
                "score_before": Column("score in the original (logits)", format="{:+.2f}"),
                "score_after": Column("score in the edited text (logits)", format="{:+.2f}"),
                "difference": Column(format="{:+.2f}"),
            },
        )
        session.figure(
            partial(heatmap, names, np.stack(list(differences.values()))),
            "Difference of the score of every aligned word at every layer",
            pd.DataFrame(differences).assign(word=names),
            "aligned-words-by-layer",
        )


def a_word_in_a_slice():
    columns = st.columns([1.6, 2.1, 1.6, 1.2])
    word = columns[0].text_input("Word", key=keep("what_word", "")).strip()
    way = columns[1].segmented_control(
        "How",
        slice_edit.WAYS,
        required=True,
        key=keep("what_way", "delete", slice_edit.WAYS),
        help=slice_edit.HELP,
    )
    new = ""
    if way == "replace":
        new = columns[2].text_input("Replace with", key=keep("what_new", "")).strip()
    limit = columns[3].number_input(
        "Maximum number of texts", 1, step=100, key=keep("what_limit", 1000)
    )
    where = filter_line(run)
    if not word or (way == "replace" and not new):
        missing = "its replacement" if word else "the word"
        st.info(f"Type {missing} to continue.")
        return
    total = session.counted(run.filter(where))
    holding = session.counted(run.filter(joined(f"word:{quote(word)}", where)))
    among = " in this filter" if where.strip() else ""
    st.markdown(f"**{holding:,} of {total:,}** texts{among} contain “{session.escape(word)}”.")
    if not holding:
        return
    folder = model_gate.asked_for(run)
    if folder is None:
        return
    edit = {"word": word, "way": way, "new": new, "where": where, "limit": int(limit)}
    count = min(holding, int(limit))
    texts = f"{count:,} text{'s' * (count > 1)}"
    if st.button(f"Run the model on {texts}", type="primary"):
        st.session_state["what_ran"] = (run, edit)
    if st.session_state.get("what_ran") == (run, edit):
        slice_edit.show(run, folder, **edit)


if view == VIEWS[0]:
    one_text()
else:
    a_word_in_a_slice()
