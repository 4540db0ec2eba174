from functools import partial

import pandas as pd
import streamlit as st

from app_components import session as context
from app_components.example_list import painted_rows
from app_components.table import Column, show_table
from saliency_core.analysis.group_coherence import (
    CLASSES,
    coherence_of_classes,
    coherence_of_slices,
)
from saliency_core.analysis.layer_advice import layer_advice
from saliency_core.analysis.layer_agreement import SAMPLE, layer_agreement
from saliency_core.analysis.method_costs import methods_by_passes
from saliency_core.output.charts.layers import (
    agreement_matrix,
    by_layer,
    by_passes,
    groups_by_layer,
)
from saliency_core.output.highlighting import painted_row
from saliency_core.store import Run

MEASURES = {
    "choice": "Mean of the two tests beside it, each relative to its best layer. Higher is better.",
    "comprehensiveness": "How far does masking its top words change the prediction? Higher is "
    "better.",
    "mosaic": "Of two texts joined, how much of its evidence lies in the one that was predicted? "
    "Higher is better; the dashed line is chance.",
    "coherence": "Do its words mean alike when the prediction is alike, and differ when it "
    "differs? Higher is better; the dashed line is pointing at every word.",
    "sufficiency": "How far does keeping only its top words change the prediction? Lower is "
    "better.",
    "decodability": "Do its states still name their own token? Mean probability.",
}
TITLES = {"choice": "Choice score", "mosaic": "Mosaics"}
FURTHER = {
    "low": "Lower end of the coherence's interval.",
    "high": "Upper end of the coherence's interval.",
    "uniform_baseline": "Coherence of pointing at every word.",
    "completeness": "Median part of the change from the text blanked out that the scores add up "
    "to; 1 is all of it.",
    "mosaic_auc": "Mosaics: how often a token of the right text scores above one of the other.",
    "mosaic_top": "Mosaics: how often the top word lies in the right text.",
    "choice_low": "Lower end of the choice score's interval.",
    "choice_high": "Upper end of the choice score's interval.",
}
EVALUATED = {
    "method": "How the map was made: decoded saliency and its variants, or another method.",
    "layer": "Of the map; methods that see only the whole model have none.",
    **{name: MEASURES[name] for name in ("comprehensiveness", "sufficiency", "mosaic")},
    "mosaic_auc": FURTHER["mosaic_auc"],
    "mosaic_top": FURTHER["mosaic_top"],
    "examples": "Examples of the sample.",
    "forwards": "Forward passes that one example needs.",
    "backwards": "Backward passes that one example needs.",
    "seconds": "Time of the whole sample.",
}
EXAMPLES = 10

run = context.opened()
layers = context.ask(Run.layers, run)
if layers.empty:
    st.info("The layers are summarised when the audit has finished. Start it again to go on.")
    st.stop()
recommended, most_readable = run.recommended, run.most_readable
levels = {
    "coherence": layers["uniform_baseline"].dropna().max(),
    "mosaic": (run.extra.get("mosaics") or {}).get("chance"),
}


def advice():
    """Say which layer to read and why, and let the user choose one for all pages."""
    found = layer_advice(run, layers)
    st.markdown(f"**{found.use}** {found.why} {found.tied}")
    if found.readable:
        st.markdown(found.readable)
    for note in found.notes:
        st.caption(note)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        context.layer_slider(run, "layer")
        offered = {"recommended": recommended, "most readable": most_readable}
        for name, layer in offered.items():
            if layer is not None:
                st.button(
                    f"Use the {name} layer ({layer})",
                    key=f"use-{name}",
                    on_click=st.session_state.update,
                    args=({"layer": layer},),
                )
    st.caption("The layer chosen here is shown on all pages.")


def measures():
    """Draw what is known of every layer, what chooses one first."""
    known = [name for name in MEASURES if layers[name].notna().any()]
    for names in (known[:3], known[3:]):
        for column, name in zip(st.columns(3), names, strict=False):
            with column:
                measure(name)
    st.caption(
        "Orange is the recommended layer, green the most readable one where it is another. "
        "Whiskers are 95 % bootstrap intervals."
    )
    table = layers.dropna(axis="columns", how="all")
    show_table(
        table,
        "layers-table",
        "Every measure of every layer",
        columns={name: Column(help=meaning) for name, meaning in (MEASURES | FURTHER).items()},
    )
    context.download(table, "layers")


def measure(name: str):
    """Draw one measure by layer."""
    title = TITLES.get(name, name.capitalize())
    level = levels.get(name)
    st.subheader(title, help=MEASURES[name])
    context.figure(
        partial(
            by_layer,
            layers,
            name,
            title,
            recommended,
            most_readable,
            level if pd.notna(level) else None,
        ),
        f"{title} by layer",
        layers[["layer", name]],
        name,
    )


