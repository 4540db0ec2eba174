from functools import partial

import pandas as pd
import streamlit as st

from app_components import session
from app_components.background_command import Background
from app_components.clicks import on_click
from app_components.example_list import painted_rows
from app_components.filter_line import filter_line
from app_components.navigation import end_page, keep
from app_components.table import Column, show_table
from saliency_core.analysis.layers.advice import layer_advice
from saliency_core.analysis.layers.agreement import SAMPLE, layer_agreement
from saliency_core.analysis.layers.group_coherence import (
    CLASSES,
    coherence_of_classes,
    coherence_of_slices,
)
from saliency_core.analysis.layers.method_costs import methods_by_passes
from saliency_core.output.charts.layers import (
    agreement_matrix,
    by_layer,
    by_passes,
    groups_by_layer,
)
from saliency_core.output.charts.theme import class_colours
from saliency_core.output.highlighting import painted_row
from saliency_core.server.commands import as_options
from saliency_core.store import Run, Slice

TITLES = {
    "choice": "Choice score",
    "comprehensiveness": "Comprehensiveness",
    "mosaic": "Mosaics",
    "coherence": "Coherence",
    "sufficiency": "Sufficiency",
    "decodability": "Decodability",
}
DIRECTIONS = {
    "choice": "Higher is better: the mean of the next two tests, each on a scale from 0 "
    "(no effect, or chance) to 1 (the best layer).",
    "comprehensiveness": "Higher is better: hiding the layer's top words changes the prediction "
    "more.",
    "mosaic": "Higher is better: when two texts are joined, more of the layer's score falls on "
    "the text whose class was predicted.",
    "coherence": "Higher is better: the layer's words are similar in meaning where the prediction "
    "is the same.",
    "sufficiency": "Lower is better: the layer's top words alone are enough for the same "
    "prediction.",
    "decodability": "Higher is better: the layer's states can still be decoded into their own "
    "tokens.",
}
"""What stands under the title of each measure, and which way is good."""
HELP = {
    "choice": "Mosaics count above chance. Whiskers are 95% intervals.",
    "comprehensiveness": "Mean drop in the predicted class's probability when the top 10, 20 and "
    "30% of the tokens are masked.",
    "mosaic": "Share of the positive score that lies in the text whose class was predicted. The "
    "dashed line is chance.",
    "coherence": "The dashed line is what highlighting every word would score.",
    "sufficiency": "Mean drop in the predicted class's probability when only the top 10, 20 and "
    "30% of the tokens are kept.",
    "decodability": "Mean probability that the language-model head recovers the token at its own "
    "position.",
}
METHODS_SHOWN = {
    "method": Column(
        help="How the scores were computed: our saliency, a variant, or another method."
    ),
    "layer": Column(
        help="Layer of the scores; methods that treat the model as a whole have none.",
        format="{:.0f}",
    ),
    **{
        name: Column(TITLES[name].lower(), DIRECTIONS[name])
        for name in ("comprehensiveness", "sufficiency", "mosaic")
    },
    "mosaic_top": Column("top word", "Mosaics: how often the top word lies in the correct text."),
    "plausibility": Column(help="How well it agrees with the words that people marked."),
    "examples": Column(help="Examples in the sample.", format="{:,.0f}"),
    "forwards": Column("forward passes", "Forward passes that one example needs.", "{:.1f}"),
    "backwards": Column("backward passes", "Backward passes that one example needs.", "{:.1f}"),
    "seconds": Column(help="Seconds for the whole sample.", format="{:.1f}"),
}
SAMPLE_SIZES = (50, 100, 200, 500)
EXAMPLES = 10

run = session.opened()
background = Background(run, "evaluate")
layers = session.ask(Run.layers, run)
if layers.empty:
    st.info(
        "The layers will be summarised once the audit has finished. If it was interrupted, start "
        "it again."
    )
    end_page()
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
        session.layer_slider(run)
        offered: dict[int, list[str]] = {}
        for name, layer in (("recommended", recommended), ("most readable", most_readable)):
            if layer is not None:
                offered.setdefault(layer, []).append(name)
        for layer, names in offered.items():
            st.button(
                f"Use the {' and '.join(names)} layer ({layer})",
                key=f"use-{names[0]}",
                on_click=st.session_state.update,
                args=({"layer": layer},),
            )
    st.caption("The layer chosen here is used on all pages.")


def measures():
    """Draw what is known of every layer, what chooses one first."""
    known = [name for name in TITLES if layers[name].notna().any()]
    for names in (known[:3], known[3:]):
        for column, name in zip(st.columns(3), names, strict=False):
            with column:
                measure(name)
    st.caption(
        "Orange is the recommended layer, green the most readable one where that is a different "
        "layer. Whiskers are 95% intervals, where known. Click a point to use its layer."
    )
    show_table(
        layers[["layer", *known]],
        "layers-table",
        "Every measure of every layer",
        columns={
            name: Column(TITLES[name].lower(), f"{DIRECTIONS[name]} {HELP[name]}") for name in known
        },
    )
    session.download(layers.dropna(axis="columns", how="all"), "layers")


def measure(name: str):
    title, level = TITLES[name], levels.get(name)
    st.subheader(title, help=HELP[name])
    st.caption(DIRECTIONS[name])
    session.figure(
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
        **on_click(
            f"measure-{name}",
            "point",
            lambda point: st.session_state.update(layer=int(point["layer"])),
        ),
    )


