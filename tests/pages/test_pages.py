"""Every page on a filled and on an empty database; the dashboard never loads torch."""

import importlib.util
import os
import re
import subprocess
import sys
from datetime import datetime

import pytest
from streamlit.testing.v1 import AppTest

from saliency_core.model.audited import classifier_of
from saliency_core.pipeline.run_audit import audit
from saliency_core.records import Doubt
from saliency_core.saliency.logit_lens import decoded_words
from saliency_core.store import open_store, open_writer
from saliency_core.store.read.results import set_warning
from tests.support import store_made_up
from tests.support.components import tables_of
from tests.support.paths import DASHBOARD, ROOT
from tests.support.small_audit import options, write_csv
from tests.support.tiny_bert import save_tiny_bert

PAGES = ["overview", "errors", "example", "layers", "words", "compare"]
os.environ["STREAMLIT_CLIENT_SHOW_ERROR_DETAILS"] = "full"


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    model, lm_head = save_tiny_bert(folder)
    audit(
        model, write_csv(folder / "reviews.csv"), db=folder / "a.sqlite", options=options(lm_head)
    )
    return folder / "a.sqlite"


def opened(page, database, monkeypatch):
    monkeypatch.setenv("SALIENCY_DB", str(database))
    app = AppTest.from_file(DASHBOARD, default_timeout=30).run()
    if page != "overview":
        app.switch_page(f"app_pages/{page}.py").run()
    return app


@pytest.mark.parametrize("page", PAGES)
def test_page_on_a_filled_database(page, database, monkeypatch):
    app = opened(page, database, monkeypatch)
    assert not app.exception
    assert app.title[0].value.lower() == page
    assert not app.error


@pytest.mark.parametrize("page", PAGES)
def test_page_without_a_database_says_how_to_make_one(page, tmp_path, monkeypatch):
    app = opened(page, tmp_path / "none.sqlite", monkeypatch)
    assert not app.exception
    assert [one.value for one in app.header] == ["No audit yet"]
    assert {"Audit a file", "Look at the demonstration"} <= {one.label for one in app.button}
    (code,) = app.expander[0].code
    path = tmp_path / "none.sqlite"
    assert f"python -m saliency_core audit MODEL DATASET --db {path}\n" in code.value
    assert code.proto.wrap_lines


def test_a_filter_that_means_nothing_is_explained(database, monkeypatch):
    monkeypatch.setenv("SALIENCY_DB", str(database))
    app = AppTest.from_file(DASHBOARD, default_timeout=30).run()
    app.switch_page("app_pages/errors.py").run()
    app.text_input(key="where").set_value("wrog").run()
    assert not app.exception
    assert "wrog" in app.error[0].value
    assert any(button.label == "wrong" for button in app.button)


def test_what_is_loaded_ahead_is_there():
    """It is imported in a thread, where a name that went is an error that nobody sees."""
    text = (ROOT / "dashboard_server.py").read_text(encoding="utf-8")
    names = re.findall(r'"([\w.]+)"', text.partition("LOADED_AHEAD = (")[2].partition(")")[0])
    assert len(names) >= 5
    assert all(importlib.util.find_spec(f"saliency_core.{name}") for name in names)


