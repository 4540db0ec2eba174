import numpy as np
import pandas as pd
import streamlit as st

from app_pages import context
from saliency_core import charts, painting
from saliency_core.errors import UserError
from saliency_core.store.curate import set_note
from saliency_core.words import shares, word_scores

store, run, facts = context.opened()
st.title("Example")


def go(to: str):
    st.session_state["id"] = to


if "where" not in st.session_state and "where" not in st.query_params:
    st.session_state["where"] = "wrong"
columns = st.columns([3, 1])
with columns[0]:
    where = context.slice_input()
total = context.counted(store, run, where)
order = store.ids(where, run=run, sort="confidence", descending=True)
wanted = columns[1].text_input("Id", key="id", bind="query-params", help="The example's id.")
try:
    if not wanted and total:
        example = store.example(int(order[0]), run=run)
    else:
        example = store.example(str(wanted), run=run)
except UserError as error:
    st.warning(context.escape(error))
    st.stop()

place = np.flatnonzero(order == example["example"])
buttons = st.container(horizontal=True)
if len(place):
    at = int(place[0])
    neighbours = {
        "Previous": at - 1 if at > 0 else None,
        "Next": at + 1 if at + 1 < len(order) else None,
    }
    for name, neighbour in neighbours.items():
        to = store.examples_at([int(order[neighbour])], run=run) if neighbour is not None else None
        buttons.button(
            name,
            disabled=to is None,
            on_click=go,
            args=(str(to["id"].iloc[0]),) if to is not None else None,
            shortcut="K" if name == "Next" else "J",
        )
    st.caption(f"{at + 1} of {len(order)} in the filter, most confident first.")

with st.container(horizontal=True):
    st.metric("Gold", context.escape(example["gold"] or "none"), border=True)
    st.metric("Predicted", context.escape(example["predicted"] or "none"), border=True)
    confidence = example["confidence"]
    st.metric("Confidence", "–" if confidence is None else f"{confidence:.3f}", border=True)
if example["failure"]:
    st.info(f"This example has no saliency: {context.escape(example['failure'])}")
    st.text(example["text"])
    st.stop()

targets = list(example["saliency"])
target = st.segmented_control(
    "What the words speak for",
    targets,
    default=targets[0],
    help="predicted: the predicted class; contrast: the predicted class rather than the gold one.",
)
layer = context.layer_slider(facts, "layer")
scores = word_scores(
    example["saliency"][target or targets[0]], example["word_of_token"], len(example["words"])
)  # (layer, word)
scale = painting.scale_of(scores.ravel())
spans, sides = np.asarray(example["word_spans"]), np.asarray(example["sides"])
side_of_word = np.zeros(len(example["words"]), int)
side_of_word[example["word_of_token"]] = sides
painted = []
for side, text in enumerate((example["text"], example["pair"])):
    if not text:
        continue
    words = [
        {"start": int(spans[w][0]), "end": int(spans[w][1]), "score": float(scores[layer, w])}
        for w in range(len(spans))
        if side_of_word[w] == side
    ]
    truncated = example["chars_seen"] < example["chars_total"]
    seen = max([word["end"] for word in words], default=0) if truncated else None
    painted.append(painting.paint(text, words, scale, seen))
st.html(painting.STYLE + "".join(painted))
explained = float(example["explained"][target or targets[0]][layer])
st.caption(
    f"Orange speaks for it, blue against it; full colour is {scale:.2f} logits. The words of this "
    f"layer account for {explained:.0%} of the change from a blank text."
)
st.altair_chart(
    charts.heatmap(list(example["words"]), scores), alt="Saliency of every word at every layer"
)
table = pd.DataFrame(
    {
        "word": example["words"],
        "score (logits)": scores[layer],
        "share": shares(scores[layer]),
        "start": spans[:, 0],
        "end": spans[:, 1],
    }
).sort_values("score (logits)", ascending=False)
left, right = st.columns(2)
left.dataframe(table, hide_index=True)
right.dataframe(
    pd.DataFrame({"class": facts["label_names"], "probability": example["probabilities"]}),
    hide_index=True,
)
with left:
    note = example["note"] or {"note": "", "proposed_label": None}
    labels = facts["label_names"]
    with st.form(f"note-{run}-{example['id']}"):
        st.markdown("**Your note**")
        text = st.text_area("Note", note["note"], help="Kept in the file and exported.")
        proposed = st.selectbox(
            "Right label",
            [None, *labels],
            index=labels.index(note["proposed_label"]) + 1 if note["proposed_label"] else 0,
            format_func=lambda name: "as it is" if name is None else name,
            help="What the gold label should be; kept and exported, the dataset stays as it is.",
        )
        if st.form_submit_button("Keep"):
            set_note(store.path, run, example["id"], text.strip(), proposed)
            st.success("Kept.")
if example["metadata"]:
    right.dataframe(
        pd.DataFrame(
            {"column": list(example["metadata"]), "value": map(str, example["metadata"].values())}
        ),
        hide_index=True,
    )
