"""Audits as processes of their own: arguments stay arguments, sentences reach the page."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

from saliency_core.cli import progress_bar
from saliency_core.errors import UserError
from saliency_core.server import commands


def wait_for(holds, seconds=60):
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_values_never_become_options_or_paths():
    arguments = commands.audit_arguments(
        "--db=/etc/x", "-data.csv", "a.sqlite", {"split": "--quiet", "no-header": True, "limit": ""}
    )
    assert arguments == (
        "--db",
        "a.sqlite",
        "--split=--quiet",
        "--no-header",
        "--",
        "--db=/etc/x",
        "-data.csv",
    )
    assert commands.safe_name("../../etc/pass wd.csv") == "pass_wd.csv"
    assert commands.safe_name("...") == "file"


def test_names_of_any_script_stay_apart():
    names = [
        "报告.jsonl",
        "测试.jsonl",
        "หนัง.csv",
        "หนง.csv",
        "?!.csv",
        "😀.csv",
        "😁.csv",
        "_.csv",
    ]
    names += ["x" * 300 + ".csv.gz", "x" * 301 + ".csv.gz"]
    safe = [commands.safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    assert safe[:2] == names[:2] and safe[-1].endswith(".csv.gz")
    assert all(len(name.encode()) < 200 for name in safe)
    assert all(commands.safe_name(name) == name for name in safe)


def test_two_uploads_of_one_name_are_two_files(tmp_path):
    one, other, again = (
        commands.keep_upload(tmp_path, "a.csv", data) for data in (b"1", b"2", b"1")
    )
    assert one == again != other
    assert (one.read_bytes(), other.read_bytes()) == (b"1", b"2")


@pytest.mark.slow
def test_a_job_that_failed_is_called_so_and_says_why_and_with_what(tmp_path):
    arguments = commands.audit_arguments(
        "model", str(tmp_path / "no.csv"), tmp_path / "a.sqlite", {}
    )
    form = {"text": "review", "label_map": {"1": "good"}}
    job = commands.start(tmp_path / "jobs", "mine", arguments, tmp_path / "a.sqlite", form=form)
    wait_for(lambda: not commands.is_running(job))
    assert commands.jobs(tmp_path / "jobs") == [job]
    assert commands.state(job) == "failed" and commands.jobs(tmp_path / "jobs")[0].form == form
    assert commands.last_words(job).startswith("There is no file")
    commands.forget(tmp_path / "jobs", job)
    assert commands.jobs(tmp_path / "jobs") == []


@pytest.mark.slow
def test_a_running_job_is_stopped(tmp_path, monkeypatch):
    sleeper = [sys.executable, "-c", "import time; 'saliency_core'; time.sleep(60)"]
    monkeypatch.setattr(commands, "_command", lambda *_: sleeper)
    job = commands.start(tmp_path, "sleeper", (), tmp_path / "a.sqlite")
    assert commands.is_running(job)
    commands.stop(job)
    assert not commands.is_running(job)


def test_a_command_that_was_killed_is_no_finished_one(tmp_path, monkeypatch):
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(commands, "_command", lambda *_: sleeper)
    killers = {
        "whole": lambda job: os.killpg(job.pid, signal.SIGKILL),
        "command": lambda job: psutil.Process(job.pid).children()[0].kill(),
    }
    for name, kill in killers.items():
        job = commands.start(tmp_path, name, (), tmp_path / "a.sqlite", command=("suspects",))
        wait_for(lambda job=job: psutil.Process(job.pid).children())
        kill(job)
        wait_for(lambda job=job: not commands.is_running(job))
        assert commands.failure(job).startswith("suspects was killed before it finished")
        assert commands.state(job) == "stopped"


@pytest.mark.parametrize(("code", "failure"), [("0", None), ("'no such thing'", "no such thing")])
def test_a_command_that_ends_says_how(tmp_path, monkeypatch, code, failure):
    command = [sys.executable, "-c", f"import sys; sys.exit({code})"]
    monkeypatch.setattr(commands, "_command", lambda *_: command)
    job = commands.start(tmp_path, "short", (), tmp_path / "a.sqlite", command=("suspects",))
    wait_for(lambda: not commands.is_running(job))
    assert commands.exit_status(job) == (0 if failure is None else 1)
    assert commands.failure(job) == failure
    assert commands.state(job) == ("finished" if failure is None else "failed")


def test_a_later_process_of_the_same_number_is_not_the_job(tmp_path):
    began = psutil.Process().create_time()
    job = commands.Job(
        "mine", os.getpid(), (), "a.sqlite", str(tmp_path / "mine.log"), started=began
    )
    assert commands.is_running(job)
    assert not commands.is_running(replace(job, started=began - 60))


def test_another_command_tells_its_progress_in_lines(tmp_path):
    code = (
        "from saliency_core.cli.progress_bar import progress_bar\n"
        "with progress_bar(False, 'checking', 'deleting words') as bar:\n"
        "    bar('deleting words', 0, 30)\n"
        "    bar('deleting words', 30, 30)"
    )
    job = commands.Job("mine", 0, (), "a.sqlite", str(tmp_path / "mine.log"), ("suspects",))
    assert commands.step(job) is None
    with open(job.log, "w") as log:
        subprocess.run([sys.executable, "-c", code], stderr=log, check=True)
    assert commands.step(job) == commands.Step("deleting words", 30, 30, 2, 2, "")


def test_lines_of_progress_tell_stage_count_and_time_left(tmp_path, monkeypatch, capsys):
    """What the bar prints is what the dashboard reads."""
    clock = iter([0, 10, 20, 40, 40.1, 40.2])
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: next(clock))
    bar = progress_bar.Bar(False, ["checking", "auditing"])
    for done in (0, 25, 50, 100):
        bar("auditing", done, 100)
    bar("auditing", 100, 100)
    bar("comparing rows", 3, None)
    printed = capsys.readouterr().err
    assert printed.splitlines() == [
        "auditing (2 of 2): 0 of 100",
        "auditing (2 of 2): 25 of 100, about 30 s left",
        "auditing (2 of 2): 50 of 100, about 20 s left",
        "auditing (2 of 2): 100 of 100",
        "comparing rows: 3 of ?",
    ]
    job = commands.Job("mine", 0, (), "a.sqlite", str(tmp_path / "mine.log"))
    (tmp_path / "mine.log").write_text("\n".join(printed.splitlines()[:2]))
    step = commands.step(job)
    assert step == commands.Step("auditing", 25, 100, 2, 2, "about 30 s left")
    assert step.part == 0.25 and step.sentence() == "25 of 100, about 30 s left"


def test_the_command_of_a_job_is_remembered(tmp_path):
    job = commands.start(
        tmp_path, "list", ("--db=no.sqlite",), "no.sqlite", command=("slices", "list")
    )
    wait_for(lambda: not commands.is_running(job))
    assert commands.jobs(tmp_path) == [job]
    assert "There is no database at no.sqlite" in commands.last_words(job)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="can't be written"):
        commands.keep_upload(tmp_path / "uploads", "a.csv", b"1")


def test_a_folder_in_the_place_of_which_a_file_stands_is_a_sentence(tmp_path):
    (tmp_path / "uploads").touch()
    with pytest.raises(UserError, match="can't be written"):
        commands.keep_upload(tmp_path / "uploads", "a.csv", b"1")
