"""What all pages share: the open file, the run, the slice in the URL, empty states.

Answers are kept by the state of the file and by arguments, so a rerun computes nothing again, and
what a page keeps is small: never a million rows.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app_components import navigation
from app_components.markdown import escape
from app_components.navigation import end_page, keep, name_in_address, place
from saliency_core.errors import NothingYetError, UserError
from saliency_core.output.charts import svg
from saliency_core.output.charts.theme import for_dark
from saliency_core.output.export import frame_as_csv
from saliency_core.paths import DEMO, default_database, demo_folder
from saliency_core.server.page_words import in_page_words
from saliency_core.store import Run, Slice, Store, open_store
from saliency_core.store.connection import State


def name_of(path: str) -> str:
    """Return the last part of a model's folder or hub name."""
    return Path(path).name


@st.cache_resource(max_entries=8, show_spinner=False)
def store_at(path: str) -> Store:
    """Return what stands at a path, shared by all sessions; its columns are read once.

    A store notices by itself that another file has taken the place of the one it read.

    Raises:
        UserError: as `open_store`.
    """
    return open_store(path)


_KEYS = {
    Store: lambda store: str(store.path),
    Run: lambda run: (str(run.store.path), run.number),
    Slice: lambda part: (str(part.store.path), part.run.number, part.where),
}
"""What tells a file, a run and a slice from others, beside the state of the file."""


@st.cache_data(max_entries=256, show_spinner=False, hash_funcs=_KEYS)
def _answer(state: State, name: str, arguments: dict[str, Any], _compute: Callable):
    return _compute()


def ask(function: Callable, source: Store | Run | Slice, **arguments: Any) -> Any:
    """Return `function(source, **arguments)`, computed once for a state of the file.

    Args:
        function: of a module or class; what it returns is copied at every call, so it is small.
        source: the open file, a run of it or a slice of a run.
        arguments: numbers, texts, runs, slices and lists of numbers and texts.
    """
    store = source if isinstance(source, Store) else source.store
    name = f"{function.__module__}.{function.__qualname__}"
    named = arguments | {"source": source}
    with store.steady():
        return _answer(store.state(), name, named, lambda: function(source, **arguments))


@st.cache_resource(max_entries=4, show_spinner=False, hash_funcs=_KEYS)
def _order(state: State, part: Slice, sort: str, descending: bool):
    positions = part.positions(sort=sort, descending=descending)
    positions.flags.writeable = False
    return positions


def order(part: Slice, sort: str, descending: bool) -> np.ndarray:
    """Return the positions of a slice in order; shared and not copied, as there may be millions."""
    with part.store.steady():
        return _order(part.store.state(), part, sort, descending)


def here(run: Run) -> str:
    """Return what keys of widgets hold, so that what is typed stays with the run it is about."""
    return f"{run.store.path}-{run.store.file().inode}-{run.number}"


def databases() -> list[str]:
    """Return the files the dashboard can open: the default one, its neighbours, the demonstration.

    Each has a name of its own, by which the address names it.
    """
    default, demonstration = default_database(), demo_folder() / DEMO
    beside = sorted(str(path) for path in default.parent.glob("*.sqlite") if path != default)
    found = [str(default), *beside]
    if demonstration.is_file() and DEMO not in map(name_of, found):
        found.append(str(demonstration))
    return found


STYLE = Path(__file__).with_name("style.css")
SVG_WIDTH = 640
"""Pixels of a chart that is kept as SVG."""
LISTED = 8
"""Names that a sentence lists at most."""
SALIENT = 3
"""Words that a line about an example names at most."""


def go_to(page: str, /, **values: object) -> None:
    """Switch to another page with values for its fields, and to another file or run; a callback."""
    for name in ("db", "run"):
        if name in values:
            _show(name, name_of(str(values.pop(name))))
    navigation.go_to(page, **values)


def link(label: str, page: str, /, key: str | None = None, **values: object) -> None:
    """Show a quiet button that leads to another page, with values for its widgets."""
    st.button(label, key=key, type="tertiary", on_click=go_to, args=(page,), kwargs=values)


def open_example(where: str) -> Callable[[str], None]:
    """Return what opens an example, by its id, with a filter to go on through."""
    return lambda example: go_to("example", id=example, where=where)


def masthead(title: str) -> None:
    """Show the title of the page, and beside it file and run to choose; both are in the URL."""
    st.html(STYLE)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(title, anchor=False)
        files = [name_of(file) for file in databases()]
        if _choose("Database", "db", files, str, 190, unsaid=files[0]):
            _choose_run()


