import streamlit as st

from app_pages import context
from saliency_core import charts
from saliency_core.aggregate import contrast
from saliency_core.comparison import KINDS, compare
from saliency_core.errors import UserError

ROWS = 50

store, run, facts = context.opened()
st.title("Compare")
runs = store.runs()
same = [
    int(row)
    for row in runs["run"]
    if row != run and store.run(row)["dataset"]["source"] == facts["dataset"]["source"]
]
if not same:
    st.info(
        "This file holds one run over this dataset. Audit the dataset with a second model into "
        "the same file, then both can be compared here."
    )
    st.stop()
names = {int(row.run): f"{row.run}: {context.name_of(row.model)}" for row in runs.itertuples()}
other = st.selectbox(
    "Compared with",
    [str(number) for number in same],
    key="other",
    bind="query-params",
    format_func=lambda number: names.get(int(number), number),
)
try:
    found = compare(store, run, int(other))
except UserError as error:
    st.error(context.escape(error))
    st.stop()
this, that = context.escape(names[run]), context.escape(names[int(other)])
st.caption(f"Fixed: wrong in {this}, right in {that}. Broken: the other way round.")
with st.container(horizontal=True):
    for row in found.counts.itertuples():
        st.metric(row.kind.capitalize(), f"{row.examples:,}", border=True)

kind = st.segmented_control("Show", KINDS, default=KINDS[0], key="kind", bind="query-params")
positions = found.of_kind(kind or KINDS[0])
if len(positions):
    page = st.pagination(max(1, -(-len(positions) // ROWS)), key="compare_page")
    chosen = [int(place) for place in positions[(page - 1) * ROWS : page * ROWS]]
    before = store.examples_at(chosen, run=run)
    after = store.examples_at(chosen, run=int(other))
    table = before[["id", "gold", "predicted", "confidence", "text"]].assign(
        then=after["predicted"].to_numpy(), then_confidence=after["confidence"].to_numpy()
    )[["gold", "predicted", "then", "confidence", "then_confidence", "text", "id"]]
    event = st.dataframe(
        table,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"compared-{run}-{other}-{kind}-{page}",
        column_config={
            "predicted": st.column_config.TextColumn(f"run {run}"),
            "then": st.column_config.TextColumn(f"run {other}"),
            "confidence": st.column_config.NumberColumn(format="%.3f"),
            "then_confidence": st.column_config.NumberColumn("then", format="%.3f"),
            "text": st.column_config.TextColumn(width="large"),
        },
    )
    selected = event["selection"]["rows"]
    if selected and selected[0] < len(chosen):
        context.go_to("example", id=str(table.iloc[selected[0]]["id"]), where="")
else:
    st.info("No example is of this kind.")

left, right = st.columns(2)
with left:
    st.subheader("Words that gain and lose saliency")
    layer = context.recommended_layer(facts)
    words = contrast(store, layer, "", "", run=int(other), run_b=run, minimum=5)
    words = words.reindex(words["difference"].abs().sort_values(ascending=False).index).head(25)
    st.altair_chart(
        charts.word_bars(words, "difference", f"Mean share, run {other} minus run {run}"),
        alt="Words whose share differs most between the two runs",
    )
    st.caption(f"At layer {layer}.")
with right:
    st.subheader("Coherence side by side")
    for number in (run, int(other)):
        st.altair_chart(
            charts.by_layer(
                store.layers(run=number),
                "coherence",
                f"Coherence, run {number}",
                store.run(number)["recommended"],
            ),
            alt=f"Coherence by layer of run {number}",
        )
