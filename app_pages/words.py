from functools import partial

import streamlit as st

from app_components import session
from app_components.clicks import on_click
from app_components.example_list import painted_rows
from app_components.filter_line import filter_line, readable
from app_components.navigation import end_page, keep
from app_components.table import Column, intervals, place_of, show_table
from saliency_core.analysis.word_profile import SAMPLE, word_profile
from saliency_core.analysis.word_tables import contrast, telling, word_table
from saliency_core.errors import UserError
from saliency_core.output.charts.words import plain_bars, share_by_layer, word_bars
from saliency_core.output.highlighting import painted_row
from saliency_core.store import Run
from saliency_core.store.query.editing import joined
from saliency_core.store.query.terms import quote

SHOWN = 25
SIDE_BY_SIDE = 6
"""Classes that are shown beside each other; of more, one is chosen."""
OF_A_CLASS = 10
"""Words of each where classes stand beside each other."""
ROWS = 1_000
"""Words of a class, or of two sides, that a table shows; its CSV has all."""
EXAMPLES = 10
FAINT = 0.05
"""Part of a class's strongest vocabulary up to which a layer has none to speak of."""
EVERY_CLASS = "all classes"
TOO_FEW = "too few texts"
RELIED, CONTRAST, TWO, VOCABULARY = (
    "Salient words",
    "Wrong vs right",
    "Compare two filters",
    "Class vocabulary",
)
VIEWS = {
    RELIED: "The words with the largest shares of the saliency, by predicted class.",
    CONTRAST: "Words whose share of the saliency differs between wrong and right predictions.",
    TWO: "The words of this filter compared with those of another.",
    VOCABULARY: "Words that the language-model head associates with a class, whether or not the "
    "texts of that class contain them.",
}
SHARE = (
    "A word's share is how much of a text's total support for the prediction comes from that "
    "word, averaged over the texts that contain it."
)
COLUMNS = {
    "class": Column("predicted"),
    "examples": Column("texts with it", "Texts of the filter that contain the word."),
    "mean_share": Column("share of saliency", SHARE, "{:.1%}"),
    "interval": Column("95% interval", "Of the share, or of the difference."),
    "top3_rate": Column(
        "in the top 3", "How often it is one of a text's three strongest words.", "{:.0%}"
    ),
    "mean_score": Column("mean score (logits)", "What it adds to the predicted class.", "{:+.2f}"),
    "difference": Column("difference", "Share on one side minus share on the other.", "{:+.1%}"),
    "z": Column(
        "z",
        "How much more often it is among the top three on one side, in standard errors.",
        "{:+.1f}",
    ),
}

run = session.opened()


def choose(word: str):
    st.session_state["word"] = word


def pick(table, key: str, columns=COLUMNS):
    """Show a table of words; the chosen row is the word shown beside it."""
    shown = st.session_state[keep("word", "")].strip().lower()
    show_table(
        table,
        key,
        "Words and their numbers; choose a row to see the word",
        columns=columns,
        on_choose=lambda place: choose(str(table["word"].iloc[place])),
        chosen=place_of(table["word"].str.lower() == shown),
        height=600,
    )


def bars(table, value: str, title: str, name: str, every, heading: str, longest=None):
    """Draw words as bars; a click on one shows it."""
    session.figure(
        partial(word_bars, table, value, title, clickable=True, longest=longest),
        heading,
        every,
        name,
        **on_click(f"bars-{name}-{run.number}", "mark", lambda mark: choose(mark["word"])),
    )


def minimum_support() -> int:
    return st.number_input(
        "Minimum number of texts",
        1,
        1000,
        key=keep("minimum", 5, range(1, 1001)),
        help="A mean over few texts says little, so rarer words are left out.",
    )


def class_picker(names: list[str], every: bool) -> str:
    options = [EVERY_CLASS, *names] if every else names
    return st.selectbox("Predicted class", options, key=keep("class", options[0], options))


