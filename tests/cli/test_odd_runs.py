"""Every command ends in a table or a sentence, whatever the run is like."""

import shutil

import pytest
from streamlit.testing.v1 import AppTest

from tests.support.command_line import ended
from tests.support.components import go_back, unreadable_of
from tests.support.odd_runs import ODD
from tests.support.paths import DASHBOARD

COMMANDS = {
    "runs": [],
    "info": [],
    "layers": [],
    "errors": [],
    "words": [],
    "suspects": ["--effect-examples", "0", "--null", "2"],
    "export": ["--output", "OUT.jsonl", "--force"],
    "report": ["--output", "OUT.html", "--force"],
    "slices": ["discover"],
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return the file of an odd run, made once."""
    folder, made = tmp_path_factory.mktemp("odd"), {}

    def file(name):
        if name not in made:
            made[name] = folder / f"{len(made)}.sqlite"
            ODD[name](made[name])
        return made[name]

    return file


@pytest.mark.parametrize("name", ODD)
def test_every_command_ends_in_a_table_or_a_sentence(name, files, tmp_path):
    faults = {}
    for command, more in COMMANDS.items():
        for extra in ([],) if command == "report" else ([], ["--json"]):
            more = [one.replace("OUT", str(tmp_path / command)) for one in more]
            try:
                said = ended(command, *more, "--db", files(name), *extra)
                assert said.strip() and "None" not in said
                assert not extra or said.startswith("{") or "{" not in said
            except Exception as error:
                faults[command, *extra] = f"{type(error).__name__}: {error}"
    assert not faults


WITH_MODEL = {
    "evaluate": ["--examples", "2", "--mosaics", "2", "--quiet"],
    "what-if": ["good bad", "--drop", "good"],
    "what-if of a word": ["--drop", "good", "--limit", "3"],
}


@pytest.fixture(scope="module")
def model_like(tmp_path_factory):
    """Return a function that returns a tiny model with a run's classes, task and layers."""
    from saliency_core.model.loading import load_classifier
    from tests.support.tiny_models import save_tiny

    folder, made = tmp_path_factory.mktemp("models"), {}
    problems = {"multi-label": "multi_label_classification", "regression": "regression"}

    def model(run):
        key = run.model.task, tuple(run.label_names)
        if key not in made:
            name, head = save_tiny(
                "bert",
                folder / str(len(made)),
                num_hidden_layers=run.model.layers,
                num_labels=len(run.label_names),
                id2label=dict(enumerate(run.label_names)),
                problem_type=problems.get(run.model.task),
            )
            made[key] = load_classifier(name, lm_head=head)
        return made[key]

    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_every_command_that_runs_the_model_does_too(name, files, model_like, tmp_path, monkeypatch):
    from saliency_core.evaluation import evaluate
    from saliency_core.model import audited

    faults, copy = {}, shutil.copy(files(name), tmp_path)
    for module in (audited, evaluate):
        monkeypatch.setattr(module, "classifier_of", lambda run, model=None: model_like(run))
    for command, more in WITH_MODEL.items():
        for extra in ([], ["--json"]):
            try:
                said = ended(command.split()[0], *more, "--db", copy, *extra)
                assert said.strip() and "None" not in said
            except Exception as error:
                faults[command, *extra] = f"{type(error).__name__}: {error}"
    assert not faults


PAGES = (
    "overview",
    "errors",
    "example",
    "layers",
    "words",
    "suspects",
    "slices",
    "data",
    "what_if",
    "compare",
)


EVERYTHING = "failed OR -failed"
"""The filter of all examples, those without a result too."""


def faults_of(app):
    return [one.stack_trace for one in app.exception] or unreadable_of(app)


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_every_page_shows_an_odd_run_without_a_traceback(name, files, monkeypatch):
    monkeypatch.setenv("SALIENCY_DB", str(files(name)))
    app, faults = AppTest.from_file(DASHBOARD, default_timeout=60).run(), {}
    for page in PAGES:
        app.switch_page(f"app_pages/{page}.py").run()
        faults[page] = faults_of(app)
        if page in ("errors", "example"):
            faults[page, EVERYTHING] = faults_of(go_back(app, where=EVERYTHING))
    faults = {place: found for place, found in faults.items() if found}
    assert not faults
