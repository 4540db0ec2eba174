from functools import partial

import pandas as pd
import streamlit as st

from app_components import session as context
from app_components.example_list import painted_rows
from saliency_core.analysis.group_coherence import (
    CLASSES,
    coherence_of_classes,
    coherence_of_slices,
)
from saliency_core.analysis.layer_agreement import SAMPLE, layer_agreement
from saliency_core.output.charts import overview as charts
from saliency_core.output.highlighting import painted_row
from saliency_core.store import Store

MEASURES = {
    "coherence": "Do its words mean alike when the decision is alike, and differ when it differs? "
    "The dashed line is pointing at every word.",
    "decodability": "Do its features still name their own token? Mean probability.",
    "comprehensiveness": "How far does masking its top words move the answer? Higher is better.",
    "sufficiency": "How far does keeping only its top words move it? Lower is better.",
}
EVALUATED = {
    "method": "How the map was made: decoded saliency and its variants, or another method.",
    "layer": "Of the map; methods that see only the whole model have none.",
    "comprehensiveness": MEASURES["comprehensiveness"],
    "sufficiency": MEASURES["sufficiency"],
    "examples": "Examples of the sample.",
    "forwards": "Forward passes that one example needs.",
    "backwards": "Backward passes that one example needs.",
    "seconds": "Time of the whole sample.",
}
EXAMPLES = 10

store, run, facts = context.opened()
layers = context.ask(Store.layers, store, run=run)
if layers.empty:
    st.info("The layers are summarised when the audit has finished. Start it again to go on.")
    st.stop()
recommended, equals = facts["recommended"], facts["equals"]


def why_recommended():
    evaluated = layers["comprehensiveness"].notna().any()
    reason = "the highest comprehensiveness" if evaluated else "the highest coherence"
    sentence = f"Read layer **{recommended}** first: it has {reason}"
    sentence += " of the layers more coherent than pointing at every word." if evaluated else "."
    if equals:
        names = ", ".join(map(str, equals))
        sentence += f" Within the intervals, {'layer' if len(equals) == 1 else 'layers'} {names} "
        sentence += f"{'does' if len(equals) == 1 else 'do'} as well."
    st.markdown(sentence)
    if layers["coherence"].isna().all():
        st.info("Only one class was predicted, so coherence is undefined.")


def measures():
    """Draw what is known of every layer."""
    known = [name for name in MEASURES if layers[name].notna().any()]
    columns = st.columns(2)
    for place, name in enumerate(known):
        with columns[place % 2]:
            st.subheader(name.capitalize(), help=MEASURES[name])
            context.figure(
                partial(charts.by_layer, layers, name, name.capitalize(), recommended),
                f"{name} by layer",
                layers[["layer", name]],
                name,
            )
    st.caption("Whiskers are 95 % bootstrap intervals; orange is the recommended layer.")
    table = layers.dropna(axis="columns", how="all")
    st.dataframe(
        table,
        hide_index=True,
        alt="Every measure of every layer",
        column_config={
            "low": st.column_config.NumberColumn(help="Lower end of the coherence's interval."),
            "high": st.column_config.NumberColumn(help="Upper end of the coherence's interval."),
            "zero_line": st.column_config.NumberColumn(help="Coherence of pointing at every word."),
            "completeness": st.column_config.NumberColumn(
                help="Median part of the change from a blank text that the scores account for."
            ),
            **{
                name: st.column_config.NumberColumn(help=meaning, format="%.4f")
                for name, meaning in MEASURES.items()
            },
        },
    )
    context.download(table, "layers")


def faithfulness():
    """Show what `evaluate` measured: variants of the map, and other methods where compared."""
    table = context.ask(Store.evaluations, store, run=run)
    st.subheader(
        "How faithful are the maps?",
        help="On a seeded sample: how far masking a map's top words moves the answer "
        "(comprehensiveness, higher is better), and how far keeping only them moves it "
        "(sufficiency, lower is better), with 95 % intervals. Passes are those of one example.",
    )
    if table.empty:
        st.caption("`python -m saliency_core evaluate --baselines` compares with other methods.")
        return
    table = table.sort_values("comprehensiveness", ascending=False).dropna(
        axis="columns", how="all"
    )
    st.dataframe(
        table,
        hide_index=True,
        alt="Faithfulness of every method and layer",
        column_config={
            name: st.column_config.Column(help=meaning) for name, meaning in EVALUATED.items()
        },
    )
    context.download(table, "evaluations")


