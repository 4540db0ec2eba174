import streamlit as st

from app_pages import context
from saliency_core import painting

ROWS, PAINTED = 50, 20

store, run, facts = context.opened()
st.title("Errors")


def first_page():
    st.session_state["page"] = 1


def add_picked():
    """Write the pickers into the filter line, which is the one source of truth."""
    terms = []
    if st.session_state.pick_answer != "all":
        terms.append(st.session_state.pick_answer)
    for term in ("gold", "predicted"):
        if st.session_state[f"pick_{term}"] != "all":
            terms.append(context.quote(term, st.session_state[f"pick_{term}"]))
    low, high = st.session_state.pick_confidence
    if low > 0:
        terms.append(f"confidence>={low:g}")
    if high < 1:
        terms.append(f"confidence<={high:g}")
    phrase = st.session_state.pick_text.strip().replace('"', " ")
    if phrase:
        terms.append(f'"{phrase}"')
    st.session_state["where"] = " ".join(terms)
    first_page()


if "where" not in st.session_state and "where" not in st.query_params:
    st.session_state["where"] = "wrong"
where = context.slice_input()
with st.expander("Pick instead of typing"):
    labels = ["all", *facts["label_names"]]
    columns = st.columns(5)
    columns[0].selectbox("Answer", ["all", "wrong", "right"], key="pick_answer")
    columns[1].selectbox("Gold", labels, key="pick_gold")
    columns[2].selectbox("Predicted", labels, key="pick_predicted")
    columns[3].slider("Confidence", 0.0, 1.0, (0.0, 1.0), 0.05, key="pick_confidence")
    columns[4].text_input("Text holds", key="pick_text")
    st.button("Apply", on_click=add_picked)

total, everything = context.counted(store, run, where), store.count(run=run)
left, right = st.columns([3, 1])
left.markdown(f"**{total:,}** of {everything:,} examples ({total / everything:.1%})")
sort = right.selectbox(
    "Sort by",
    ["confidence", "margin", "coherence", "length", "position"],
    key="sort",
    bind="query-params",
    on_change=first_page,
)
if not total:
    st.info("No example fits this filter. Remove a term to see more.")
    st.stop()
layer = context.layer_slider(facts, "layer")
page = st.pagination(max(1, -(-total // ROWS)), key="page", bind="query-params")
frame = store.examples(
    where,
    run=run,
    sort=sort,
    descending=sort in ("confidence", "length"),
    limit=ROWS,
    offset=(page - 1) * ROWS,
)
words = store.top_words(frame["example"].tolist(), layer, run=run)
table = frame.assign(
    words=[
        ", ".join(w["word"] for w in sorted(found, key=lambda w: -w["score"])[:3])
        for found in words
    ]
)[["gold", "predicted", "confidence", "words", "text", "length", "id"]]
# The key holds page and filter: a selected row must never mean another example after paging.
event = st.dataframe(
    table,
    hide_index=True,
    on_select="rerun",
    selection_mode="single-row",
    key=f"rows-{run}-{page}-{sort}-{where}",
    column_config={
        "confidence": st.column_config.NumberColumn(format="%.3f"),
        "words": st.column_config.TextColumn("most salient words"),
        "text": st.column_config.TextColumn(width="large"),
    },
)
selected = event["selection"]["rows"]
if selected and selected[0] < len(frame):
    chosen = str(frame.iloc[selected[0]]["id"])
    context.go_to("example", id=chosen, where=where)

st.caption(
    f"The first {PAINTED} painted at layer {layer}: orange speaks for the predicted class, blue "
    "against it; full colour is the strongest word of the row."
)
shown = frame.head(PAINTED)
st.html(painting.paint_rows(shown.to_dict("records"), words[: len(shown)]))