def methods():
    """Show what `evaluate` measured: variants of the map, and other methods where compared."""
    table = context.ask(Run.evaluations, run)
    st.subheader(
        "How good are the maps?",
        help="On a seeded sample: how far masking a map's top words changes the prediction "
        "(comprehensiveness, higher is better), how far keeping only them changes it "
        "(sufficiency, lower is better), and how much of the evidence lies in the right one of "
        "two joined texts (mosaic, higher is better), with 95 % intervals. Passes are those of "
        "one example.",
    )
    compared, random = methods_by_passes(table, run)
    if compared.empty:
        st.caption(
            "`python -m saliency_core evaluate --other-methods` compares with other methods."
        )
    else:
        context.figure(
            partial(by_passes, compared, random),
            "Comprehensiveness of every method against the passes it needs",
            compared,
            "methods-by-passes",
        )
        st.caption(
            "Further up is more faithful, further left is cheaper. Orange is the saliency that "
            "these pages show; the dashed line is a random map. Whiskers are 95 % intervals."
        )
    if table.empty:
        return
    table = table.sort_values("comprehensiveness", ascending=False).dropna(
        axis="columns", how="all"
    )
    table = table.drop(columns="mosaics_made", errors="ignore")
    show_table(
        table,
        "methods-table",
        "Every measure of every method and layer",
        columns={name: Column(help=meaning) for name, meaning in EVALUATED.items()},
    )
    context.download(table, "evaluations")


def same_words(where: str, total: int):
    """Draw the rank correlation of word scores between layers."""
    st.subheader(
        "Do the layers point at the same words?",
        help="Spearman's rank correlation of word scores: 1 is the same order, 0 no relation.",
    )
    pairs = context.ask(layer_agreement, run.filter(where))
    if pairs.empty:
        st.info("No example of this filter has three words and a score.")
        return
    context.figure(
        partial(agreement_matrix, pairs),
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
    by_class = context.ask(coherence_of_classes, run.filter(where))
    if by_class.empty:
        st.info("No example of this filter has a coherence.")
        return
    left, right = st.columns(2)
    with left:
        st.markdown("**By predicted class**")
        context.figure(
            partial(groups_by_layer, by_class),
            "Coherence of each class by layer",
            by_class,
            "coherence-by-class",
        )
        if len(run.label_names) > CLASSES:
            st.caption(f"The {CLASSES} classes that were predicted most often.")
    with right:
        st.markdown("**This filter beside others**")
        # The same for every filter, so asked for apart from it.
        fixed = ["", "right", "wrong"]
        by_slice = context.ask(coherence_of_slices, run, slices=fixed)
        if where not in fixed:
            own = context.ask(coherence_of_slices, run, slices=[where])
            by_slice = pd.concat([by_slice, own], ignore_index=True)
        context.figure(
            partial(groups_by_layer, by_slice),
            "Coherence of each slice by layer",
            by_slice,
            "coherence-by-slice",
        )


def side_by_side(where: str):
    """Paint the same examples at two layers."""
    st.subheader("Two layers on the same examples")
    every = list(range(run.model.layers + 1))
    sides = st.columns(2)
    # The embeddings beside the recommended layer, or beside the last where that is the embeddings.
    other = recommended or run.model.layers
    for side, key, default in ((sides[0], "left", 0), (sides[1], "right", other)):
        if st.session_state.get(key, default) not in every:
            st.session_state[key] = default
        side.select_slider(
            f"Layer on the {key}",
            every,
            default,
            key=key,
            bind="query-params",
            help=f"0 is the embeddings, {run.model.layers} the last block.",
        )
    chosen = (st.session_state["left"], st.session_state["right"])
    places = context.order(run.filter(where), "confidence", True)[:EXAMPLES].tolist()
    frame = context.ask(Run.examples_at, run, positions=places)
    texts = [context.ask(Run.top_words, run, positions=places, layer=layer) for layer in chosen]
    rows = [
        painted_row(example, one, other)
        for example, one, other in zip(frame.to_dict("records"), *texts, strict=True)
    ]
    painted_rows(
        rows,
        key=f"layers-{run.number}-{chosen}-{where}",
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


advice()
measures()
methods()
where = context.slice_input()
total = context.counted(run.filter(where))
if not total:
    st.info("No example fits this filter. Remove a term to see more.")
    st.stop()
side_by_side(where)
groups(where)
same_words(where, total)
