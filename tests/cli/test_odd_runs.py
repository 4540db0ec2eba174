"""Every command ends in a table or a sentence, whatever the run is like."""

import pytest
from streamlit.testing.v1 import AppTest

from tests.support.command_line import ended
from tests.support.odd_runs import ODD
from tests.support.paths import DASHBOARD

COMMANDS = {
    "runs": [],
    "info": [],
    "layers": [],
    "errors": [],
    "tokens": [],
    "suspects": ["--effect-examples", "0", "--null", "2"],
    "export": ["--output", "OUT.jsonl"],
    "report": ["--output", "OUT.html"],
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


PAGES = (
    "overview",
    "errors",
    "example",
    "layers",
    "words",
    "suspects",
    "slices",
    "what_if",
    "compare",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_every_page_shows_an_odd_run_without_a_traceback(name, files, monkeypatch):
    monkeypatch.setenv("SALIENCY_DB", str(files(name)))
    app, faults = AppTest.from_file(DASHBOARD, default_timeout=60).run(), {}
    for page in PAGES:
        app.switch_page(f"app_pages/{page}.py").run()
        if app.exception:
            faults[page] = [one.stack_trace for one in app.exception]
    assert not faults
