from functools import partial

import streamlit as st

from app_components import session as context
from app_components.example_list import painted_rows
from app_components.table import Column, place_of, show_table
from saliency_core.analysis.word_profile import SAMPLE, word_profile
from saliency_core.analysis.word_tables import contrast, word_table
from saliency_core.errors import UserError
from saliency_core.output.charts.words import plain_bars, share_by_layer, word_bars
from saliency_core.output.highlighting import painted_row
from saliency_core.store import Run
from saliency_core.store.query.editing import joined
from saliency_core.store.query.parser import quote

SHOWN = 25
ROWS = 1_000
"""Words of a class, or of two sides, that a table shows; its CSV has all."""
EXAMPLES = 10
VIEWS = {
    "leans on": "The words the model leans on, by predicted class.",
    "wrong against right": "Words worth more in wrong answers than in right ones, or less.",
    "two filters": "The words of this filter against those of another.",
    "means": "Vocabulary words that a class means, whether or not its texts hold them.",
}
HELP = {
    "examples": "Examples of the filter that hold the word.",
    "mean_share": "Mean part of all positive score in its text, where the word stands.",
    "low": "Lower end of the 95 % interval.",
    "high": "Upper end of the 95 % interval.",
    "total_share": "The word's part of all positive score of the class.",
    "top3_rate": "How often it is among the three most salient words of its text.",
    "mean_score": "Mean score in logits.",
    "sd_share": "Spread of the share over examples.",
    "top3": "Examples that have it among their three most salient words.",
    "difference": "Mean share on the one side minus on the other.",
    "log_odds": "How much oftener it is among the top three on the one side, rare words shrunk.",
    "z": "The log-odds in standard errors; beyond 2 is unlikely to be chance for one word.",
    "held": "Part of the class's texts that hold the word.",
}

run = context.opened()


def pick(table, key: str):
    """Show a table of words; the chosen row is the word shown below."""

    def choose(place: int):
        st.session_state["word"] = str(table["word"].iloc[place])

    shown = st.session_state.get("word", st.query_params.get("word", "")).strip().lower()
    show_table(
        table,
        key,
        "Words and their numbers; choose a row to see the word below",
        columns={name: Column(help=text) for name, text in HELP.items()},
        on_choose=choose,
        chosen=place_of(table["word"].str.lower() == shown),
    )


def first_of(rows) -> str:
    """Say that a table is cut, where it is."""
    return f"The first {ROWS:,}; the CSV has all. " if len(rows) == ROWS else ""


def minimum_support() -> int:
    return st.number_input(
        "In at least this many examples",
        1,
        1000,
        5,
        key="minimum",
        bind="query-params",
        help="A mean over few examples says little: rarer words are left out.",
    )


def class_picker(names: list[str]) -> str:
    return st.selectbox("Predicted class", names, key="class", bind="query-params")


def leans_on(where: str, layer: int):
    left, right = st.columns(2)
    with left:
        minimum = minimum_support()
    part, choices = run.filter(where), {"layer": layer, "minimum": minimum}
    table = context.ask(word_table, part, **choices, most=ROWS)
    if table.empty:
        st.info(f"No word stands in {minimum} examples of this filter. Lower the number.")
        return
    with right:
        names = set(table["class"])
        chosen = class_picker([name for name in run.label_names if name in names])

    def of_class(table):
        return table[table["class"] == chosen].drop(columns="class").reset_index(drop=True)

    rows = of_class(table)
    left, right = st.columns(2)
    with left:
        context.figure(
            partial(word_bars, rows.head(SHOWN), "mean_share", "Mean share"),
            "Most salient words of the class, mean share with interval",
            lambda: of_class(word_table(part, **choices)),
            "words",
        )
    with right:
        st.caption(
            "Share is a word's part of all positive score in its text; whiskers are 95 % "
            f"intervals. {first_of(rows)}Select a row to see one word below."
        )
        pick(rows, f"words-{run.number}-{layer}-{minimum}-{chosen}-{where}")


def set_against(one: str, other: str, axis: str, layer: int):
    minimum = minimum_support()
    a, b = run.filter(one), run.filter(other)
    if not (context.counted(a) and context.counted(b)):
        st.info("One of the two sides holds no example.")
        return
    choices = {"part_b": b, "layer": layer, "minimum": minimum}
    both = context.ask(contrast, a, **choices, most=ROWS)
    by_size = both.reindex(both["difference"].abs().sort_values(ascending=False).index)
    left, right = st.columns(2)
    with left:
        context.figure(
            partial(word_bars, by_size.head(SHOWN), "difference", axis),
            "Words whose share differs most between the two sides",
            lambda: contrast(a, **choices),
            "words-contrast",
        )
    with right:
        st.caption(f"Sorted by z. {first_of(both)}Select a row to see one word below.")
        pick(both, f"contrast-{run.number}-{layer}-{minimum}-{one}-{other}")


