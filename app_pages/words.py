import streamlit as st

from app_pages import context
from saliency_core import charts
from saliency_core.aggregate import contrast, word_table
from saliency_core.errors import UserError
from saliency_core.store.slices import quote
from saliency_core.word_profile import word_profile

SHOWN = 25

store, run, facts = context.opened()
st.title("Words")
where = context.slice_input()
total = context.counted(store, run, where)
if not total:
    st.info("No example fits this filter. Remove a term to see more.")
    st.stop()
layer = context.layer_slider(facts, "layer")
columns = st.columns([1, 1, 2])
minimum = columns[0].number_input(
    "In at least this many examples",
    1,
    1000,
    5,
    key="minimum",
    bind="query-params",
    help="A mean over few examples says little: rarer words are left out.",
)
table = word_table(store, layer, where, run=run, by_class=True, minimum=minimum)
if table.empty:
    st.info(f"No word stands in {minimum} examples of this filter. Lower the number.")
    st.stop()
classes = [name for name in facts["label_names"] if (table["class"] == name).any()]
chosen = columns[1].selectbox("Predicted class", classes, key="class", bind="query-params")
versus = columns[2].text_input(
    "Compare with",
    key="versus",
    bind="query-params",
    placeholder="another filter; empty: wrong against right answers",
    help="The words of the filter above are set against those of this filter.",
)
st.caption(
    f"{total:,} examples. Share is a word's part of all positive score in its text; whiskers are "
    "95 % intervals."
)
rows = table[table["class"] == chosen].head(SHOWN)
left, right = st.columns(2)
with left:
    st.subheader("What the model leans on")
    st.altair_chart(
        charts.word_bars(rows, "mean_share", "Mean share"), alt="Most salient words of the class"
    )
with right:
    if versus:
        st.subheader("This filter against the other")
        one, other, axis = where, versus, "Mean share, this filter minus the other"
    else:
        st.subheader("Wrong against right")
        one, other = f"wrong {where}".strip(), f"right {where}".strip()
        axis = "Mean share, wrong minus right"
    if context.counted(store, run, one) and context.counted(store, run, other):
        both = contrast(store, layer, one, other, run=run, minimum=minimum)
        both = both.reindex(both["difference"].abs().sort_values(ascending=False).index)
        st.altair_chart(
            charts.word_bars(both.head(SHOWN), "difference", axis),
            alt="Words whose share differs most",
        )
    else:
        st.info("One of the two sides holds no example.")
shown = table[table["class"] == chosen].drop(columns="class")
event = st.dataframe(
    shown,
    hide_index=True,
    on_select="rerun",
    selection_mode="single-row",
    key=f"words-{run}-{layer}-{minimum}-{chosen}-{where}",
)
selected = event["selection"]["rows"]
if selected and selected[0] < len(shown):
    st.session_state["picked_word"] = shown.iloc[selected[0]]["word"]

st.subheader("One word")
picked = st.session_state.pop("picked_word", None)
if picked is not None:
    st.session_state["word"] = picked
word = st.text_input(
    "Word",
    key="word",
    bind="query-params",
    placeholder="type a word, or select a row above",
)
if not word:
    st.stop()
try:
    profile = word_profile(store, word, where, run=run)
except UserError as error:
    st.info(context.escape(error))
    st.stop()
with st.container(horizontal=True):
    st.metric("Examples with it", f"{profile.examples:,}", border=True)
    if profile.judged_with:
        rate = profile.wrong_with / profile.judged_with
        st.metric("Wrong with it", f"{rate:.1%}", border=True)
    if profile.judged_without:
        rate = profile.wrong_without / profile.judged_without
        st.metric("Wrong without it", f"{rate:.1%}", border=True)
st.altair_chart(
    charts.share_by_layer(profile.by_layer), alt="Mean share of the word in every layer"
)
holding = f"word:{quote(profile.word)}"
with st.container(horizontal=True):
    for label, condition in (("Wrong answers with it", "wrong"), ("All examples with it", "")):
        if st.button(f"{label} →", type="tertiary"):
            context.go_to("errors", where=f"{condition} {holding} {where}".strip())