@pytest.mark.slow
def test_the_dashboard_loads_neither_torch_nor_transformers(database):
    code = (
        "import sys; from streamlit.testing.v1 import AppTest;"
        "app = AppTest.from_file('dashboard.py', default_timeout=30).run();"
        "assert not app.exception;"
        "print(sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SALIENCY_DB": str(database)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("view", ["Wrong vs right", "Compare two filters", "Class vocabulary"])
def test_words_are_shown_in_every_view(view, database, monkeypatch):
    app = opened("words", database, monkeypatch)
    app.button_group(key="view").set_value([view]).run()
    app.text_input(key="word").set_value("film").run()
    assert not app.exception and not app.error
    assert any(metric.label == "Texts with it" for metric in app.metric)


def test_an_example_that_is_not_there_is_said(database, monkeypatch):
    app = opened("example", database, monkeypatch)
    app.text_input(key="id").set_value("nowhere").run()
    assert not app.exception
    assert "nowhere" in app.warning[0].value


@pytest.mark.parametrize("words", [400, 900])
def test_an_example_says_that_it_was_cut_however_long_it_is(words, tmp_path, monkeypatch):
    texts = [f"{'good ' * words}{end}" for end in range(10)]
    (unread,) = {one.chars_total - one.chars_seen for one in map(made_up, texts)} - {0}
    rows = [store_made_up.example(place, text) for place, text in enumerate(texts)]
    with open_writer(tmp_path / "a.sqlite") as writer:
        store_made_up.write_all(writer, rows)
    app = opened("example", tmp_path / "a.sqlite", monkeypatch)
    told = []
    for row in rows:
        app.text_input(key="id").set_value(row.id).run()
        told.append([one.value for one in app.warning])
    assert not app.exception and [] in told
    total = len(texts[0])
    sentence = f"The model read {total - unread:,} of {total:,} characters."
    assert told == [[sentence] * (made_up(text).chars_seen < total) for text in texts]


def made_up(text):
    return store_made_up.audit(store_made_up.example(0, text))


def test_layers_are_decoded_only_once_the_model_is_asked_for(database, monkeypatch):
    def tables(app):
        return [table for table in tables_of(app) if list(table.columns) == ["layer", "words"]]

    app = opened("example", database, monkeypatch)
    assert not tables(app)
    next(button for button in app.button if button.label == "Load the model").click().run()
    assert not app.exception and not app.warning
    (shown,) = tables(app)
    store = open_store(database)
    example = store.run().example(app.text_input(key="id").value or first_wrong(store))
    expected = decoded_words(classifier_of(store.run()), example["text"])
    assert shown["layer"].tolist() == list(range(store.run().model.layers + 1))
    for layer, words in shown.itertuples(index=False):
        assert words.split(", ") == expected.loc[expected["layer"] == layer, "word"].tolist()


def first_wrong(store):
    return (
        store.run()
        .filter("wrong")
        .examples(sort="confidence", descending=True, limit=1)["id"]
        .iloc[0]
    )


def test_the_overview_tells_the_time_as_people_write_it(database, monkeypatch):
    app = opened("overview", database, monkeypatch)
    created = datetime.fromisoformat(open_store(database).run().created)
    about = app.markdown[0].proto.help.replace("\\", "")
    assert created.strftime("%B %Y, %H:%M UTC") in about
    assert "T" + created.strftime("%H:%M") not in about


def test_what_casts_doubt_on_a_run_stands_on_every_page_and_the_rest_behind_a_line(
    tmp_path, monkeypatch
):
    path = tmp_path / "a.sqlite"
    with open_writer(path) as writer:
        store_made_up.write_all(writer, [store_made_up.example(0)])
    doubt = f"Lines 3 to 90 of it {Doubt.SWALLOWED_ROWS}, close the quote."
    set_warning(path, 1, "Lines", doubt)

    def told(app):
        """Return the warnings on the page, and those behind the line."""
        behind = [one.value for line in app.get("popover") for one in line.caption]
        warnings = [one.value for one in app.caption if "⚠️" in one.value]
        behind = [one for one in behind if "⚠️" in one]
        return [one for one in warnings if one not in behind], behind

    doubt = f"⚠️ {doubt[:-1]}\\."
    assert told(opened("overview", path, monkeypatch)) == ([doubt, "⚠️ a warning"], [])
    for page in ("errors", "layers"):
        assert told(opened(page, path, monkeypatch)) == ([doubt], ["⚠️ a warning"])


def test_a_filter_without_examples_offers_all_of_them(database, monkeypatch):
    app = opened("errors", database, monkeypatch)
    app.text_input(key="where").set_value("confidence>2").run()
    assert "No example matches" in app.info[0].value
    next(button for button in app.button if button.label == "Show all examples").click().run()
    assert not app.exception and app.text_input(key="where").value == ""