def methods():
    """Show what `evaluate` measured: variants of the map, and other methods where compared."""
    table = session.ask(Run.evaluations, run)
    st.subheader(
        "Other methods",
        help="Measured on a random sample, with the same tests as for the layers. The cost of a "
        "method is its number of passes per example.",
    )
    compared, random = methods_by_passes(table, run)
    if not compared.empty:
        session.figure(
            partial(by_passes, compared, random),
            "Comprehensiveness of every method against the passes it needs",
            compared,
            "methods-by-passes",
        )
        st.caption(
            "Further up is more faithful, further left is cheaper. Orange is the saliency that "
            "these pages show; the dashed line is random scores. Whiskers are 95% intervals."
        )
    state = background.follow("Comparing with other methods")
    if state != "running":
        with st.expander("Measure again", expanded=False) if len(compared) else st.container():
            evaluate_form()
    if table.empty:
        return
    table = table.sort_values("comprehensiveness", ascending=False).dropna(
        axis="columns", how="all"
    )
    show_table(
        table[[name for name in METHODS_SHOWN if name in table]],
        "methods-table",
        "Every measure of every method and layer",
        columns=METHODS_SHOWN,
    )
    session.download(table, "evaluations")


def evaluate_form():
    """Let the analyst compare the maps with other methods, in a process of its own."""
    with st.form("evaluate", border=False):
        st.caption(
            "How faithful is this saliency compared with integrated gradients, LIME, KernelSHAP, "
            "attention and others? The comparison needs up to several hundred forward passes per "
            "example and takes several minutes. It continues if you leave this page, and the "
            "results are saved in this database."
        )
        columns = st.columns([1, 2, 1], vertical_alignment="bottom")
        examples = columns[0].selectbox(
            "Number of examples", SAMPLE_SIZES, index=1, key="evaluate_examples"
        )
        st.session_state.setdefault("evaluate_folder", st.session_state.get("model_folder", ""))
        folder = columns[1].text_input("Model folder, if it has moved", key="evaluate_folder")
        if columns[2].form_submit_button("Compare with other methods"):
            options = {"other-methods": True, "examples": examples, "model": folder.strip()}
            background.start(*as_options(options))


def same_words(where: str, total: int):
    """Draw the rank correlation of word scores between layers."""
    st.subheader(
        "Agreement between layers",
        help="Do they point to the same words? Spearman's rank correlation of word scores: 1 "
        "means the same order, 0 no relation.",
    )
    pairs = session.ask(layer_agreement, run.filter(where))
    if pairs.empty:
        st.info("No example in this filter has three words and a score.")
        return
    session.figure(
        partial(agreement_matrix, pairs),
        "Rank correlation of word scores between layers",
        pairs,
        "layer-agreement",
    )
    drawn = ", drawn at random with a fixed seed" if total > SAMPLE else ""
    st.caption(
        "Rank correlation of word scores: mean over "
        f"{pairs['examples'].iloc[0]:,} of the {total:,} examples{drawn}."
    )


def groups(where: str):
    """Draw the coherence of classes, and of this filter beside all examples."""
    st.subheader(
        "Coherence of groups",
        help="How similar (cosine) an explanation is to those with the same prediction, minus how "
        "similar it is to those with a different one; the mean over the group's examples. Higher "
        "is better.",
    )
    by_class = session.ask(coherence_of_classes, run.filter(where))
    if by_class.empty:
        st.info("No example in this filter has a coherence value.")
        return
    left, right = st.columns(2)
    with left:
        st.markdown("**By predicted class**")
        session.figure(
            partial(groups_by_layer, by_class, class_colours(run.label_names)),
            "Coherence of each class by layer",
            by_class,
            "coherence-by-class",
        )
        if len(run.label_names) > CLASSES:
            st.caption(f"The {CLASSES} most often predicted classes.")
    with right:
        st.markdown("**By slice**")
        # The same for every filter, so asked for apart from it.
        fixed = ["", "right", "wrong"]
        by_slice = session.ask(coherence_of_slices, run, slices=fixed)
        if where not in fixed:
            own = session.ask(coherence_of_slices, run, slices=[where])
            by_slice = pd.concat([by_slice, own], ignore_index=True)
        session.figure(
            partial(groups_by_layer, by_slice),
            "Coherence of each slice by layer",
            by_slice,
            "coherence-by-slice",
        )


def side_by_side(where: str):
    """Paint the same examples at two layers."""
    st.subheader("Two layers on the same examples")
    every = list(range(run.model.layers + 1))
    # The embeddings beside the recommended layer, or beside the last where that is the embeddings.
    other = recommended or run.model.layers
    chosen = [
        side.select_slider(
            f"Layer on the {key}",
            every,
            key=keep(key, default, every),
            help=f"0 is the embeddings, {run.model.layers} the last block.",
        )
        for side, key, default in zip(st.columns(2), ("left", "right"), (0, other), strict=True)
    ]
    places = session.order(run.filter(where), "confidence", True)[:EXAMPLES].tolist()
    frame, found = session.with_words(run, places, *chosen)
    painted_rows(
        [painted_row(*one) for one in found],
        key=f"layers-{run.number}-{chosen}-{where}",
        on_open=session.open_example(where),
        headings=tuple(f"layer {n}" for n in chosen),
    )
    words = {
        f"words_of_layer_{layer}": [session.top_words(one[place]) for one in found]
        for place, layer in enumerate(chosen, 1)
    }
    session.download(
        frame.drop(columns="example").assign(**words), "two-layers", "Download rows (CSV)"
    )


advice()
st.header("All examples", help="What the audit measured; the filter below does not affect it.")
measures()
methods()
st.header(
    "Within a slice", help="Everything below covers only the examples that match this filter."
)
where = filter_line(run)
total = session.counted(run.filter(where))
if not total:
    st.info("No example matches this filter. Remove a term to see more.")
    end_page()
st.caption(f"{total:,} of {session.ask(Slice.count, run.filter()):,} examples.")
side_by_side(where)
groups(where)
same_words(where, total)