def _choose_run() -> None:
    """Let the user choose one of the runs of the file, the newest first."""
    try:
        runs = ask(Store.runs, store_at(database()))
    except UserError:
        return
    names = {
        str(row.run): f"{row.run}: {name_of(row.model)} on {row.dataset}"
        for row in runs.itertuples()
    }
    if names:
        newest = sorted(names, key=int, reverse=True)
        _choose("Run", "run", newest, names.__getitem__, 300)


def _choose(
    label: str,
    name: str,
    options: list[str],
    shown: Callable[[str], str],
    width: int,
    unsaid: str | None = None,
) -> str | None:
    """Let the user choose what all pages are about; return it, None where it is not there.

    Not bound to the address by Streamlit, which would put another choice in the place of one that
    is not there, and say nothing. An address that was opened, or gone back to, holds; one that
    names nothing keeps what was chosen. The first option holds at first; the address calls them
    as they are, the page as `shown` says, and need not name the one that is `unsaid`.
    """
    if asked := place().asked.get(name):
        st.session_state[name] = asked
    elif place().is_whole or st.session_state.get(name) is None:
        st.session_state[name] = options[0]
    wanted = st.session_state[name]
    is_there = wanted in options
    st.session_state[f"{name}-missing"] = None if is_there else (wanted, options)

    st.session_state[f"{name}-widget"] = wanted if is_there else None
    st.selectbox(
        label,
        options,
        index=0 if is_there else None,
        key=f"{name}-widget",
        format_func=shown,
        on_change=lambda: _show(name, st.session_state[f"{name}-widget"]),
        label_visibility="collapsed",
        width=width,
    )
    # Named also where it is not there: the address says what was asked for.
    if wanted != unsaid:
        name_in_address(name, wanted)
    return wanted if is_there else None


def database() -> str:
    """Return the path of the file that all pages are about."""
    default, name = default_database(), st.session_state.get("db")
    found = {name_of(path): path for path in databases()}
    return found.get(name, str(default.with_name(name or default.name)))


def _say_what_is_missing() -> None:
    """Where the address names a file or a run that is not there, say so and show nothing else."""
    for name, what in (("db", "database"), ("run", "run")):
        missing = st.session_state.get(f"{name}-missing")
        if not missing:
            continue
        asked, there = missing
        many = f"{what}s" if len(there) > 1 else what
        where = "this file has" if name == "run" else "the dashboard has"
        names = sorted(there, key=int) if name == "run" else there
        st.warning(escape(f"This link names {what} {asked}; {where} {many} {listed(names)}."))
        st.button(
            f"Show {what} {escape(there[0])}", type="primary", on_click=_show, args=(name, there[0])
        )
        end_page()


def _show(name: str, option: str | None) -> None:
    """Choose something that is there; all pages are about it from now on."""
    if option is None:
        return
    if name == "db":
        # A number means another run in another file.
        st.session_state.pop("run", None)
    st.session_state[name] = option


def listed(names: list[str]) -> str:
    """Return names as one list in words, the middle of a long one left out."""
    if len(names) > LISTED:
        names = [*names[: LISTED - 2], "...", names[-1]]
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


class NothingAudited(Exception):
    """There is no run to show: what the pages stand on is still to be made."""

    def __init__(self, path: str, reason: UserError) -> None:
        """Keep where it was looked for, and what was wrong there."""
        super().__init__(str(reason))
        self.path = path
        self.takes_an_audit = not Path(path).exists() or isinstance(reason, NothingYetError)
        """Whether an audit can be written there: no file, or one of ours."""


def opened(tells_all: bool = False) -> Run:
    """Return the run that all pages are about, and tell what to keep in mind about it.

    Args:
        tells_all: whether every warning of it stands on the page.

    Raises:
        NothingAudited: there is none.
    """
    _say_what_is_missing()
    path = database()
    try:
        chosen = st.session_state.get("run")
        run = store_at(path).run(int(chosen) if chosen else None)
        if not ask(Slice.count, run.filter()):
            raise NothingYetError(f"Run {run.number} contains no audited examples yet.")
    except UserError as error:
        raise NothingAudited(path, error) from error
    place().dataset = run.dataset.name
    if not run.is_finished:
        st.caption("⏳ This run has not finished: layers are summarised and compared at its end.")
    _warn(run, whole=tells_all)
    return run


def _warn(run: Run, whole: bool) -> None:
    """Tell the warnings of a run: what casts doubt on a page at once, the rest behind a line."""
    notes = [text for text in run.warnings if text not in run.doubts]
    tell_warnings([*run.doubts, *(notes if whole else [])])
    if notes and not whole:
        many = "1 note" if len(notes) == 1 else f"{len(notes)} notes"
        with st.popover(f":small[:gray[{many} on this run]]", type="tertiary", key="run-notes"):
            tell_warnings(notes)