def means(layer: int):
    table = context.ask(Run.table, run, name="meanings")
    if table is None or table.empty:
        st.info(
            "This run does not say what its classes mean: the audit was made with --no-evaluate, "
            "or its results have changed since. Run the same audit again."
        )
        return
    names = set(table["class"])
    chosen = class_picker([name for name in run.label_names if name in names])
    rows = table[(table["class"] == chosen) & (table["layer"] == layer)]
    rows = rows.drop(columns=["layer", "class"]).reset_index(drop=True)
    left, right = st.columns(2)
    with left:
        context.figure(
            partial(
                plain_bars,
                rows,
                "word",
                "difference",
                "Logits beyond the mean of all classes",
            ),
            "Vocabulary words that the class means",
            rows,
            "words-meant",
        )
    with right:
        examples = int(rows["examples"].iloc[0])
        st.caption(
            f"What the language model's head reads off where the classifier looks, at layer "
            f"{layer}: mean over {examples} examples predicted {context.escape(chosen)} minus the "
            "mean over all, of a seeded sample. Held is the part of these texts that hold the "
            "word: at 0 the class means it though its texts lack it."
        )
        rows = rows.drop(columns="examples")
        pick(rows, f"means-{run.number}-{layer}-{chosen}")


def numbers_of(profile):
    with st.container(horizontal=True):
        st.metric(
            "Examples with it",
            f"{profile.examples:,}",
            border=True,
            help="Examples of the filter that hold the word.",
        )
        for name, wrong, judged in (
            ("Wrong with it", profile.wrong_with, profile.judged_with),
            ("Wrong without it", profile.wrong_without, profile.judged_without),
        ):
            if judged:
                st.metric(
                    name,
                    f"{wrong / judged:.1%}",
                    border=True,
                    help=f"{wrong:,} of {judged:,} labelled answers of the filter.",
                )


def one_word(where: str, layer: int):
    st.subheader("One word")
    word = st.text_input(
        "Word",
        key="word",
        bind="query-params",
        placeholder="type a word, or select a row above",
    ).strip()
    if not word:
        return
    try:
        profile = context.ask(word_profile, run.filter(where), word=word)
    except UserError as error:
        st.info(context.escape(error))
        return
    numbers_of(profile)
    left, right = st.columns(2)
    with left:
        context.figure(
            partial(share_by_layer, profile.by_layer),
            "Mean share of the word in every layer",
            profile.by_layer,
            "word-by-layer",
        )
        st.caption(
            f"Mean over {profile.by_layer['examples'].iloc[0]:,} examples that hold it (a seeded "
            f"sample of at most {SAMPLE:,}), with 95 % interval."
        )
    with right:
        if len(profile.by_class):
            show_table(
                profile.by_class,
                "word-by-class",
                "Gold labels of the examples that hold the word",
                columns={
                    "examples": Column(help="With the word and the label."),
                    "share": Column(help="Part of the word's labelled examples."),
                    "base_rate": Column(help="Part of all labelled examples of the filter."),
                    "z": Column(
                        help="Association of word and label in the data, in standard errors.",
                        format="{:.2f}",
                    ),
                },
            )
            context.download(profile.by_class, "word-by-class")
        else:
            st.info("Without labels the word's classes are unknown.")
    examples_of(profile.word, where, layer)


def examples_of(word: str, where: str, layer: int):
    holding = joined(f"word:{quote(word)}", where)
    with st.container(horizontal=True):
        for label, condition in (
            ("All examples with it", ""),
            ("Wrong answers with it", "wrong"),
            ("Where it is salient", f"salient:{quote(word)}@{layer}"),
        ):
            context.link(f"{label} →", "errors", where=joined(condition, holding))
    places = context.order(run.filter(holding), "confidence", True)[:EXAMPLES].tolist()
    frame = context.ask(Run.examples_at, run, positions=places)
    found = context.ask(Run.top_words, run, positions=places, layer=layer)
    rows = [
        painted_row(example, words)
        for example, words in zip(frame.to_dict("records"), found, strict=True)
    ]
    painted_rows(
        rows, f"word-rows-{run.number}-{word}-{layer}-{where}", context.open_example(holding)
    )
    context.download(frame.drop(columns="example"), "examples-of-word", "These rows as CSV")


where = context.slice_input()
total = context.counted(run.filter(where))
if not total:
    st.info("No example fits this filter. Remove a term to see more.")
    st.stop()
left, right = st.columns([2, 1])
view = left.segmented_control(
    "Show",
    list(VIEWS),
    key="view",
    bind="query-params",
    required=True,
    default=next(iter(VIEWS)),
    help=" ".join(f"{name}: {meaning}" for name, meaning in VIEWS.items()),
)
with right:
    layer = context.layer_slider(run, "layer")
st.caption(f"{total:,} examples. {VIEWS[view]}")
if view == "leans on":
    leans_on(where, layer)
elif view == "wrong against right":
    sides = (joined("wrong", where), joined("right", where))
    set_against(*sides, "Mean share, wrong minus right", layer)
elif view == "two filters":
    versus = st.text_input(
        "Compare with",
        key="versus",
        bind="query-params",
        placeholder="another filter, such as right confidence<0.6",
    )
    set_against(where, versus, "Mean share, this filter minus the other", layer)
else:
    means(layer)
one_word(where, layer)
