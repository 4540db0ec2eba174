"""New audit: what is guessed, what is asked, what is started, and how it ended."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from saliency_core.data.labels.label_map import parse_label_map
from saliency_core.server import commands
from saliency_core.server.audit_request import AuditRequest
from tests.support.paths import DASHBOARD

LABELS = ("negative", "positive")


@pytest.fixture
def started(monkeypatch):
    """Return the list of audits that were started; none of them runs."""
    found = []

    def start(folder, name, arguments, database, command=("audit",), form=None):
        folder.mkdir(parents=True, exist_ok=True)
        found.append(commands.Job(name, 0, arguments, str(database), "", command, 0.0, form or {}))
        return found[-1]

    monkeypatch.setattr(commands, "start", start)
    return found


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """Return the dashboard over an empty folder."""
    monkeypatch.setenv("SALIENCY_DB", str(tmp_path / "cache" / "mine.sqlite"))
    return AppTest.from_file(DASHBOARD, default_timeout=60).run()


@pytest.fixture
def page(empty, tmp_path):
    """Return the page, a model named of which only the configuration can be read."""
    folder = tmp_path / "classifier"
    folder.mkdir()
    names = {str(number): label for number, label in enumerate(LABELS)}
    (folder / "config.json").write_text(json.dumps({"id2label": names}))
    # AppTest can't type a new option into a select.
    empty.session_state["audit_values"] = {"model": str(folder)}
    return empty.switch_page("app_pages/new_audit.py").run()


def write(path, **columns):
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def reviews(path, **more):
    texts = [f"this is what person {n} wrote" for n in range(30)]
    return write(path, comment=texts, **more)


def fill(app, source):
    app.text_input(key="audit_field_typed").set_value(source).run()
    assert not app.exception
    return app


def press(app, label):
    next(one for one in app.button if one.label == label).click().run()
    assert not app.exception, app.exception
    return app


def chosen(app, role):
    return app.selectbox(key=f"audit_field_{role}").value


def test_columns_are_those_of_all_rows_and_none_is_the_text_by_default(page, tmp_path):
    rows = [{"text": "a film", "by": "kim"}] + [{"text": "a plot", "label": "good"}] * 20
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "b.csv").write_text("title,body\na film,a plot\n")
    fill(page, str(tmp_path / "a.jsonl"))
    assert (chosen(page, "text"), chosen(page, "label")) == ("text", "label")
    fill(page, str(tmp_path / "b.csv"))
    assert chosen(page, "text") is None


def test_columns_are_guessed_by_values_and_marked_as_guesses(page, tmp_path):
    """As in H2a: by names the text would be boilerplate and the label the kind of item."""
    source = reviews(
        tmp_path / "a.jsonl",
        description=["a film that one can buy here", "a disc that one can buy here"] * 15,
        category=["dvd", "film", "tv"] * 10,
        rating=["positive", "negative"] * 15,
    )
    fill(page, source)
    assert (chosen(page, "text"), chosen(page, "label")) == ("comment", "rating")
    assert sum("Guessed** from its values" in one.value for one in page.caption) == 2
    page.selectbox(key="audit_field_text").set_value("description").run()
    assert sum("Guessed** from its values" in one.value for one in page.caption) == 1


def test_without_anything_all_of_it_is_asked_for(empty):
    press(empty.switch_page("app_pages/new_audit.py").run(), "Start")
    told = {one.value.replace("\\", "") for one in empty.error}
    assert {"Upload a file, or name one.", "Name the classifier."} <= told


def test_start_is_always_there_and_says_what_is_missing(page, tmp_path, started):
    press(page, "Start")
    assert "Upload a file" in page.warning[0].value
    fill(page, reviews(tmp_path / "a.jsonl", note=[f"another text {n}" for n in range(30)]))
    assert "column that contains the text" in page.warning[0].value and not started
    page.selectbox(key="audit_field_text").set_value("comment").run()
    assert not page.warning and not started, "it starts when it is asked to, not before"
    press(page, "Start")
    assert len(started) == 1 and "--text-column=comment" in started[0].arguments
    assert started[0].database == str(tmp_path / "cache" / "mine.sqlite")


def test_labels_that_do_not_fit_are_a_table_with_another_column_and_a_swap(page, tmp_path, started):
    source = reviews(
        tmp_path / "a.jsonl",
        category=["good", "bad"] * 15,
        rating=["Positive", "negative"] * 15,
    )
    fill(page, source)
    page.selectbox(key="audit_field_label").set_value("category").run()
    offers = [one.label for one in page.button if one.label.startswith("Use the column")]
    assert offers == ["Use the column **rating** instead"]
    press(page, "Start")
    assert "mean\\: bad, good" in page.warning[0].value and not started
    for number, meaning in enumerate(("positive", "negative")):
        page.selectbox(key=f"audit_field_means_{number}").set_value(meaning).run()
    press(page, "Swap the labels")
    press(page, "Start")
    option = next(one for one in started[0].arguments if one.startswith("--label-map="))
    assert parse_label_map(option.partition("=")[2]) == {"bad": "negative", "good": "positive"}


def test_labels_named_as_the_models_may_still_mean_something_else(page, tmp_path, started):
    fill(page, reviews(tmp_path / "a.jsonl", rating=["positive", "negative"] * 15))
    press(page, "Say what each label means")
    meanings = [page.selectbox(key=f"audit_field_means_{number}").value for number in range(2)]
    assert meanings == ["negative", "positive"], "at first, what they are called"
    press(page, "Swap the labels")
    press(page, "Start")
    assert started[0].form["label_map"] == {"negative": "positive", "positive": "negative"}


def test_another_label_column_is_used_with_one_click(page, tmp_path, started):
    source = reviews(
        tmp_path / "a.jsonl", category=["good", "bad"] * 15, rating=["positive", "negative"] * 15
    )
    fill(page, source)
    page.selectbox(key="audit_field_label").set_value("category").run()
    press(page, "Use the column **rating** instead")
    assert chosen(page, "label") == "rating"
    press(page, "Start")
    assert "--label-column=rating" in started[0].arguments
    assert not any(one.startswith("--label-map") for one in started[0].arguments)


def test_the_form_keeps_what_was_filled_in_on_the_way_to_another_page(page, tmp_path):
    fill(page, reviews(tmp_path / "a.jsonl"))
    page.switch_page("app_pages/errors.py").run()
    page.switch_page("app_pages/new_audit.py").run()
    assert page.text_input(key="audit_field_typed").value == str(tmp_path / "a.jsonl")
    assert (
        chosen(page, "model") == str(tmp_path / "classifier") and chosen(page, "text") == "comment"
    )


def ended(folder, name, status, printed, form):
    """Write what an audit leaves that ended long ago."""
    place = folder / "cache" / "jobs"
    place.mkdir(parents=True, exist_ok=True)
    log = place / f"{name}.log"
    log.write_text(printed)
    log.with_suffix(".status").write_text(str(status))
    facts = {
        "name": name,
        "pid": 0,
        "arguments": [],
        "database": str(folder / "cache" / "a.sqlite"),
    }
    facts |= {"log": str(log), "command": ["audit"], "started": 0.0, "form": form}
    (place / f"{name}.json").write_text(json.dumps(facts))


FORM = {
    "source": "/secret/uploads/abc/reviews.csv",
    "called": "reviews.csv",
    "text": "comment",
    "label": "rating",
    "model": "m/classifier",
    "name": "a",
}


def test_a_failed_audit_is_called_failed_in_words_of_the_page(page, tmp_path):
    said = (
        "Error: /secret/uploads/abc/reviews.csv: column 'comment' holds a list in row 3, not a "
        "text; choose another with --text-column."
    )
    ended(tmp_path, "a", 2, said, FORM)
    page.run()
    shown = page.error[0].value.replace("\\", "")
    assert "Failed." in shown and "reviews.csv: column 'comment' holds a list in row 3" in shown
    assert "--" not in shown and "/secret" not in shown
    press(page, "Correct and try again")
    assert chosen(page, "model") == "m/classifier" and not page.error[1:]
    assert not list((tmp_path / "cache" / "jobs").glob("*.json"))


def test_a_stopped_audit_says_where_it_goes_on(page, tmp_path, started):
    ended(tmp_path, "a", 130, "auditing (2 of 3): 35 of 100, about 9 s left\nStopped.", FORM)
    page.run()
    told = page.warning[0].value.replace("\\", "")
    assert told == (
        "Stopped while computing the saliency, after 35 of 100. Resume continues from there."
    )
    press(page, "Resume")
    assert started[0].form["called"] == "reviews.csv"


def test_swapped_labels_are_swapped_with_one_click(page, tmp_path, started):
    said = (
        "Error: The labels of the dataset seem to be in another order than the model's: on 60 "
        "examples the model is right on 10%, and on 90% if negative=positive, positive=negative. "
        'Repair it with --label-map "negative=positive,positive=negative", or say --trust-labels '
        "if they are right."
    )
    ended(tmp_path, "a", 2, said, FORM)
    page.run()
    assert "--" not in page.error[0].value
    press(page, "Swap the labels")
    assert AuditRequest.of(started[0].form).label_map == {
        "negative": "positive",
        "positive": "negative",
    }
