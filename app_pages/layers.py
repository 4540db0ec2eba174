import streamlit as st

from app_pages import context
from saliency_core import charts
from saliency_core.agreement import SAMPLE, layer_agreement

COLUMNS = {
    "coherence": "Coherence: do its words mean alike when the decision is alike?",
    "decodability": "Decodability: do its features still name their own token?",
    "comprehensiveness": "Comprehensiveness: how far does masking its top words move the answer?",
    "sufficiency": "Sufficiency: how far does keeping only its top words move it? Lower is better.",
}

store, run, facts = context.opened()
st.title("Layers")
layers = store.layers(run=run)
if layers.empty:
    st.info("The layers are summarised when the audit has finished. Start it again to go on.")
    st.stop()
recommended, equals = facts["recommended"], facts["equals"]
evaluated = layers["comprehensiveness"].notna().any()
reason = "the highest comprehensiveness" if evaluated else "the highest coherence"
sentence = f"Read layer **{recommended}** first: it has {reason}."
if equals:
    names = ", ".join(map(str, equals))
    sentence += f" Within the intervals, {'layer' if len(equals) == 1 else 'layers'} {names} "
    sentence += f"{'does' if len(equals) == 1 else 'do'} as well."
st.markdown(sentence)
if layers["coherence"].isna().all():
    st.info("Only one class was predicted, so coherence is undefined.")
for column, title in COLUMNS.items():
    if layers[column].notna().any():
        st.subheader(title)
        st.altair_chart(
            charts.by_layer(layers, column, column.capitalize(), recommended),
            alt=f"{column} by layer",
        )
st.caption("Whiskers are 95 % bootstrap intervals; the dashed line is pointing at every word.")
st.dataframe(layers.dropna(axis="columns", how="all"), hide_index=True)

st.subheader("Do the layers point at the same words?")
where = context.slice_input()
total = context.counted(store, run, where)


@st.cache_data(max_entries=32, show_spinner="Reading a sample ...")
def agreement(path: str, version: int, run: int, where: str):
    return layer_agreement(context.open_store(path), where, run=run)


pairs = agreement(str(store.path), store.version(), run, where)
if pairs.empty:
    st.info("No example of this filter has three words and a score.")
else:
    st.altair_chart(charts.agreement(pairs), alt="Rank correlation of word scores between layers")
    st.caption(
        f"Spearman's rank correlation of word scores, mean over {pairs['examples'].iloc[0]} "
        f"examples (a seeded sample of at most {SAMPLE} of {total:,}): 1 means the same order of "
        "words, 0 no relation."
    )
