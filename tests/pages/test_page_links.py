"""What the pages show is what the file holds and the address names, whatever happens to either."""

import os
import shutil

import pytest
from streamlit.testing.v1 import AppTest

from saliency_core.store import open_store, open_writer
from tests.support.components import address_of, go_back, tables_of
from tests.support.paths import DASHBOARD, ROOT
from tests.support.store_made_up import SETTINGS, example, write_all


def audited(path, rows, runs=1):
    """Write a file of runs over the first rows made up."""
    with open_writer(path) as writer:
        for number in range(runs):
            settings = SETTINGS if not number else type(SETTINGS)(steps=4 + number)
            write_all(writer, [example(n) for n in rows], settings=settings)
    return path


def opened(path, monkeypatch, page="overview", **query):
    monkeypatch.setenv("SALIENCY_DB", str(path))
    app = AppTest.from_file(DASHBOARD, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    if page != "overview":
        app.switch_page(f"app_pages/{page}.py").run()
    assert not app.exception
    return app


def address(app, name):
    return address_of(app).get(name)


def metric(app, label):
    return next(one.value for one in app.metric if one.label.replace("\\", "") == label)


def button(app, label):
    return next(one for one in app.button if one.label.replace("\\", "") == label)


def said(elements):
    return [one.value.replace("\\", "") for one in elements]


def counts(path, rows):
    """Return what Overview must show of a file."""
    store = open_store(path)
    return str(
        store.run().filter("wrong").count()
    ), f"{store.run().filter('right').count() / store.run().filter('right|wrong').count():.1%}"


# Whose numbers are these?


@pytest.mark.parametrize("how", ["moved", "copied over", "deleted and made"])
def test_a_file_that_another_one_replaced_is_read_anew(how, tmp_path, monkeypatch):
    path = audited(tmp_path / "x.sqlite", range(12))
    # As many rows and as many transactions: only what the file is tells them apart.
    other = audited(tmp_path / "other", range(100, 112))
    wrong, theirs = (open_store(file).run().filter("wrong").count() for file in (path, other))
    assert open_store(path).version() == open_store(other).version() and wrong != theirs
    app = opened(path, monkeypatch)
    assert metric(app, "Wrong") == str(wrong)
    store = open_store(path)
    assert store.run().filter("wrong").count() == wrong
    if how == "moved":
        os.replace(other, path)
    elif how == "copied over":
        shutil.copy(other, path)
    else:
        path.unlink()
        shutil.copy(other, path)
    assert metric(app.run(), "Wrong") == str(theirs)
    assert metric(opened(path, monkeypatch), "Wrong") == str(theirs)
    assert store.run().filter("wrong").count() == theirs, "an open store notices it too"
    assert store.words_of([0]) is not None


def test_a_file_that_went_or_is_none_is_said_on_an_open_page(tmp_path, monkeypatch):
    path = audited(tmp_path / "x.sqlite", range(12))
    kept = shutil.copy(path, tmp_path / "kept")
    app = opened(path, monkeypatch)
    path.unlink()
    assert "No audit yet" in said(app.run().header) and not app.exception
    path.write_text("no database, but longer than a hundred characters" * 9)
    assert "is not an SQLite file" in said(app.run().info)[0] and not app.exception
    # The advice is no command that would fail on it.
    command = app.expander[0].code[0].value.splitlines()[0]
    assert command.endswith(f"audit MODEL DATASET --db {tmp_path / 'x-2.sqlite'}")
    path.write_bytes(b"")
    assert app.run().expander[0].code[0].value.splitlines()[0].endswith(f"--db {path}")
    os.replace(kept, path)
    assert not app.run().info and not app.exception
    assert metric(app, "Examples") == "12"


def test_what_is_written_under_an_open_page_is_shown(tmp_path, monkeypatch):
    path = audited(tmp_path / "x.sqlite", range(12))
    app = opened(path, monkeypatch)
    assert metric(app, "Examples") == "12"
    with open_writer(path) as writer:
        write_all(writer, [example(n) for n in range(20)])
    assert metric(app.run(), "Examples") == "20"


# Which run is this?


def test_the_run_stands_in_the_address_and_a_link_keeps_it(tmp_path, monkeypatch):
    path = audited(tmp_path / "x.sqlite", range(12))
    app = opened(path, monkeypatch)
    assert address(app, "run") == "1"
    with open_writer(path) as writer:
        write_all(writer, [example(n) for n in range(9)], settings=type(SETTINGS)(steps=9))
    assert address(app.run(), "run") == "1", "a run that comes does not take its place"
    assert metric(opened(path, monkeypatch, run="1"), "Examples") == "12"
    newest = opened(path, monkeypatch)
    assert address(newest, "run") == "2" and metric(newest, "Examples") == "9"
    newest.selectbox(key="run-widget").set_value("1").run()
    assert address(newest, "run") == "1" and metric(newest, "Examples") == "12"
    go_back(newest, run="2")
    assert metric(newest, "Examples") == "9", "an address that was gone back to holds"
    newest.switch_page("app_pages/errors.py").run()
    assert address(newest, "run") == "2"


@pytest.mark.parametrize("asked", ["77", "abc", "-1"])
@pytest.mark.parametrize("page", ["overview", "errors"])
def test_a_link_to_a_run_that_is_not_there_says_so(asked, page, tmp_path, monkeypatch):
    app = opened(audited(tmp_path / "x.sqlite", range(12)), monkeypatch, page, run=asked)
    assert said(app.warning) == [f"This link names run {asked}; this file has run 1."]
    assert not app.metric and not tables_of(app)
    button(app, "Show run 1").click().run()
    assert not app.warning and address(app, "run") == "1"
    assert not app.exception


def test_a_run_that_went_under_an_open_page_is_said(tmp_path, monkeypatch):
    path = audited(tmp_path / "x.sqlite", range(12), runs=2)
    app = opened(path, monkeypatch, run="2")
    os.replace(audited(tmp_path / "other", range(12)), path)
    assert said(app.run().warning) == ["This link names run 2; this file has run 1."]


def test_a_link_to_a_file_that_is_not_there_says_so(tmp_path, monkeypatch):
    path = audited(tmp_path / "x.sqlite", range(12))
    audited(tmp_path / "y.sqlite", range(9), runs=2)
    app = opened(path, monkeypatch, db="../z.sqlite", run="1")
    assert said(app.warning) == [
        "This link names database ../z.sqlite; the dashboard has databases x.sqlite and y.sqlite."
    ]
    assert not app.metric
    button(app, "Show database x.sqlite").click().run()
    assert metric(app, "Examples") == "12" and address(app, "db") is None
    app.selectbox(key="db-widget").set_value("y.sqlite").run()
    assert metric(app, "Examples") == "9"
    assert (address(app, "db"), address(app, "run")) == ("y.sqlite", "2")
    assert metric(opened(path, monkeypatch, db="y.sqlite", run="1"), "Examples") == "9"


# What is typed is what is saved


def test_a_slice_saved_twice_is_what_was_typed_last(tmp_path, monkeypatch):
    path = audited(tmp_path / "x.sqlite", range(12))
    app = opened(path, monkeypatch, "errors", where="right")
    app.switch_page("app_pages/slices.py").run()
    for where, note in (("wrong", "one"), ("confidence>0.5", "two"), ("right", "three")):
        app.text_input(key="slice_name").set_value("mine")
        app.text_input(key="slice_where").set_value(where)
        app.text_input(key="slice_note").set_value(note)
        button(app, "Save").click().run()
        kept = open_store(path).slices()
        assert kept[["name", "where", "note"]].values.tolist() == [["mine", where, note]]
        assert f'Saved “mine”: filter "{where}", note "{note}".' in said(app.success)[0]


# What the address keeps


def test_nothing_but_navigation_writes_the_address_or_ends_a_page():
    """A bound widget replaces the history entry before it; after st.stop none can be told."""
    for file in (ROOT / "app_pages").glob("*.py"):
        source = file.read_text(encoding="utf-8")
        for forbidden in ('bind="query-params"', "st.query_params", "st.stop("):
            assert forbidden not in source, f"{file.name}: {forbidden}; see navigation.py"


def test_a_filter_in_a_link_lasts_over_pages_and_back_holds(tmp_path, monkeypatch):
    path = audited(tmp_path / "x.sqlite", range(12))
    app = opened(path, monkeypatch, where="right")
    app.query_params.clear()
    for page in ("errors", "words", "layers", "example", "errors"):
        app.switch_page(f"app_pages/{page}.py").run()
        assert app.text_input(key="where").value == "right" == address(app, "where"), page
    app.selectbox(key="sort").set_value("shortest").run()
    assert address(app, "sort") == "shortest"
    go_back(app, run="1", where="confidence>0.1")
    assert app.text_input(key="where").value == "confidence>0.1"
    assert app.selectbox(key="sort").value == "most confident", "left out is at its default"
    go_back(app, run="1")
    assert app.text_input(key="where").value == "wrong"


def test_what_a_link_names_and_is_not_there_is_said(tmp_path, monkeypatch):
    path = audited(tmp_path / "x.sqlite", range(12))
    app = opened(path, monkeypatch)
    app.query_params["layer"] = "99"
    app.switch_page("app_pages/errors.py").run()
    assert "layer '99'" in said(app.toast)[0]


def test_the_page_calls_it_label_and_an_address_that_calls_it_gold_holds(tmp_path, monkeypatch):
    path = audited(tmp_path / "x.sqlite", range(12))
    wrong = open_store(path).run().filter("wrong").examples()["id"].iloc[0]
    app = opened(path, monkeypatch)
    app.query_params.update({"id": wrong, "target": "gold"})
    app.switch_page("app_pages/example.py").run()
    (chosen,) = (one for one in app.button_group if one.label == "Explained class")
    assert chosen.value == "gold" == address(app, "target")
    assert chosen.options == ["predicted", "label", "contrast"]
    assert "gold" not in chosen.proto.help
