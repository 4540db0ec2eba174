"""The page Data: before and after the checks, and what is decided there."""

from streamlit.testing.v1 import AppTest

from app_components.session import here
from saliency_core.data.dataset import load_examples
from saliency_core.quality.duplicates import duplicate_groups
from saliency_core.quality.findings import check_data
from saliency_core.store import open_store
from tests.pages.test_pages import database  # noqa: F401  a small audit
from tests.support.components import tables_of
from tests.support.paths import DASHBOARD


def opened(path, monkeypatch):
    monkeypatch.setenv("SALIENCY_DB", str(path))
    app = AppTest.from_file(DASHBOARD, default_timeout=30).run()
    app.switch_page("app_pages/data.py").run()
    assert not app.exception
    return app


def test_the_page_offers_the_checks_and_then_shows_and_keeps(database, monkeypatch):  # noqa: F811
    app = opened(database, monkeypatch)
    assert "not been checked yet" in app.info[0].value
    assert any(button.label == "Check the data" for button in app.button)
    run = open_store(database).run()
    train = load_examples(run.dataset.source, id_column="none")
    found = check_data(run, train=train)
    assert found.facts["train"]["leaked"] == len(run.columns)
    app = opened(database, monkeypatch)
    tables = tables_of(app)
    assert len(tables) >= 4
    headings = [heading.value for heading in app.header]
    assert headings == ["Labels that may be wrong", "Duplicates", "Training data", "Classes"]
    assert "in the training data" in app.warning[0].value


def test_decisions_are_kept_in_the_file(database, monkeypatch):  # noqa: F811
    run = open_store(database).run()
    check_data(run)
    issue = run.filter("label_issue").examples(sort="label_quality").iloc[0]
    group = duplicate_groups(run).iloc[0]
    app = opened(database, monkeypatch)
    app.session_state[f"issue-{here(run)}"] = issue["id"]
    app.session_state[f"group-{here(run)}"] = int(group["group"])
    app.run()
    button(app, "Relabel as").click().run()
    assert not app.exception and "is now labelled" in app.success[0].value
    assert run.annotation(int(issue["example"]))["label"] == issue["predicted"]
    button(app, f"{issue['gold']} is right".replace("_", r"\_")).click().run()
    assert run.annotation(int(issue["example"]))["decision"] == "right"
    button(app, "Drop the other").click().run()
    assert not app.exception
    assert run.filter("tag:drop").count() == group["size"] - 1
    assert run.filter(f"tag:drop id:{group['ids'][0]}").count() == 0


def button(app, label):
    """Return the button whose label begins so."""
    return next(button for button in app.button if button.label.startswith(label))