def tell_warnings(warnings: list[str]) -> None:
    """Show warnings of a run, in words of the pages."""
    for text in warnings:
        st.caption(f"⚠️ {escape(in_page_words(text))}")


def counted(part: Slice) -> int:
    """Return how many examples a slice holds; explain a slice that can't be read and stop."""
    try:
        return ask(Slice.count, part)
    except UserError as error:
        st.error(escape(error))
        end_page()


def download(frame, name: str, label: str = "Download table (CSV)") -> None:
    """Let the user keep a table, or the one a function returns; it is made when asked for."""
    offer(
        label,
        lambda: frame_as_csv(frame() if callable(frame) else frame),
        f"{name}.csv",
        "text/csv",
    )


def written(write: Callable[[Path], object], name: str) -> bytes:
    """Return what a function writes into a file of that name."""
    with TemporaryDirectory() as folder:
        output = Path(folder) / name
        write(output)
        return output.read_bytes()


def offer(label: str, make: Callable[[], Any], file: str, mime: str) -> None:
    """Show a button that stands back behind what it offers to keep; made when asked for."""
    st.download_button(
        f":small[:gray[{label}]]",
        make,
        file,
        mime,
        key=f"download-{file}",
        on_click="ignore",
        type="tertiary",
    )


@st.cache_resource(max_entries=128, show_spinner=False)
def _drawn(name: str, arguments: tuple, options: dict[str, Any], _draw: Callable) -> dict[str, Any]:
    """Return the Vega-Lite of a chart; Altair checks it for as long as all else takes together."""
    import altair

    altair.data_transformers.disable_max_rows()
    specification = _draw().to_dict()
    # Sizes of Altair's own, which would stand in the way of the page's.
    specification.pop("config", None)
    return specification


def figure(draw: partial, alt: str, table: Any, name: str, **options: Any) -> Any:
    """Draw an Altair chart, once for the arguments of `draw`; offer numbers and SVG to keep.

    The numbers are a `table` or a function that returns one; None where another chart offers them.
    Its own toolbar has PNG. `options` are of `st.vega_lite_chart`, files are called `name`.
    """
    function = f"{draw.func.__module__}.{draw.func.__qualname__}"
    with st.container(gap=None, key=f"figure-{name}"):
        drawn = _drawn(function, draw.args, draw.keywords, draw)
        if st.context.theme.type == "dark":
            drawn = for_dark(drawn)
        event = st.vega_lite_chart(drawn, alt=alt, **options)
        if table is None:
            return event
        # In the corner of the chart, seen as its toolbar is: style.css.
        with st.container(horizontal=True, width="content", key=f"files-{name}"):
            download(table, name, "CSV")
            offer("SVG", lambda: svg.draw(draw(), SVG_WIDTH), f"{name}.svg", "image/svg+xml")
    return event


def top_words(words: list[dict[str, Any]]) -> str:
    """Return the most salient words of an example as one line."""
    best = sorted(words, key=lambda word: -word["score"])[:SALIENT]
    return ", ".join(word["word"] for word in best if word["score"] > 0)


def top_words_line(words: list[dict[str, Any]]) -> str:
    """Return the most salient words of an example with what they are; nothing where none is."""
    found = top_words(words)
    return f"Top words: {found}" if found else ""


def with_words(
    run: Run, positions: list[int], *layers: int
) -> tuple[pd.DataFrame, list[tuple[Any, ...]]]:
    """Return examples as a table, and each as a record with its words at every layer named."""
    frame = ask(Run.examples_at, run, positions=positions)
    words = [ask(Run.top_words, run, positions=positions, layer=layer) for layer in layers]
    return frame, list(zip(frame.to_dict("records"), *words, strict=True))


def reading_layer(run: Run) -> int:
    """Return the layer that was chosen for all pages, else the recommended one."""
    chosen = place().shared.get("layer")
    return int(chosen) if chosen in map(str, range(run.model.layers + 1)) else run.layer_to_read()


def layer_slider(run: Run) -> int:
    """Let the user choose a layer, starting at the recommended one; it is in the URL."""
    recommended = run.layer_to_read()
    layers = list(range(run.model.layers + 1))
    return st.select_slider(
        "Layer",
        layers,
        key=keep("layer", recommended, layers),
        help=f"0 is the embeddings, {run.model.layers} the last block; recommended: {recommended}.",
    )