def same_words(where: str, total: int):
    """Draw the rank correlation of word scores between layers."""
    st.subheader(
        "Do the layers point at the same words?",
        help="Spearman's rank correlation of word scores: 1 is the same order, 0 no relation.",
    )
    pairs = context.ask(layer_agreement, store, where=where, run=run)
    if pairs.empty:
        st.info("No example of this filter has three words and a score.")
        return
    context.figure(
        partial(charts.agreement, pairs),
        "Rank correlation of word scores between layers",
        pairs,
        "layer-agreement",
    )
    st.caption(
        f"Mean over {pairs['examples'].iloc[0]} examples (a seeded sample of at most {SAMPLE} of "
        f"{total:,})."
    )


def groups(where: str):
    """Draw the coherence of classes, and of this filter beside all examples."""
    st.subheader(
        "How coherent are the groups?",
        help="Mean over the group's examples of: cosine of an explanation to those answered the "
        "same, minus that to those answered differently.",
    )
    by_class = context.ask(coherence_of_classes, store, where=where, run=run)
    if by_class.empty:
        st.info("No example of this filter has a coherence.")
        return
    left, right = st.columns(2)
    with left:
        st.markdown("**By predicted class**")
        context.figure(
            partial(charts.groups_by_layer, by_class),
            "Coherence of each class by layer",
            by_class,
            "coherence-by-class",
        )
        if len(facts["label_names"]) > CLASSES:
            st.caption(f"The {CLASSES} classes that were predicted most often.")
    with right:
        st.markdown("**This filter beside others**")
        # The same for every filter, so asked for apart from it.
        fixed = ["", "right", "wrong"]
        by_slice = context.ask(coherence_of_slices, store, slices=fixed, run=run)
        if where not in fixed:
            own = context.ask(coherence_of_slices, store, slices=[where], run=run)
            by_slice = pd.concat([by_slice, own], ignore_index=True)
        context.figure(
            partial(charts.groups_by_layer, by_slice),
            "Coherence of each slice by layer",
            by_slice,
            "coherence-by-slice",
        )


def side_by_side(where: str):
    """Paint the same examples at two layers."""
    st.subheader("Two layers on the same examples")
    every = list(range(facts["layers"] + 1))
    sides = st.columns(2)
    # The embeddings beside the recommended layer, or beside the last where that is the embeddings.
    other = recommended or facts["layers"]
    for side, key, default in ((sides[0], "left", 0), (sides[1], "right", other)):
        if st.session_state.get(key, default) not in every:
            st.session_state[key] = default
        side.select_slider(
            f"Layer on the {key}",
            every,
            default,
            key=key,
            bind="query-params",
            help=f"0 is the embeddings, {facts['layers']} the last block.",
        )
    chosen = (st.session_state["left"], st.session_state["right"])
    places = context.order(store, run, where, "confidence", True)[:EXAMPLES].tolist()
    frame = context.ask(Store.examples_at, store, positions=places, run=run)
    texts = [
        context.ask(Store.top_words, store, positions=places, layer=layer, run=run)
        for layer in chosen
    ]
    rows = [
        painted_row(example, one, other)
        for example, one, other in zip(frame.to_dict("records"), *texts, strict=True)
    ]
    painted_rows(
        rows,
        key=f"layers-{run}-{chosen}-{where}",
        on_open=context.open_example(where),
        headings=tuple(f"layer {n}" for n in chosen),
    )
    words = {
        f"words_of_layer_{layer}": list(map(context.top_words, found))
        for layer, found in zip(chosen, texts, strict=True)
    }
    context.download(
        frame.drop(columns="example").assign(**words), "two-layers", "These rows as CSV"
    )


why_recommended()
measures()
faithfulness()
where = context.slice_input()
total = context.counted(store, run, where)
if not total:
    st.info("No example fits this filter. Remove a term to see more.")
    st.stop()
side_by_side(where)
groups(where)
same_words(where, total)
