"""`export` and `report`: what an analyst takes away."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from saliency_core.cli.progress_bar import progress_bar
from saliency_core.cli.tables import counted, megabytes
from saliency_core.cli.terminal import (
    AsJson,
    Database,
    Force,
    Quiet,
    RunOption,
    Where,
    check_output,
    filtered,
    open_run,
    print_json,
)
from saliency_core.errors import UserError

if TYPE_CHECKING:
    from saliency_core.store import Slice

of_dataset = partial(typer.Option, rich_help_panel="The dataset itself")
EXAMPLES = (
    "saliency export -o wrong.csv --where wrong",
    "saliency export -o all.parquet --layers all",
    "saliency export -o cleaned.csv --dataset --corrected --drop-duplicates",
)


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="File or folder to write.")],
    database: Database = None,
    number: RunOption = None,
    format: Annotated[
        Literal["jsonl", "csv", "parquet", "datasets"] | None,
        typer.Option(help="Default: by the ending; no ending is datasets."),
    ] = None,
    where: Where = "",
    layers: Annotated[
        str | None, typer.Option(help='"all", "none" or "5,6" (default: the recommended one).')
    ] = None,
    dataset: Annotated[
        bool, of_dataset("--dataset", help="The dataset in its own columns instead.")
    ] = False,
    corrected: Annotated[
        bool, of_dataset("--corrected", help="With the labels that were corrected.")
    ] = False,
    drop_duplicates: Annotated[
        bool,
        of_dataset(
            "--drop-duplicates",
            help="Without what is tagged drop and all but one of each group of duplicates.",
        ),
    ] = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write examples with predictions, words, notes and verdicts for other programs."""
    from saliency_core.output.export import export as write
    from saliency_core.output.export import parse_layers

    run = open_run(database, number)
    check_output(output, force, [run.store.path])
    if dataset:
        if format is not None or layers is not None:
            raise UserError("--dataset is written by its ending, .jsonl or .csv, without layers.")
        _export_dataset(filtered(run, where), output, corrected, drop_duplicates, quiet, as_json)
        return
    if corrected or drop_duplicates:
        raise UserError("--corrected and --drop-duplicates go with --dataset.")
    chosen = parse_layers(layers, run.model.layers)
    with progress_bar(quiet or as_json) as bar:
        done = write(filtered(run, where), output, format=format, layers=chosen, progress=bar)
    if as_json:
        print_json(asdict(done))
    elif not quiet:
        said = ", ".join(map(str, done.layers)) or "none"
        wrote = counted(done.examples, "example")
        print(f"Wrote {wrote} to {done.output} ({done.format}, layers {said}).")


def _export_dataset(
    part: Slice, output: Path, corrected: bool, drop_duplicates: bool, quiet: bool, as_json: bool
) -> None:
    from saliency_core.output.dataset_export import export_dataset

    with progress_bar(quiet or as_json) as bar:
        done = export_dataset(
            part, output, corrected=corrected, drop_duplicates=drop_duplicates, progress=bar
        )
    if as_json:
        print_json(asdict(done))
    elif not quiet:
        print(f"Wrote {counted(done.examples, 'example')} to {done.output} ({done.format}).")
        if done.log:
            print(
                f"{counted(done.relabelled, 'label')} corrected, "
                f"{counted(done.dropped, 'example')} dropped, "
                f"{counted(done.undecided, 'duplicate')} kept as their labels differ; "
                f"{done.log} says which and why."
            )


def report(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write (default: beside the database)."),
    ] = None,
    database: Database = None,
    number: RunOption = None,
    where: Where = "",
    format: Annotated[
        Literal["html", "markdown"] | None, typer.Option(help="Default: by the ending of the file.")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Examples shown highlighted.")] = 20,
    title: Annotated[str | None, typer.Option(help="Heading of the report.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write one page about an audit or a slice that needs nothing beside itself."""
    from saliency_core.output.report import write_report

    run = open_run(database, number)
    ending = ".md" if format == "markdown" else ".html"
    output = output or run.store.path.with_name(f"{run.store.path.stem}-report{ending}")
    check_output(output, force, [run.store.path])
    done = write_report(filtered(run, where), output, format=format, examples=examples, title=title)
    if as_json:
        print_json(done)
    else:
        print(
            f"Wrote {done['output']} ({counted(done['examples'], 'example')}, "
            f"{megabytes(done['bytes'])})."
        )
