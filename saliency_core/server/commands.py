"""Commands that run as processes of their own, started from the dashboard, stopped and resumed.

A job is the command line itself; what it prints goes to a log file, what it computes into the
database, so that nothing is lost when dashboard or job are closed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from saliency_core.atomic import replacing
from saliency_core.errors import UserError
from saliency_core.records import record_of

UNSAFE = re.compile(r"[^\w.-]+")
LONGEST_NAME = 120
"""Bytes of a file name; systems allow 255, and endings are added."""
STEP = re.compile(
    r"^(.+?)(?: \((\d+) of (\d+)\))?: (\d+) of (\d+|\?)(?:, (about .+ left))?$", re.MULTILINE
)
"""A line of progress, as `cli.progress_bar.Bar` prints it to a log."""
RUN = re.compile(r"\(run (\d+)\)[:.]")
KEEPER = """trap : INT; "$@"; status=$?; echo $status >"$0.part"; mv "$0.part" "$0"; exit $status"""
"""A shell around the command: its exit status outlives whoever started it."""
SHELL_SIGNAL = 128
"""What a shell adds to the number of the signal that ended a command."""
INTERRUPTED = SHELL_SIGNAL + signal.SIGINT
"""The exit status of a command that somebody stopped."""
PATIENCE = 10.0
"""Seconds that a job has to end by itself."""
CLOCK = 5.0
"""Seconds by which a clock that is set may move the start of a process."""
Options = Mapping[str, str | int | bool | None]


@dataclass(frozen=True)
class Job:
    """One command that was started, an audit in most cases."""

    name: str
    pid: int
    arguments: tuple[str, ...]
    """What stands behind `python -m saliency_core COMMAND`."""
    database: str
    log: str
    command: tuple[str, ...] = ("audit",)
    started: float = 0.0
    """When the process began, which tells it from a later one of the same number."""
    form: dict[str, Any] = field(default_factory=dict)
    """What was filled in to start it, so that it can be corrected or used again."""


@dataclass(frozen=True)
class Step:
    """How far a command is, as it said itself."""

    stage: str
    done: int
    total: int | None
    number: int | None
    """Which of its stages this is, None where it has one or did not say."""
    stages: int | None
    left: str
    """`about 40 s left`, or nothing."""

    @property
    def part(self) -> float:
        """What is done of the stage, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    def sentence(self) -> str:
        """Say it in words."""
        left = f", {self.left}" if self.left else ""
        return f"{self.done:,} of {self.total or 'unknown'}{left}"


