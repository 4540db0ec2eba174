"""What the shell sees: rows in a pipe, whole sentences, exit statuses, files that stay."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from saliency_core.cli import app
from saliency_core.cli.tables import megabytes
from saliency_core.errors import UserError
from saliency_core.progress import duration
from saliency_core.store import open_store, open_writer
from tests.support.store_made_up import example, write_all

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("ways") / "a.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(row) for row in range(40)])
    return path


def shell(*arguments, program="", **options):
    """Run the program as a shell does; with `program`, as an installed script of that name."""
    environment = {**os.environ, "SALIENCY_PROGRAM": program}
    if not program:
        del environment["SALIENCY_PROGRAM"]
    command = [sys.executable, "-m", "saliency_core", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment, **options
    )


def piped(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert not done.exception, done.exception
    return done


def test_a_pipe_gets_one_line_per_row_and_nothing_else(database):
    rows = json.loads(piped("errors", "--db", database, "--json").stdout)["rows"]
    done = piped("errors", "--db", database)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0] == ["id", "gold", "predicted", "confidence", "words", "text"]
    assert [line[0] for line in lines[1:]] == [row["id"] for row in rows]
    assert {len(line) for line in lines} == {6}
    for line, row in zip(lines[1:], rows, strict=True):
        assert float(line[3]) == pytest.approx(row["confidence"], rel=1e-5)
    assert f"{len(rows)} of {len(rows)} misclassified" in done.stderr


def test_a_terminal_gets_a_table_with_formatted_numbers(database):
    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "saliency_core", "info", "--db", str(database)]
    environment = {**os.environ, "COLUMNS": "200"}
    with subprocess.Popen(command, stdout=terminal, stderr=terminal, cwd=ROOT, env=environment):
        os.close(terminal)
        shown = b""
        try:
            while chunk := os.read(master, 4096):
                shown += chunk
        except OSError:  # the other end was closed
            pass
    os.close(master)
    text = shown.decode()
    size = open_store(database).info()["runs"][0]["bytes"]
    assert megabytes(size) in text and str(size) not in text and "\t" not in text


def test_numbers_as_people_read_them():
    assert [megabytes(n) for n in (498842, 5_000_000, 3e9)] == ["499 kB", "5.0 MB", "3.0 GB"]
    assert [duration(n) for n in (8.06, 100, 7500)] == ["8 s", "2 min", "2 h 5 min"]


@pytest.mark.parametrize("program", ["", "saliency"])
def test_a_sentence_stays_in_one_piece_and_names_the_program_as_it_was_called(program, tmp_path):
    folder = tmp_path / ("a long name " * 12)
    done = shell("layers", "--db", folder / "no.sqlite", program=program)
    assert done.returncode == 2 and done.stdout == ""
    called = program or "python -m saliency_core"
    assert f"`{called} audit MODEL DATASET --db {folder / 'no.sqlite'}`." in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wrong_option_is_one_sentence_too():
    done = shell("errors", "--limti", "3")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "--limti" in done.stderr and "errors --help` lists the options" in done.stderr


def test_help_has_groups_and_examples_with_the_name_of_the_program():
    shown = shell("audit", "--help", program="saliency").stdout
    headings = re.findall(r"^(\w[\w ]*):$", shown, re.M)
    assert headings[:3] == ["Arguments", "Columns", "Dataset"] and headings[-1] == "Examples"
    assert len(re.findall(r"^  saliency audit .+$", shown, re.M)) >= 2
    assert "┃" not in shown and "│" not in shown


def test_ctrl_c_says_how_far_it_was_and_exits_130(tmp_path):
    code = (
        "import os, signal, sys\n"
        # A shell lets what it starts in the background ignore the signal.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from saliency_core.cli import app, main\n"
        "from saliency_core.cli.progress_bar import GOES_ON, progress_bar\n"
        "@app.command('wait')\n"
        "def wait():\n"
        "    with progress_bar(False, 'auditing', when_stopped=GOES_ON) as bar:\n"
        "        bar('auditing', 32, 60)\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        sys.exit('went on')\n"
        "sys.argv = ['saliency', 'wait']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr.splitlines()[-1] == (
        "Stopped after 32 of 60 (auditing). What was computed is kept; the same command goes on "
        "from there."
    )


WRITING = {
    "export": ["export", "-o", "OUT.jsonl", "--db", "DB"],
    "report": ["report", "-o", "OUT.html", "--db", "DB"],
    "checks": ["checks", "write", "-o", "OUT.jsonl", "--word", "nice", "--db", "DB"],
    "annotations": ["annotations", "export", "-o", "OUT.json", "--db", "DB"],
    "debias": ["debias", "TRAIN", "-o", "OUT.jsonl", "--word", "nice"],
}


@pytest.fixture
def train(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"text": f"nice {n}", "label": n}) + "\n" for n in range(9)))
    return path


@pytest.mark.parametrize("name", WRITING)
def test_a_file_is_overwritten_with_force_only(name, database, train, tmp_path):
    def call(*more):
        words = {"DB": str(database), "TRAIN": str(train)}
        named = [part.replace("OUT", str(tmp_path / "out")) for part in WRITING[name]]
        given = [words.get(part, part) for part in named]
        return CliRunner().invoke(app, [*given, *more])

    output = next(part for part in WRITING[name] if part.startswith("OUT"))
    output = Path(output.replace("OUT", str(tmp_path / "out")))
    output.write_text("what a person wrote")
    refused = call()
    assert isinstance(refused.exception, UserError) and "--force" in str(refused.exception)
    assert output.read_text() == "what a person wrote"
    assert not call("--force").exception and output.read_text() != "what a person wrote"


@pytest.mark.parametrize("name", ["the same", "a link", "another way to write it"])
def test_what_is_read_is_never_overwritten(name, train, database, tmp_path):
    (tmp_path / "link.jsonl").symlink_to(train)
    output = {
        "the same": train,
        "a link": tmp_path / "link.jsonl",
        "another way to write it": tmp_path / ".." / tmp_path.name / "train.jsonl",
    }[name]
    before = train.read_bytes()
    command = ["debias", train, "-o", output, "--word", "nice", "--force"]
    done = CliRunner().invoke(app, [*map(str, command)])
    assert isinstance(done.exception, UserError) and "is what is read here" in str(done.exception)
    assert train.read_bytes() == before
    # A new file in a folder that is read would be read the next time.
    command = ["debias", tmp_path, "-o", tmp_path / "new.jsonl", "--word", "nice", "--force"]
    assert "is what is read" in str(CliRunner().invoke(app, [*map(str, command)]).exception)
    bytes_of_database = database.read_bytes()
    for command in ("export", "report"):
        given = [command, "-o", database, "--db", database, "--force", "--format"]
        given.append({"export": "jsonl", "report": "html"}[command])
        assert CliRunner().invoke(app, [*map(str, given)]).exception
    assert database.read_bytes() == bytes_of_database


def test_tokens_is_another_name_of_words(database):
    outputs = [piped(name, "--db", database).stdout for name in ("words", "tokens")]
    assert outputs[0] == outputs[1] and outputs[0].startswith("word\tclass\t")
    assert "tokens" not in shell("--help").stdout
