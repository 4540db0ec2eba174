"""What every command shares: options, tables, JSON and the progress bar."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from saliency_core.errors import UserError
from saliency_core.jsonable import plain
from saliency_core.paths import default_database

if TYPE_CHECKING:
    from saliency_core.store import Run, Slice, Store

errors_to = Console(stderr=True)
WIDTH_OF_FILES = 140
"""Characters a line where the output is no terminal."""
SECONDS_A_LINE = 1.0
"""Between two lines of progress where the output is no terminal."""

Database = Annotated[
    Path | None, typer.Option("--db", help="The SQLite file (default: cache/saliency.sqlite).")
]
RunOption = Annotated[int | None, typer.Option("--run", help="Run number (default: the newest).")]
FILTER_HELP = (
    'A filter, e.g. "wrong (confidence>0.9 OR word:people)"; `slices --help` lists all terms.'
)
Where = Annotated[str, typer.Option(metavar="FILTER", help=FILTER_HELP)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Where the audited model is now, if it has moved.")
]
Words = Annotated[list[str] | None, typer.Option("--word", help="A word; may be repeated.")]


def existing(database: Path | None) -> Path:
    """Return the database to read; say how to make one where there is none."""
    path = database or default_database()
    if not path.is_file():
        raise UserError(
            f"There is no database at {path}. Make one with "
            f"`python -m saliency_core audit MODEL DATASET --db {path}`."
        )
    return path


def open_database(database: Path | None) -> Store:
    """Return the store to read; the commands that only read never load torch."""
    from saliency_core.store import open_store

    return open_store(existing(database))


def open_run(database: Path | None, number: int | None) -> Run:
    """Return the run to read, None: the newest one."""
    return open_database(database).run(number)


def filtered(run: Run, where: str) -> Slice:
    """Return the slice that a filter names; tell on standard error what never occurs in it."""
    part = run.filter(where)
    part.check()
    for note in part.notes():
        errors_to.print(f"Note: {note.told()}", markup=False, highlight=False, soft_wrap=True)
    return part


def print_json(value: Any) -> None:
    """Print one JSON object; NaN is not JSON, so it becomes null."""
    print(json.dumps(plain(value), ensure_ascii=False, allow_nan=False))


def records(frame) -> list[dict]:
    """Return a frame's rows as dictionaries."""
    return [plain(row) for row in frame.to_dict("records")]


def show(rows: list[dict], columns: list[str], title: str | None = None, nothing: str = "") -> None:
    """Print rows as a table, or where there are none the sentence `nothing`.

    Text from the data is never taken for markup.
    """
    from rich.text import Text

    if not rows:
        if nothing:
            print(nothing)
        return
    table = Table(title=title)
    columns = [name for name in columns if any(row.get(name) is not None for row in rows)]
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    Console(width=None if sys.stdout.isatty() else WIDTH_OF_FILES).print(table)


def print_reading(run: Run) -> None:
    """Print which layer to read, and why."""
    from saliency_core.analysis.layer_advice import layer_advice

    print(layer_advice(run, run.layers()).text())


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def progress_bar(quiet: bool) -> Progress:
    """Return the progress bar of every long command: rate and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=errors_to,
        disable=quiet,
        transient=False,
    )


class Bar:
    """Feeds a rich progress bar from a progress callback; where none can be drawn, prints lines.

    The lines are what `jobs.steps` reads from the log of a process that the dashboard started.
    """

    def __init__(self, bar: Progress) -> None:
        """Feed `bar`."""
        self.bar = bar
        self.tasks: dict[str, int] = {}
        self.in_lines = not bar.disable and not bar.console.is_terminal
        self.said = 0.0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` steps of a stage are finished."""
        if self.in_lines and (done == total or time.monotonic() > self.said + SECONDS_A_LINE):
            self.said = time.monotonic()
            print(f"{stage}: {done} of {total or '?'}", file=sys.stderr, flush=True)
        if stage not in self.tasks:
            self.tasks[stage] = self.bar.add_task(stage, total=total, rate="", completed=done)
            return
        task = self.bar.tasks[self.tasks[stage]]
        rate = f"{task.speed:.0f}/s" if task.speed else ""
        self.bar.update(task.id, completed=done, total=total, rate=rate)
