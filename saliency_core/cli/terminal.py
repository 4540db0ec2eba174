"""What every command shares: options, opening the file, JSON, and where output may go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from saliency_core.atomic import refuse_inputs
from saliency_core.errors import UserError
from saliency_core.jsonable import plain
from saliency_core.paths import default_database
from saliency_core.program import program

if TYPE_CHECKING:
    from saliency_core.store import Run, Slice, Store

errors_to = Console(stderr=True)

Database = Annotated[
    Path | None, typer.Option("--db", help="The SQLite file (default: cache/saliency.sqlite).")
]
RunOption = Annotated[
    int | None, typer.Option("--run", help="Number of the run (default: the newest).")
]
FILTER_HELP = (
    'A filter, e.g. "wrong (confidence>0.9 OR word:people)"; `slices --help` lists all terms.'
)
Where = Annotated[str, typer.Option(metavar="FILTER", help=FILTER_HELP)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output where it exists.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="FOLDER", help="Where the audited model is now, if it moved."),
]
LayerOption = Annotated[int | None, typer.Option(help="Layer (default: recommended).")]
Seed = Annotated[int, typer.Option(help="Seed of every sample.")]
of_training = partial(typer.Option, rich_help_panel="Training data", metavar="NAME")
TrainTextColumn = Annotated[str | None, of_training(help="Its column of the text.")]
TrainLabelColumn = Annotated[str | None, of_training(help="Its column of labels.")]
TrainLabelMap = Annotated[
    str | None,
    of_training(help='Its label to model label: "0=negative,1=positive".', metavar="MAP"),
]
Words = Annotated[
    list[str] | None, typer.Option("--word", metavar="WORD", help="A word; may be repeated.")
]


def existing(database: Path | None) -> Path:
    """Return the database to read; say how to make one where there is none."""
    path = database or default_database()
    if not path.is_file():
        raise UserError(
            f"There is no database at {path}. Make one with "
            f"`{program()} audit MODEL DATASET --db {path}`."
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
        tell(f"Note: {note.told()}")
    return part


def tell(sentence: str, style: str = "") -> None:
    """Print a sentence on standard error, unbroken: a command in it must survive being copied."""
    errors_to.print(sentence, style=style, markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON object; NaN is not JSON, so it becomes null."""
    print(json.dumps(plain(value), ensure_ascii=False, allow_nan=False))


def check_output(output: Path, force: bool, inputs: Sequence[str | Path]) -> None:
    """Refuse an output that is read here, with or without force, or that exists, without it.

    Raises:
        UserError: says which of the two.
    """
    refuse_inputs(output, inputs)
    if output.exists() and not force:
        raise UserError(f"{output} exists; choose another --output, or overwrite it with --force.")
