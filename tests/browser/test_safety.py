"""Text from a dataset never becomes live, on any page, in either launch mode."""

import dataclasses
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest

from saliency_core.analysis.error_slices import COLUMNS, keep_discovered
from saliency_core.analysis.kept_suspects import keep_suspects
from saliency_core.shortcuts.suspects import Thresholds, suspects
from saliency_core.store import open_store, open_writer, save_table
from saliency_core.store.query.terms import quote
from saliency_core.store.read.token_directions import set_token_directions
from saliency_core.store.write.annotations import save_slice, set_verdict
from tests.support.notes import set_note
from tests.support.payloads import PAYLOADS
from tests.support.store_made_up import DATASET, MODEL, example, write_all
from tools.browser import CHROMIUM, chromium, new_page, served, settle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
QUERIES = {
    "example": ({}, {"where": PAYLOADS[8]}, {"id": f"0 {PAYLOADS[0]}", "where": "", "run": 1}),
    "words": (
        {"word": "people", "run": 1},
        {"view": "Class vocabulary", "run": 1, "word": PAYLOADS[0]},
        {"view": "Wrong vs right", "where": PAYLOADS[8]},
    ),
}
"""What each page is opened with, where it is more than nothing and a hostile filter."""
PAGES = (
    "",
    "errors",
    "example",
    "layers",
    "words",
    "compare",
    "suspects",
    "slices",
    "data",
    "what_if",
)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Every text, label, id, metadata key and value, warning, slice and note is hostile.

    So are the names of suspects and discovered slices, and the note on a verdict.
    """
    path = tmp_path_factory.mktemp("safety") / "a.sqlite"
    rows = [
        dataclasses.replace(
            example(position, text=f"the people {PAYLOADS[position % len(PAYLOADS)]} are nice"),
            id=f"{position} {PAYLOADS[position % len(PAYLOADS)]}",
            pair=PAYLOADS[(position + 1) % len(PAYLOADS)],
            metadata={PAYLOADS[4]: PAYLOADS[position % len(PAYLOADS)], "k": PAYLOADS[8]},
        )
        for position in range(40)
    ]
    labels = (PAYLOADS[0], PAYLOADS[1], PAYLOADS[8])
    dataset = dataclasses.replace(DATASET, name=PAYLOADS[8], source=PAYLOADS[1])
    model = dataclasses.replace(MODEL, name=PAYLOADS[8], label_names=labels, lm_head=PAYLOADS[1])
    with open_writer(path) as writer:
        run, _ = write_all(writer, rows, dataset=dataset, model=model)
        hostile_tokens(writer, run)
        other = dataclasses.replace(model, model_digest="other")
        write_all(writer, rows, dataset=dataset, model=other)
    set_note(path, run, rows[0].id, PAYLOADS[9], labels[0])
    save_slice(path, PAYLOADS[8], "wrong", PAYLOADS[1])
    meant = [(layer, name, text) for layer in range(4) for name in labels for text in PAYLOADS]
    meanings = pd.DataFrame(meant, columns=["layer", "class", "word"])
    save_table(path, run, "meanings", meanings.assign(difference=1.0, held=0.5, examples=3))
    store = open_store(path)
    table, control = suspects(store.run(run), thresholds=Thresholds(minimum=1), null_repeats=1)
    for place, payload in enumerate(PAYLOADS):
        table.loc[table.index[place], ["feature", "where"]] = payload, f"word:{quote(payload)}"
    keep_suspects(open_store(path).run(run), table, control | {"layer": 2})
    set_verdict(path, run, PAYLOADS[0], table["class"].iloc[0], "spurious", PAYLOADS[8])
    found = pd.DataFrame([discovered(payload) for payload in PAYLOADS])
    keep_discovered(open_store(path).run(run), found)
    return path


def hostile_tokens(writer, run):
    """Keep directions of the explanations' tokens, each written as a payload."""
    tokens = np.unique(np.concatenate([found.ravel() for *_, found in writer.explanations(run)]))
    tokens = tokens[tokens >= 0]
    vectors = np.random.default_rng(0).normal(size=(len(tokens), 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = [PAYLOADS[place % len(PAYLOADS)] for place in range(len(tokens))]
    set_token_directions(writer, run, tokens, texts, vectors)


def discovered(payload):
    """Return a discovered slice as hostile as a metadata value makes it."""
    numbers = dict.fromkeys((name for name in COLUMNS if name not in ("where", "also")), 0.5)
    return {"where": f"meta.k:{quote(payload)}", **numbers, "also": [payload]}


@pytest.mark.parametrize("launcher", [True, False], ids=["launcher", "streamlit run"])
def test_no_payload_runs_loads_or_draws(database, launcher):
    with served(database, launcher=launcher) as url, chromium() as browser:
        page = new_page(browser, url)
        dialogs = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        for name in PAGES:
            for query in QUERIES.get(name, ({}, {"where": PAYLOADS[8]})):
                page.goto(f"{url}/{name}?{urlencode(query)}")
                settle(page)
                page.wait_for_timeout(200)
                where = f"{name} {query}"
                assert page.get_by_test_id("stException").count() == 0, where
                assert page.evaluate("window.pwned") is None, where
                assert page.locator(".overlay, form[action], iframe[srcdoc]").count() == 0, where
                assert page.locator(f"img[src*='{'evil'}']").count() == 0, where
        assert not dialogs
        assert not page.refused, page.refused
