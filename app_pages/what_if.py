from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from app_components import model_gate, session, slice_edit
from app_components.filter_line import filter_line
from app_components.navigation import end_page, keep, name_in_address
from app_components.table import show_table
from saliency_core.errors import UserError
from saliency_core.output import highlighting
from saliency_core.output.charts.counterfactuals import (
    MAX_WORDS,
    aligned_bars,
    class_probabilities,
    pair_labels,
)
from saliency_core.output.charts.words import heatmap
from saliency_core.store import Slice

VIEWS = ("one text", "a word in a slice")

run = session.opened()
st.caption(
    "What would the model answer if the text were another? These answers are not in the file: they "
    "need the model."
)
view = st.segmented_control(
    "What to edit", VIEWS, required=True, key=keep("what_view", VIEWS[0], VIEWS)
)


@st.cache_data(max_entries=32, show_spinner="Running the model ...")
def explained(audited: str, folder: str, before: tuple, after: tuple, rule: str, steps: int):
    from saliency_core.shortcuts.counterfactuals import edit_text

    classifier = model_gate.loaded(run, folder)
    with model_gate.RUNNING:
        return edit_text(classifier, before, after, rule=rule, steps=steps)


def original() -> tuple[str, str | None, str]:
    """Return the text as it is, its pair and what names it: an example, or typed."""
    surest = session.ask(
        Slice.examples, run.filter("wrong"), sort="confidence", descending=True, limit=1
    )
    wanted = st.text_input(
        "Id of an example",
        key=keep("what_id", str(surest["id"].iloc[0]) if len(surest) else ""),
        placeholder="empty: type a text of your own",
        help="The Example page shows it. Here stands the surest wrong answer first.",
    ).strip()
    # In the address in any case: a pasted edit must meet the text it was made on.
    name_in_address("what_id", wanted)
    if not wanted:
        text = st.text_area("The text as it is", key=keep("what_text", ""))
        return text, None, "typed"
    try:
        example = run.example(wanted)
    except UserError as error:
        st.warning(session.escape(error))
        end_page()
    gold = session.escape(example["gold"] or "no label")
    st.caption(f"Gold: {gold}. Answered: {session.escape(example['predicted'] or 'nothing')}.")
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
            help="Leave the box, or press Ctrl+Enter, to see.",
        )

    first = area("The text as it might be", text, "edited")
    return first, None if pair is None else area("Its second text", pair, "edited_pair")


def one_text():
    left, right = st.columns(2)
    with left:
        text, pair, name = original()
        if name != "typed":
            with st.container(border=True):
                st.text(text)
                if pair:
                    st.text(pair)
    if not text.strip():
        st.info("Name an example or type a text to go on.")
        return
    with right:
        after = edited_of(text, pair, name)
    folder = model_gate.asked_for(run)
    if folder is None:
        return
    try:
        found = explained(
            model_gate.audited(run),
            folder,
            (text, pair),
            after,
            run.settings.rule,
            run.settings.steps,
        )
    except UserError as error:
        st.error(session.escape(error))
        return
    answers(found)
    layer_by_layer(found)


def answers(found: dict):
    """Show what the model answers before and after."""
    before, after = found["before"], found["after"]
    changed = before["prediction"] != after["prediction"]
    with st.container(horizontal=True):
        for label, side in (("Answer as it is", before), ("Answer edited", after)):
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
            "The answer",
            "changes" if changed else "stays",
            border=True,
            help="Whether the two texts get the same class.",
        )
    rows = [
        {"class": name, "as it is": value, "edited": after["probabilities"][name]}
        for name, value in before["probabilities"].items()
    ]
    session.figure(
        partial(class_probabilities, before["probabilities"], after["probabilities"]),
        "Probability of every class, as it is and edited",
        pd.DataFrame(rows),
        "probabilities",
    )


def layer_by_layer(found: dict):
    """Show the saliency of both texts at a layer, and how aligned words differ."""
    from saliency_core.shortcuts.counterfactuals import aligned_words

    layer = session.layer_slider(run, "layer")
    sides = [found[side] for side in ("before", "after")]
    # One scale over both texts and all layers, so that colours compare.
    scale = highlighting.scale_of(
        [word["score"] for side in sides for words in side["layers"].values() for word in words]
    )
    for column, side, title in zip(st.columns(2), sides, ("As it is", "Edited"), strict=True):
        column.markdown(f"**{title}**")
        words = side["layers"][str(layer)]
        whole = side | {"chars_seen": 0, "chars_total": 0}
        pieces = highlighting.pieces_of_example(whole, words, scale)
        column.html(highlighting.painted(pieces))
    st.caption(
        f"Orange speaks for the class that was answered, blue against it; full colour is "
        f"{scale:.2f} logits. If the answer changes, the two texts speak for two classes."
    )
    words = aligned_words(found, layer)
    st.subheader("What each word gained and lost")
    session.figure(
        partial(aligned_bars, words),
        "Difference of the scores of aligned words",
        words,
        "aligned-words",
    )
    if len(words) > MAX_WORDS:
        st.caption(f"The {MAX_WORDS} that differ most; the table holds all.")
    show_table(words, "aligned-table", "Scores of aligned words before and after")
    differences = np.stack(
        [aligned_words(found, number)["difference"] for number in range(run.model.layers + 1)]
    )  # (layer, word)
    st.subheader("The same in every layer")
    names = pair_labels(words)
    columns = [f"layer {number}" for number in range(len(differences))]
    session.figure(
        partial(heatmap, names, differences),
        "Difference of the score of every aligned word at every layer",
        pd.DataFrame(differences.T, columns=columns).assign(word=names),
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
        new = columns[2].text_input("By", key=keep("what_new", "")).strip()
    limit = columns[3].number_input("Texts at most", 1, step=100, key=keep("what_limit", 1000))
    where = filter_line(run)
    if not word or (way == "replace" and not new):
        st.info("Name the word, and what takes its place, to go on.")
        return
    total = session.counted(run.filter(where))
    st.caption(f"The filter holds {total:,} texts.")
    folder = model_gate.asked_for(run)
    if folder is None:
        return
    edit = {"word": word, "way": way, "new": new, "where": where, "limit": int(limit)}
    if st.button("Run the model", type="primary"):
        st.session_state["what_ran"] = (run, edit)
    if st.session_state.get("what_ran") == (run, edit):
        slice_edit.show(run, folder, **edit)


if view == VIEWS[0]:
    one_text()
else:
    a_word_in_a_slice()
