"""Fixing shortcuts: training data cleaned of words, and checks that a model ignores them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st

from app_components import session
from app_components.background_command import Background
from saliency_core.paths import default_database
from saliency_core.program import program
from saliency_core.records import MEAN_EMBEDDING
from saliency_core.server import commands
from saliency_core.shortcuts.invariance_checks import PER_WORD, write_checks
from saliency_core.store import Run

WAYS = {
    "mask": ("mask the words", "the mask token takes their place"),
    "drop": ("leave out texts with them", "the rest stays as it is"),
}
"""How training data are cleaned -> what it is called, and what it does."""


def show(run: Run, current: str | None) -> None:
    """Offer what helps against the words with the verdict spurious and for the one on show."""
    st.header("Fix reliance on a spurious word")
    verdicts = run.verdicts()
    spurious = sorted(set(verdicts.loc[verdicts["verdict"] == "spurious", "word"]))
    options = sorted({*spurious, *([current] if current else [])})
    words = st.multiselect(
        "Words to remove",
        options,
        key=_chosen(run, spurious, options),
        help="Those you judged spurious; you can add the one shown.",
        placeholder="no word has been judged spurious yet",
    )
    left, right = st.columns(2)
    with left:
        _debias(run, words)
    with right:
        _checks(run, words)


def _chosen(run: Run, spurious: list[str], options: list[str]) -> str:
    """Return the key of the chosen words; a new verdict adds or takes one, the others stay."""
    key = f"debias-{session.here(run)}"
    before = st.session_state.get(f"{key}-spurious", [])
    kept = [
        word
        for word in st.session_state.get(key, [])
        if word in options and (word in spurious or word not in before)
    ]
    st.session_state[key] = kept + [word for word in spurious if word not in [*before, *kept]]
    st.session_state[f"{key}-spurious"] = spurious
    return key


def _debias(run: Run, words: list[str]) -> None:
    """Write a training file without the words, in a process of its own."""
    background = Background(run, "debias")
    folder = default_database().parent
    with st.form("debias"):
        st.markdown("**A cleaned training file**")
        uploaded = st.file_uploader("Upload training data", type=["csv", "tsv", "jsonl", "parquet"])
        typed = st.text_input(
            "or enter the path of a file or folder, or the name of a Hugging Face dataset",
            help="A file or folder on this machine.",
        )
        columns = st.columns(2)
        text = columns[0].text_input("Text column", placeholder="guessed from its name")
        label = columns[1].text_input("Label column", placeholder="guessed from its name")
        meanings = "; ".join(": ".join(way) for way in WAYS.values())
        way = st.segmented_control(
            "Cleaning",
            list(WAYS),
            default="mask",
            format_func=lambda name: WAYS[name][0],
            help=f"{meanings}.",
        )
        if st.form_submit_button("Create cleaned file", disabled=not words):
            source = typed.strip()
            if uploaded is not None:
                source = str(
                    commands.keep_upload(folder / "uploads", uploaded.name, uploaded.getvalue())
                )
            if source and way:
                name = commands.safe_name(Path(source).name.split(".")[0])
                output = folder / "exports" / f"{name}-{way}.jsonl"
                options = {"how": way, "output": str(output.resolve())}
                options |= {"train-text-column": text.strip(), "train-label-column": label.strip()}
                if run.model.reference != MEAN_EMBEDDING:
                    options |= {"mask": run.model.reference}
                # The file is the page's own: a second cleaning takes the place of the first.
                options = commands.as_options(options | {"force": True})
                background.start(*options, *(f"--word={word}" for word in words), "--", source)
            st.warning("Upload a file or name one, and choose how to clean it.")
    if background.follow("Cleaning the training data") == "finished":
        _cleaned(background.job())


def _cleaned(job: commands.Job) -> None:
    """Say what was written, and let it be kept."""
    named = [one for one in job.arguments if one.startswith("--output=")]
    output = Path(named[0].partition("=")[2])
    if output.is_file():
        st.success(session.escape(commands.last_words(job)))
        st.download_button(
            "Download cleaned file",
            output.read_bytes,
            output.name,
            on_click="ignore",
            key="cleaned",
        )


def _checks(run: Run, words: list[str]) -> None:
    """Offer pairs of texts, with and without the words, that must get one answer."""
    with st.container(border=True):
        st.markdown("**Regression tests for the next model**")
        st.markdown(
            f"Up to {PER_WORD} pairs per word: a text that contains it, and the same text without "
            "it. A model that ignores the word predicts the same class for both. Run the pairs as "
            "part of your tests:"
        )
        st.code(f"{program()} checks run MODEL checks.jsonl", "bash", wrap_lines=True)
        st.download_button(
            "Download regression tests (JSON Lines)",
            lambda: session.written(
                partial(write_checks, run.filter(), words=words), "checks.jsonl"
            ),
            "checks.jsonl",
            "application/jsonl",
            on_click="ignore",
            disabled=not words,
        )
