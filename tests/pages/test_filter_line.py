"""The filter line as it answers, and a file that changes under an open page."""

import os
import shutil

import pytest
from streamlit.testing.v1 import AppTest

from saliency_core.store import open_store, open_writer, save_slice
from tests.support.components import painted_rows_of
from tests.support.paths import DASHBOARD
from tests.support.store_made_up import SETTINGS, example, write_all

os.environ["STREAMLIT_CLIENT_SHOW_ERROR_DETAILS"] = "full"
PAGES = [
    *["overview", "errors", "example", "layers", "words"],
    *["suspects", "slices", "data", "what_if", "compare", "new_audit"],
]


def written(path, first, last, settings=SETTINGS):
    with open_writer(path) as writer:
        write_all(writer, [example(position) for position in range(first, last)], settings=settings)
    return path


@pytest.fixture
def database(tmp_path):
    return written(tmp_path / "a.sqlite", 0, 40)


def opened(page, database, monkeypatch, where=None):
    monkeypatch.setenv("SALIENCY_DB", str(database))
    app = AppTest.from_file(DASHBOARD, default_timeout=30)
    app.run()
    if page != "overview":
        app.switch_page(f"app_pages/{page}.py").run()
    if where is not None:
        app.text_input(key="where").set_value(where).run()
    assert not app.exception
    return app


def line(app):
    return app.text_input(key="where").value


def counted(app):
    """Return how many examples the page says the filter fits."""
    (said,) = (one.value for one in app.markdown if "examples (" in one.value)
    return int(said.removeprefix("**").split("**")[0].replace(",", ""))


def button(app, label):
    (found,) = (one for one in app.button if one.label == label)
    return found


def test_a_row_says_what_the_filter_does_not_say_and_names_what_has_no_text(tmp_path, monkeypatch):
    path = tmp_path / "a.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [*map(example, range(20)), example(20, "")])
    app = opened("errors", path, monkeypatch)
    assert line(app) == "wrong" and not any(row["wrong"] for row in painted_rows_of(app))
    app.text_input(key="where").set_value("").run()
    rows = painted_rows_of(app)
    wrong = open_store(path).run().filter("wrong").examples()["id"]
    assert {row["id"] for row in rows if row["wrong"]} == set(wrong)
    assert {row["about"].split(":")[0] for row in rows} <= {"Top words", ""}
    assert [row["id"] for row in rows if row["isBlank"]] == ["id-20"]


def told(app):
    return [one.value.replace("\\", "") for one in app.error]


def test_a_mistake_is_told_with_a_button_that_puts_it_right_above_the_last_good_result(
    database, monkeypatch
):
    run = open_store(database).run()
    app = opened("errors", database, monkeypatch, "right")
    app.text_input(key="where").set_value("wrng gold:postive").run()
    assert told(app) == [
        "Character 1: 'wrng' isn't a filter term, and no text contains this word. Did you mean",
        "Character 11: 'postive' is not a label; the labels are negative, positive and not sure."
        " Did you mean",
    ]
    assert counted(app) == run.filter("right").count()
    assert any("last valid filter: right" in one.value for one in app.caption)
    button(app, "wrong").click().run()
    assert line(app) == "wrong gold:postive"
    button(app, "positive").click().run()
    assert line(app) == "wrong gold:positive"
    assert not app.error
    assert counted(app) == run.filter("wrong gold:positive").count()


def test_the_line_says_what_is_looked_for_and_a_chip_takes_a_term_off(database, monkeypatch):
    app = opened("errors", database, monkeypatch, "not wrong and people , nice region : EU")
    assert line(app) == "-wrong word:people,nice meta.region:EU"
    chips = [one.label.replace("\\", "") for one in app.button if one.key.startswith("chip-")]
    assert chips == ["-wrong", "word:people,nice", "meta.region:EU"]
    app.button(key="chip-1").click().run()
    assert line(app) == "-wrong meta.region:EU"


def test_a_value_that_never_occurs_names_those_that_do(database, monkeypatch):
    app = opened("errors", database, monkeypatch, "region:EUU")
    (said, _) = (one.value.replace("\\", "") for one in app.info)
    assert said == "region is never 'EUU'; its values are EU, US and quo'te. Did you mean"
    button(app, "EU").click().run()
    assert line(app) == "meta.region:EU"
    assert counted(app) == 10
    app.text_input(key="where").set_value("wrong right").run()
    assert any("Each term by itself matches: wrong" in one.value for one in app.caption)


@pytest.mark.parametrize("page", ["example", "layers", "words"])
def test_every_page_with_a_filter_goes_on_below_a_mistake(page, database, monkeypatch):
    app = opened(page, database, monkeypatch, "wrng")
    assert len(told(app)) == 1
    assert any("last valid filter" in one.value for one in app.caption)


@pytest.mark.parametrize("page", PAGES)
def test_a_file_that_is_replaced_deleted_or_written_is_noticed(
    page, database, tmp_path, monkeypatch
):
    other = written(tmp_path / "elsewhere" / "b.sqlite", 100, 130, type(SETTINGS)(steps=9))
    app = opened(page, database, monkeypatch)

    def says(sentence):
        app.run()
        assert not app.exception
        return any(sentence in one.value for one in (*app.info, *app.warning))

    shutil.move(other, database)
    assert says("is no longer the same file")
    assert not says("is no longer the same file")
    kept = shutil.copy(database, tmp_path / "kept")
    database.unlink()
    assert says("is gone: it was moved or deleted")
    shutil.move(kept, database)
    assert not says("is no longer the same file")
    assert not says("is gone")
    # What is written by ourselves, or by an audit that goes on, is no other file.
    save_slice(database, "hard", "wrong")
    assert not says("is no longer the same file")


def test_numbers_are_those_of_the_file_that_took_the_place(database, tmp_path, monkeypatch):
    app = opened("errors", database, monkeypatch, "")
    assert counted(app) == 40
    shutil.move(written(tmp_path / "elsewhere" / "b.sqlite", 100, 130), database)
    app.run()
    assert counted(app) == 30
