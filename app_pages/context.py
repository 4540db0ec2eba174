"""What all pages share: the open file, the run, the slice in the URL, empty states."""

import re
from pathlib import Path

import streamlit as st

from saliency_core.errors import UserError
from saliency_core.export import frame_as_csv
from saliency_core.paths import default_database
from saliency_core.store import open_store

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&\"'/=@^])")


def escape(text: object) -> str:
    """Return untrusted text so that Markdown shows it as it is."""
    return _MARKDOWN.sub(r"\\\1", str(text)).replace("\n", " ")


def name_of(path: str) -> str:
    """Return the last part of a model's folder or hub name."""
    return Path(path).name


def databases() -> list[str]:
    """Return the files the dashboard can open: the default one first, then its neighbours."""
    default = default_database()
    beside = sorted(str(path) for path in default.parent.glob("*.sqlite") if path != default)
    return [str(default), *beside]


SIDEBAR = ("db", "run")
"""Widgets on every page: Streamlit writes their address itself."""
KEPT = ("layer", "where")
"""What a view keeps when one page leads to another."""


def go_to(page: str, **values: object) -> None:
    """Switch to another page with values for its widgets.

    The values travel in the session, because Streamlit refuses query parameters that a widget of
    the current page is bound to; `sidebar` puts them into the widgets and the address.
    """
    kept = {key: st.session_state[key] for key in KEPT if key in st.session_state}
    st.session_state["arriving"] = kept | values
    st.switch_page(f"app_pages/{page}.py", query_params={})


def sidebar() -> None:
    """Let the user choose file and run; both are in the URL."""
    for key, value in st.session_state.pop("arriving", {}).items():
        st.session_state[key] = value
        if key not in SIDEBAR:
            st.query_params[key] = str(value)
    with st.sidebar:
        files = databases()
        st.selectbox(
            "Database", files, key="db", bind="query-params", format_func=lambda f: Path(f).name
        )
        try:
            runs = open_store(st.session_state.db).runs()
        except UserError:
            return
        names = {
            str(row.run): f"{row.run}: {name_of(row.model)} on {row.dataset}"
            for row in runs.itertuples()
        }
        if names:
            newest = sorted(names, key=int, reverse=True)
            # Not bound: Streamlit would write the label into the address, not the number.
            asked = st.query_params.get("run")
            if st.session_state.get("run") not in names:
                st.session_state["run"] = asked if asked in names else newest[0]
            chosen = st.selectbox(
                "Run", newest, key="run", format_func=lambda run: names.get(run, run)
            )
            if chosen != newest[0]:
                st.query_params["run"] = chosen
            elif asked is not None:
                del st.query_params["run"]


def opened():
    """Return (store, run, facts of the run), or say how to make one and stop."""
    database = st.session_state.get("db") or str(default_database())
    try:
        store = open_store(database)
        run = st.session_state.get("run")
        facts = store.run(int(run) if run else None)
        if not store.count(run=facts["run"]):
            raise UserError(f"Run {facts['run']} holds no audited example yet.")
    except UserError as error:
        st.info(f"{escape(error)}")
        st.markdown("Make an audit, then reload this page:")
        st.code(
            f"python -m saliency_core audit MODEL DATASET --db {database}\n"
            "python -m saliency_core demo",
            language="bash",
        )
        st.stop()
    if facts["status"] != "finished":
        st.caption("⏳ This run has not finished: layers are summarised and compared at its end.")
    for warning in facts["warnings"]:
        st.caption(f"⚠️ {escape(warning)}")
    return store, facts["run"], facts


def slice_input(key: str = "where") -> str:
    """Show the filter line; its text is in the URL."""
    return st.text_input(
        "Filter",
        key=key,
        bind="query-params",
        placeholder='wrong confidence>0.9 word:people "a phrase" meta.region:EU',
        help="Terms joined by AND; - negates, commas are alternatives: wrong, right, gold:LABEL, "
        "predicted:A,B, confidence>0.9, margin<0.1, length>=50, truncated, failed, word:people, "
        "salient:people@5, coherence<0, meta.COLUMN:VALUE, slice:NAME, id:17.",
    )


def counted(store, run: int, where: str) -> int:
    """Return how many examples a slice holds; explain a slice that can't be read and stop."""
    try:
        return store.count(where, run=run)
    except UserError as error:
        st.error(escape(error))
        st.stop()


def download(frame, name: str, label: str = "Table as CSV") -> None:
    """Let the user keep a table that is on screen; it is made when asked for."""
    st.download_button(
        label, lambda: frame_as_csv(frame), f"{name}.csv", "text/csv", key=name, on_click="ignore"
    )


def quote(term: str, value: str) -> str:
    """Return a slice term for a value that may hold spaces, commas or quotes."""
    plain = re.fullmatch(r"[\w./\-]+", value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f"{term}:{value}" if plain else f'{term}:"{escaped}"'


def recommended_layer(facts: dict) -> int:
    """Return the layer to start at; a run that has not finished has none recommended yet.

    The last block is no good start: all gradient sits on the classifier's own token there.
    """
    if facts["recommended"] is None:
        return max(facts["layers"] - 1, 0)
    return facts["recommended"]


def layer_slider(facts: dict, key: str) -> int:
    """Let the user choose a layer, starting at the recommended one; it is in the URL."""
    recommended = recommended_layer(facts)
    layers = list(range(facts["layers"] + 1))
    unset = key not in st.session_state and key not in st.query_params
    if unset or st.session_state.get(key, recommended) not in layers:
        st.session_state[key] = recommended
    return st.select_slider(
        "Layer",
        layers,
        key=key,
        bind="query-params",
        help=f"0 is the embeddings, {facts['layers']} the last block; recommended: {recommended}.",
    )
