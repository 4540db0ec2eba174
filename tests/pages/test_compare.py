"""Compare: before and after, who is better, where, and the way to both runs of one example."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from app_components import session
from saliency_core.analysis.run_comparison import by_group, compare, verdict
from saliency_core.store import open_store
from tests.support.components import tables_of
from tests.support.paths import DASHBOARD
from tests.support.word_model import WordModel, audited_store, compared_store, examples, of_kind


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return compared_store(tmp_path_factory.mktemp("compare") / "a.sqlite").path


def opened(database, monkeypatch, page="compare", **address):
    monkeypatch.setenv("SALIENCY_DB", str(database))
    app = AppTest.from_file(DASHBOARD, default_timeout=30).run()
    for name, value in address.items():
        app.query_params[name] = value
    app.switch_page(f"app_pages/{page}.py").run()
    assert not app.exception
    return app


def test_the_older_run_is_before_and_swap_turns_them_round(database, monkeypatch):
    before, after = (open_store(database).run(number) for number in (1, 2))
    app = opened(database, monkeypatch)
    assert app.header[0].value.replace("\\", "") == verdict(
        compare(before, after), "biased", "control"
    )
    tiles = {metric.label: metric.value for metric in app.metric}
    assert tiles["Before"] == f"{before.accuracy:.1%}"
    assert tiles["After"] == f"{after.accuracy:.1%}"
    fixed = len(of_kind(compare(before, after), "fixed"))
    assert tiles["Newly right"] == str(fixed) and fixed > 0
    next(button for button in app.button if button.label == "Swap").click().run()
    assert not app.exception
    assert (app.query_params["before"], app.query_params["after"]) == ("2", "1")
    assert {metric.label: metric.value for metric in app.metric}["Newly wrong"] == str(fixed)


def test_a_run_chosen_on_both_sides_changes_places_with_the_other(database, monkeypatch):
    app = opened(database, monkeypatch)
    next(box for box in app.selectbox if box.label == "Before").set_value("2").run()
    assert (app.query_params["before"], app.query_params["after"]) == ("2", "1")


def test_the_filter_narrows_all_and_groups_are_those_of_the_core(database, monkeypatch):
    before, after = (open_store(database).run(number) for number in (1, 2))
    app = opened(database, monkeypatch)
    app.text_input(key="where").set_value("word:kindly").run()
    found = compare(before, after, "word:kindly").difference
    assert {metric.label: metric.value for metric in app.metric}["Before"] == (
        f"{found['before']:.1%}"
    )
    groups = by_group(before, after, "word:kindly")
    (shown,) = [table for table in tables_of(app) if "group" in table]
    assert shown["group"].tolist() == groups["name"].tolist()


def test_an_example_shows_both_runs_where_a_comparison_led_to_it(database, monkeypatch):
    found = compare(*(open_store(database).run(number) for number in (1, 2)))
    row = open_store(database).run(2).examples_at(of_kind(found, "fixed")[:1]).iloc[0]
    app = opened(database, monkeypatch, "example", id=row["id"], run="2", other="1", where="right")
    (heads,) = [heads for heads in (heads_of(part) for part in app.get("bidi_component")) if heads]
    assert heads[0].startswith("biased: positive") and heads[0].endswith("✗")
    assert heads[1].startswith(f"control: {row['gold']}") and heads[1].endswith("✓")
    assert any(button.label == "Back to the comparison" for button in app.button)
    alone = opened(database, monkeypatch, "example", id=row["id"])
    assert not any(heads_of(part) for part in alone.get("bidi_component"))


def heads_of(component) -> list[str]:
    """Return what stands above the columns of the first of the painted rows."""
    rows = json.loads(component.proto.json).get("rows")
    columns = rows[0]["columns"] if isinstance(rows, list) else []
    return [column[0][0][0] for column in columns if column[0][0][1] == "head"]


def test_one_run_leads_to_a_second_audit_with_its_values(tmp_path, monkeypatch):
    store = audited_store(tmp_path / "a.sqlite", WordModel(4.0), examples(12, {}))
    led = []
    monkeypatch.setattr(session, "go_to", lambda page, **values: led.append((page, values)))
    app = opened(store.path, monkeypatch)
    next(button for button in app.button if "second model" in button.label).click().run()
    assert led == [("new_audit", {})]
    filled = app.session_state["audit_values"]
    assert filled["source"] == store.run().dataset.source and filled["text"] == "text"
    assert filled["into"] == str(store.path) and not filled.get("model")