def relied_on(where: str, layer: int):
    with st.container(key="beside-words"):
        left, right = st.columns(2)
    with left:
        minimum = minimum_support()
    part, choices = run.filter(where), {"layer": layer, "minimum": minimum}
    table = session.ask(word_table, part, **choices, most=ROWS)
    if table.empty:
        st.info(f"No word occurs in at least {minimum} texts of this filter. Lower the number.")
        return
    present = set(table["class"])
    names = [name for name in run.label_names if name in present]
    with right:
        chosen = class_picker(names, every=1 < len(names) <= SIDE_BY_SIDE)
    classes = names if chosen == EVERY_CLASS else [chosen]
    rows = table[table["class"].isin(classes)].reset_index(drop=True)
    chart_tab, table_tab = st.tabs(["Chart", "Table"])
    with chart_tab:
        # One scale, so that classes compare.
        tops = rows.groupby("class").head(OF_A_CLASS)["high"] if len(classes) > 1 else None
        # Rows of two, in the order of the classes on a phone too.
        many = range((len(classes) + 1) // 2)
        places = [place for _ in many for place in st.columns(2)] if len(classes) > 1 else None
        places = places or [st.container()]
        for place, name in zip(places, classes, strict=False):
            own = rows[rows["class"] == name].head(OF_A_CLASS if len(classes) > 1 else SHOWN)
            with place:
                st.markdown(f"**{session.escape(name)}**")
                bars(
                    own.drop(columns=["class", "sd_share", "top3"]),
                    "mean_share",
                    "Share of the saliency",
                    f"words-{name}",
                    lambda name=name: word_table(part, **choices).query("`class` == @name"),
                    f"Words that the model relies on for {name}, with 95% intervals",
                    longest=None if tops is None else float(tops.max()),
                )
        st.caption(f"{SHARE} Whiskers are 95% intervals. Click a bar for details of the word.")
    with table_tab:
        shown = ["word", "class", "examples", "mean_share", "interval", "top3_rate", "mean_score"]
        listed = rows.assign(interval=intervals(rows, missing=TOO_FEW))[shown]
        if len(classes) == 1:
            listed = listed.drop(columns="class")
        pick(listed, f"words-{run.number}-{layer}-{minimum}-{chosen}-{where}")
        cut = f" The first {ROWS:,}; the CSV has all." * (len(rows) == ROWS)
        st.caption(f"Highest share first.{cut} Choose a row for details of the word.")


def set_against(one: str, other: str, names: tuple[str, str], layer: int):
    """Show the words that differ most between two filters, noise left out."""
    minimum = minimum_support()
    a, b = run.filter(one), run.filter(other)
    if not (session.counted(a) and session.counted(b)):
        st.info("One of the two sides contains no examples.")
        return
    choices = {"part_b": b, "layer": layer, "minimum": minimum}
    both = session.ask(contrast, a, **choices, most=ROWS)
    rows = telling(both)
    if rows.empty:
        st.info(
            f"No word's share differs by more than chance would explain between {names[0]} and "
            f"{names[1]}. Compare broader filters, or lower the minimum number of texts."
        )
        return
    chart_tab, table_tab = st.tabs(["Chart", "Table"])
    with chart_tab:
        bars(
            rows[["word", "difference", "low", "high", "z"]],
            "difference",
            f"Share of the saliency: {names[0]} minus {names[1]}",
            "words-contrast",
            lambda: contrast(a, **choices),
            "Words whose share differs between the two sides, with 95% intervals",
        )
    with table_tab:
        heads = {
            f"{what}_{side}": Column(f"{name}: {said}", meaning, form)
            for side, name in zip("ab", names, strict=True)
            for what, said, meaning, form in (
                ("examples", "texts", "Texts that contain the word.", "{:,.0f}"),
                ("mean_share", "share", SHARE, "{:.1%}"),
            )
        }
        listed = rows.assign(interval=intervals(rows, "{:+.1%}", TOO_FEW))
        listed = listed[["word", *heads, "difference", "interval", "z"]]
        pick(listed, f"contrast-{run.number}-{layer}-{minimum}-{one}-{other}", COLUMNS | heads)
    st.caption(
        f"Chart and table are sorted by z: words typical of {names[0]} come first, those typical "
        f"of {names[1]} last. Words whose difference may be chance are left out: their interval "
        "contains 0, or z is between -2 and 2."
    )


def two_filters(where: str, layer: int):
    """Let the user name the other filter, and compare."""
    versus = st.text_input(
        "Compare with",
        key=keep("versus", ""),
        placeholder="another filter, such as right confidence<0.6",
    )
    if versus.strip() == where.strip():
        saved = [f"slice:{quote(name)}" for name in run.store.slices()["name"]]
        st.info("Type a second filter, or choose one:")
        with st.container(horizontal=True):
            for choice in [*(one for one in ("wrong", "right") if one != where), *saved[:8]]:
                st.button(
                    session.escape(choice),
                    key=f"versus-{choice}",
                    on_click=lambda choice=choice: st.session_state.update(versus=choice),
                )
        return
    if readable(run, versus, "versus"):
        set_against(where, versus, ("this filter", "the other"), layer)


def vocabulary(layer: int):
    """Show which words of the whole vocabulary a layer says for a class."""
    table = session.ask(Run.table, run, name="meanings")
    if table is None or table.empty:
        st.info(
            "This run has no class vocabulary: the audit was made with --no-evaluate, or its "
            "results have changed since. Run the same audit again."
        )
        return
    names = set(table["class"])
    chosen = class_picker([name for name in run.label_names if name in names], every=False)
    own = table[table["class"] == chosen]
    strongest = own.groupby("layer")["difference"].max()
    if strongest.get(layer, 0.0) <= FAINT * strongest.max():
        best = int(strongest.idxmax())
        st.info(
            f"Layer {layer} has hardly any vocabulary of its own for this class; it is strongest "
            f"at layer {best}."
        )
        st.button(f"Show layer {best}", on_click=lambda: st.session_state.update(layer=best))
        return
    rows = own[own["layer"] == layer].drop(columns=["layer", "class"]).reset_index(drop=True)
    examples = int(rows["examples"].iloc[0])
    rows = rows.drop(columns="examples")
    chart_tab, table_tab = st.tabs(["Chart", "Table"])
    with chart_tab:
        session.figure(
            partial(plain_bars, rows, "word", "difference", "Logits above the mean of all classes"),
            f"Vocabulary words of {chosen}",
            rows,
            "words-meant",
        )
    with table_tab:
        heads = {
            "difference": Column("above the mean (logits)", format="{:+.2f}"),
            "held": Column(
                "texts that contain it", "Share of the texts predicted as this class.", "{:.0%}"
            ),
        }
        pick(rows, f"means-{run.number}-{layer}-{chosen}", heads)
    st.caption(
        f"Means over a random sample of {examples} examples predicted as "
        f"{session.escape(chosen)}, minus the mean over all classes. A word that appears in 0% of "
        "these texts comes from the language model alone."
    )


def numbers_of(profile):
    with st.container(horizontal=True):
        st.metric(
            "Texts with it",
            f"{profile.examples:,}",
            border=True,
            help="Texts of the filter that contain the word.",
        )
        all_wrong = profile.wrong_with + profile.wrong_without
        some_right = all_wrong < profile.judged_with + profile.judged_without
        for name, wrong, judged in (
            ("Wrong with it", profile.wrong_with, profile.judged_with),
            ("Wrong without it", profile.wrong_without, profile.judged_without),
        ):
            # In a filter of wrong predictions alone every share is 100%.
            if judged and some_right:
                st.metric(
                    name,
                    f"{wrong / judged:.1%}",
                    border=True,
                    help=f"{wrong:,} of {judged:,} labelled predictions of the filter.",
                )


def one_word(where: str, layer: int) -> str | None:
    """Show what is known of one word; return it, None where there is nothing."""
    word = st.text_input(
        "Look up a word",
        key=keep("word", ""),
        placeholder="type a word, or choose one in the chart or table",
    ).strip()
    if not word:
        st.caption("Choose a word to see what is known about it.")
        return None
    try:
        profile = session.ask(word_profile, run.filter(where), word=word)
    except UserError as error:
        st.info(session.escape(error))
        return None
    numbers_of(profile)
    holding = joined(f"word:{quote(profile.word)}", where)
    with st.container(horizontal=True):
        for label, condition in (
            ("All examples with it", ""),
            ("Wrong predictions with it", "wrong"),
            ("Where it is salient", f"salient:{quote(profile.word)}@{layer}"),
        ):
            session.link(f"{label} →", "errors", where=joined(condition, holding))
    session.figure(
        partial(share_by_layer, profile.by_layer),
        "Share of the saliency that the word takes in every layer",
        profile.by_layer,
        "word-by-layer",
    )
    sampled = int(profile.by_layer["examples"].iloc[0])
    st.caption(
        f"Share of the saliency by layer: mean over {sampled:,} texts with it"
        + f", a seeded sample of {SAMPLE:,}" * (sampled == SAMPLE)
        + ", with 95% intervals."
    )
    if not len(profile.by_class):
        st.caption("Without labels, the word's classes are unknown.")
        return profile.word
    show_table(
        profile.by_class.drop(columns="z"),
        "word-by-class",
        "Labels of the texts that contain the word",
        columns={
            "class": Column("label"),
            "examples": Column("texts with it", "With the word and the label."),
            "share": Column("of its texts", "Share of the word's labelled texts.", "{:.1%}"),
            "base_rate": Column("of all texts", "Share of the filter's labelled texts.", "{:.1%}"),
        },
    )
    return profile.word


def examples_of(word: str, where: str, layer: int):
    holding = joined(f"word:{quote(word)}", where)
    st.header(f"Texts with “{session.escape(word)}”")
    places = session.order(run.filter(holding), "confidence", True)[:EXAMPLES].tolist()
    frame, found = session.with_words(run, places, layer)
    painted_rows(
        [painted_row(*one) for one in found],
        f"word-rows-{run.number}-{word}-{layer}-{where}",
        session.open_example(holding),
    )
    session.download(frame.drop(columns="example"), "examples-of-word", "Download rows (CSV)")


where = filter_line(run)
total = session.counted(run.filter(where))
if not total:
    st.info("No example matches this filter. Remove a term to see more.")
    end_page()
with st.container(key="beside-view"):
    left, right = st.columns([2, 1])
view = left.segmented_control(
    "Show",
    list(VIEWS),
    key=keep("view", RELIED, VIEWS),
    required=True,
    help=" ".join(f"{name}: {meaning}" for name, meaning in VIEWS.items()),
)
with right:
    layer = session.layer_slider(run)
st.caption(f"{total:,} examples. {VIEWS[view]}")
list_side, word_side = st.columns([8, 5], gap="medium")
with list_side:
    if view == RELIED:
        relied_on(where, layer)
    elif view == CONTRAST:
        sides = (joined("wrong", where), joined("right", where))
        set_against(*sides, ("wrong", "right"), layer)
    elif view == TWO:
        two_filters(where, layer)
    else:
        vocabulary(layer)
with word_side:
    shown = one_word(where, layer)
if shown:
    examples_of(shown, where, layer)