def safe_name(text: str) -> str:
    """Return a file name without folders, made of letters, digits, dot, dash and underscore.

    Where letters of any script were lost, a digest keeps it apart from other names.
    """
    given = unicodedata.normalize("NFC", Path(text).name)
    name = UNSAFE.sub("_", given).lstrip(".")
    if not name:
        return "file"
    stem, dot, ending = name.partition(".")
    is_lost = any(not part.isascii() for part in UNSAFE.findall(given))
    if not is_lost and stem.strip("_-") and len(name.encode()) <= LONGEST_NAME:
        return name
    stem = stem.encode()[: LONGEST_NAME // 2].decode(errors="ignore").strip("_-") or "file"
    digest = hashlib.sha256(given.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{stem}-{digest}{dot}{ending[-LONGEST_NAME // 4 :]}"


def keep_upload(folder: Path, name: str, data: bytes) -> Path:
    """Write an uploaded file under its name, in a folder of its own for what it holds."""
    path = folder.resolve() / hashlib.sha256(data).hexdigest()[:16] / safe_name(name)
    if not path.exists():
        make_folder(path.parent)
        with replacing(path) as partial:
            partial.write_bytes(data)
    return path


def make_folder(folder: Path) -> None:
    """Make a folder where it is missing.

    Raises:
        UserError: it can't be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} can't be written: {error.strerror or error}.") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder} can't be written; start the dashboard with another --db.")


def absolute(source: str) -> str:
    """Return a path that exists from its root on, as commands run elsewhere; else what it is."""
    path = Path(source).expanduser()
    return str(path.absolute()) if source and path.exists() else source


def as_options(values: Options) -> list[str]:
    """Return the command-line arguments of options; those that are empty are left out."""
    # Joined by "=", so that a value that starts with a dash stays a value.
    return [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in values.items()
        if value
    ]


def audit_arguments(
    model: str, dataset: str, database: str | Path, options: Options
) -> tuple[str, ...]:
    """Return the command-line arguments of an audit."""
    return ("--db", str(database), *as_options(options), "--", model, dataset)


def start(
    folder: Path,
    name: str,
    arguments: tuple[str, ...],
    database: Path,
    command: tuple[str, ...] = ("audit",),
    form: dict[str, Any] | None = None,
) -> Job:
    """Start a command that outlives the caller, and remember it in `folder`."""
    make_folder(folder)
    log = folder / f"{safe_name(name)}.log"
    status = _status_file(log)
    status.unlink(missing_ok=True)
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            ["/bin/sh", "-c", KEEPER, str(status.resolve()), *_command(*command), *arguments],
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            # The folder that holds the package, from which `python -m` finds it.
            cwd=Path(__file__).parents[2],
        )
    job = Job(
        safe_name(name),
        process.pid,
        arguments,
        str(database),
        str(log),
        command,
        psutil.Process(process.pid).create_time(),
        form or {},
    )
    # Another session may read it at this moment: it is there as a whole or not at all.
    with replacing(folder / f"{job.name}.json") as partial:
        partial.write_text(json.dumps(asdict(job)), encoding="utf-8")
    return job


def jobs(folder: Path) -> list[Job]:
    """Return what was started from this folder, newest first."""
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [record_of(Job, json.loads(path.read_text(encoding="utf-8"))) for path in files]


def forget(folder: Path, job: Job) -> None:
    """Forget a job that has ended; its database stays."""
    (folder / f"{job.name}.json").unlink(missing_ok=True)
    Path(job.log).unlink(missing_ok=True)
    _status_file(Path(job.log)).unlink(missing_ok=True)


def is_running(job: Job) -> bool:
    """Tell whether the process of a job still runs (and is that job, not a later process)."""
    try:
        process = psutil.Process(job.pid)
        began = process.create_time()
        return abs(began - job.started) < CLOCK and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def exit_status(job: Job) -> int | None:
    """Return how a job ended, as a shell says it; None while it runs or where it was killed."""
    try:
        return int(_status_file(Path(job.log)).read_text())
    except (FileNotFoundError, ValueError):
        return None


def stop(job: Job) -> None:
    """Stop a job as Ctrl-C does, then by force; what it computed is kept."""
    for sign in (signal.SIGINT, signal.SIGKILL):
        if not is_running(job):
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, sign)
        deadline = time.monotonic() + PATIENCE
        while is_running(job) and time.monotonic() < deadline:
            time.sleep(0.1)


def state(job: Job) -> str:
    """Return running, finished, stopped (by somebody, or killed) or failed."""
    if is_running(job):
        return "running"
    status = exit_status(job)
    if status == 0:
        return "finished"
    return "stopped" if status is None or status > SHELL_SIGNAL else "failed"


def step(job: Job) -> Step | None:
    """Return what the last line of progress said that a command printed, if any."""
    found = STEP.findall(_printed(job))
    if not found:
        return None
    stage, number, stages, done, total, left = found[-1]
    return Step(stage, int(done), _number(total), _number(number), _number(stages), left)


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def last_words(job: Job) -> str:
    """Return the error that a job printed, unwrapped to one line; else the last line."""
    printed = _printed(job).replace("\r", "\n")
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    starts = [place for place, line in enumerate(lines) if line.startswith("Error: ")]
    if starts:
        return " ".join(lines[starts[-1] :]).removeprefix("Error: ")
    return lines[-1] if lines else ""


def run_number(job: Job) -> int | None:
    """Return the number of the run that an audit says it wrote."""
    found = RUN.findall(_printed(job))
    return int(found[-1]) if found else None


def _printed(job: Job) -> str:
    log = Path(job.log)
    return log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""


def failure(job: Job) -> str | None:
    """Return why a command that has ended did not finish, None where it did."""
    status = exit_status(job)
    if status == 0:
        return None
    if status is None or status == SHELL_SIGNAL + signal.SIGKILL:
        return (
            f"{' '.join(job.command)} was killed before it finished; a common reason is running "
            "out of memory. What it computed is kept; start it again."
        )
    return last_words(job) or f"{' '.join(job.command)} ended with exit status {status}."


def _status_file(log: Path) -> Path:
    return log.with_suffix(".status")


def _command(*names: str) -> list[str]:
    return [sys.executable, "-m", "saliency_core", *names]
