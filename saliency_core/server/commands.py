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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from saliency_core.atomic import replacing
from saliency_core.errors import UserError
from saliency_core.store import open_store

UNSAFE = re.compile(r"[^\w.-]+")
LONGEST_NAME = 120
"""Bytes of a file name; systems allow 255, and endings are added."""
STEP = re.compile(r"^(.+): (\d+) of (\d+|\?)$", re.MULTILINE)
"""A line of progress, as `cli.terminal.Bar` prints it to a log."""
KEEPER = """trap : INT; "$@"; status=$?; echo $status >"$0.part"; mv "$0.part" "$0"; exit $status"""
"""A shell around the command: its exit status outlives whoever started it."""
SHELL_SIGNAL = 128
"""What a shell adds to the number of the signal that ended a command."""
CLOCK = 5.0
"""Seconds by which a clock that is set may move the start of a process."""


@dataclass(frozen=True)
class Job:
    """One command that was started, an audit in most cases."""

    name: str
    pid: int
    arguments: tuple[str, ...]
    """What stands behind `python -m saliency_core COMMAND`."""
    database: str
    log: str
    examples: int | None = None
    """How many examples it will hold when finished, None where no dry run told."""
    command: tuple[str, ...] = ("audit",)
    started: float = 0.0
    """When the process began, which tells it from a later one of the same number."""


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
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_bytes(data)
    return path


def absolute(source: str) -> str:
    """Return a path that exists from its root on, as commands run elsewhere; else what it is."""
    path = Path(source).expanduser()
    return str(path.absolute()) if source and path.exists() else source


def audit_arguments(
    model: str, dataset: str, database: str | Path, options: dict[str, str | bool | None]
) -> tuple[str, ...]:
    """Return the command-line arguments of an audit; options that are empty are left out."""
    arguments = ["--db", str(database)]
    for name, value in options.items():
        if value is True:
            arguments.append(f"--{name}")
        elif value:
            # Joined by "=", so that a value that starts with a dash stays a value.
            arguments.append(f"--{name}={value}")
    return (*arguments, "--", model, dataset)


def dry_run(arguments: tuple[str, ...], seconds: float = 600) -> dict[str, Any]:
    """Return the estimate of an audit: examples, seconds, megabytes, guessed columns, warnings.

    Raises:
        UserError: the sentence the command line gave, or it took too long.
    """
    try:
        done = subprocess.run(
            [*_command("audit"), "--dry-run", "--json", *arguments],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            cwd=_root(),
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"No estimate was ready after {seconds:g} seconds; try fewer examples, or start the "
            "audit, which shows its own progress."
        ) from error
    if done.returncode:
        raise UserError(_sentence(done.stderr))
    return json.loads(done.stdout.splitlines()[-1])


def start(
    folder: Path,
    name: str,
    arguments: tuple[str, ...],
    database: Path,
    examples: int | None = None,
    command: tuple[str, ...] = ("audit",),
) -> Job:
    """Start a command that outlives the caller, and remember it in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
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
            cwd=_root(),
        )
    job = Job(
        safe_name(name),
        process.pid,
        arguments,
        str(database),
        str(log),
        examples,
        command,
        psutil.Process(process.pid).create_time(),
    )
    # Another session may read it at this moment: it is there as a whole or not at all.
    with replacing(folder / f"{job.name}.json") as partial:
        partial.write_text(json.dumps(asdict(job)), encoding="utf-8")
    return job


def jobs(folder: Path) -> list[Job]:
    """Return what was started from this folder, newest first."""
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    found = []
    for path in files:
        facts = json.loads(path.read_text(encoding="utf-8"))
        lists = {name: tuple(value) for name, value in facts.items() if isinstance(value, list)}
        found.append(Job(**{**facts, **lists}))
    return found


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


def stop(job: Job, patience: float = 10.0) -> None:
    """Stop a job as Ctrl-C does, then by force; what it computed is kept."""
    for sign in (signal.SIGINT, signal.SIGKILL):
        if not is_running(job):
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, sign)
        deadline = time.monotonic() + patience
        while is_running(job) and time.monotonic() < deadline:
            time.sleep(0.1)


def progress(job: Job) -> tuple[str, int]:
    """Return running, finished or stopped, and how many examples the database holds by now."""
    done = 0
    # The audit may still be loading its model: there is no file yet, or no table in it.
    with contextlib.suppress(UserError):
        store = open_store(job.database)
        runs = store.runs()
        if len(runs):
            done = store.run().filter().count()
    if is_running(job):
        return "running", done
    return "finished" if exit_status(job) == 0 else "stopped", done


def steps(job: Job) -> tuple[str, int, int | None] | None:
    """Return stage, done and total of the last line of progress a command printed, if any."""
    log = Path(job.log)
    printed = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    found = STEP.findall(printed)
    if not found:
        return None
    stage, done, total = found[-1]
    return stage, int(done), int(total) if total.isdigit() else None


def last_words(job: Job) -> str:
    """Return the last sentence a job printed."""
    log = Path(job.log)
    return _sentence(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else ""


def failure(job: Job) -> str | None:
    """Return why a command that has ended did not finish, None where it did."""
    status = exit_status(job)
    if status == 0:
        return None
    if status is None or status == SHELL_SIGNAL + signal.SIGKILL:
        return (
            f"{' '.join(job.command)} was killed before it finished, often because memory ran out. "
            "What it computed is kept; start it again."
        )
    return last_words(job) or f"{' '.join(job.command)} ended with exit status {status}."


def _sentence(printed: str) -> str:
    """Return the error that was printed, unwrapped to one line; else the last line."""
    lines = [line.strip() for line in printed.replace("\r", "\n").splitlines() if line.strip()]
    starts = [place for place, line in enumerate(lines) if line.startswith("Error: ")]
    if starts:
        return " ".join(lines[starts[-1] :]).removeprefix("Error: ")
    return lines[-1] if lines else ""


def _status_file(log: Path) -> Path:
    return log.with_suffix(".status")


def _command(*names: str) -> list[str]:
    return [sys.executable, "-m", "saliency_core", *names]


def _root() -> Path:
    """Return the folder that holds the package, from which `python -m` finds it."""
    return Path(__file__).parents[2]
