import streamlit as st

from app_pages import context
from saliency_core import charts
from saliency_core.aggregate import contrast, word_table

SHOWN = 25

store, run, facts = context.opened()
st.title("Words")
where = context.slice_input()
total = context.counted(store, run, where)
if not total:
    st.info("No example fits this filter. Remove a term to see more.")
    st.stop()
layer = context.layer_slider(facts, "layer")
minimum = st.number_input(
    "In at least this many examples", 1, 1000, 5, key="minimum", bind="query-params"
)
st.caption(f"{total:,} examples; share is a word's part of all positive score in its text.")
table = word_table(store, layer, where, run=run, by_class=True, minimum=minimum)
if table.empty:
    st.info(f"No word stands in {minimum} examples of this filter. Lower the number.")
    st.stop()
classes = [name for name in facts["label_names"] if (table["class"] == name).any()]
chosen = st.selectbox("Predicted class", classes, key="class", bind="query-params")
rows = table[table["class"] == chosen].head(SHOWN)
left, right = st.columns(2)
with left:
    st.subheader("What the model leans on")
    st.altair_chart(
        charts.word_bars(rows, "mean_share", "Mean share"), alt="Most salient words of the class"
    )
with right:
    st.subheader("Wrong against right")
    wrong, fine = f"wrong {where}".strip(), f"right {where}".strip()
    if store.count(wrong, run=run) and store.count(fine, run=run):
        both = contrast(store, layer, wrong, fine, run=run, minimum=minimum)
        both = both.reindex(both["difference"].abs().sort_values(ascending=False).index)
        st.altair_chart(
            charts.word_bars(both.head(SHOWN), "difference", "Mean share, wrong minus right"),
            alt="Words that are more salient in wrong than in right examples",
        )
    else:
        st.info("This filter holds only right or only wrong examples.")
st.dataframe(table[table["class"] == chosen], hide_index=True)
