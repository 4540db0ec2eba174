"""`audit`: compute and keep; resumes where it stopped."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from saliency_core.cli.progress_bar import GOES_ON, progress_bar
from saliency_core.cli.tables import say
from saliency_core.cli.terminal import AsJson, Database, Quiet, print_json
from saliency_core.data.labels.label_map import parse_label_map
from saliency_core.paths import default_database
from saliency_core.pipeline.options import STAGES
from saliency_core.program import program

COLUMNS, DATA, LABELS = "Columns", "Dataset", "Labels"
MODEL, COMPUTING, OUTPUT = "Model", "Computing", "Output"
EXAMPLES = (
    "saliency audit distilbert-base-uncased-finetuned-sst-2-english reviews.csv",
    "saliency audit models/reviews reviews.csv --lm-head bert-base-uncased --db reviews.sqlite",
    'saliency audit models/reviews reviews.csv --label-map "0=negative,1=positive"',
)


class LongText(StrEnum):
    """What happens to a text longer than the model takes."""

    truncate = "truncate"
    window = "window"


class Rule(StrEnum):
    """What turns gradients into scores."""

    secant = "secant"
    path = "path"


class Engine(StrEnum):
    """What computes."""

    local = "local"
    ray = "ray"


class Dtype(StrEnum):
    """Number format the model computes in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    auto = "auto"


def audit(
    model: Annotated[str, typer.Argument(help="Folder or hub name of a sequence classifier.")],
    dataset: Annotated[str, typer.Argument(help="File, folder or hub name of a dataset.")],
    database: Database = None,
    text_column: Annotated[
        str | None,
        typer.Option(help="Column of the text.", rich_help_panel=COLUMNS, metavar="NAME"),
    ] = None,
    pair_column: Annotated[
        str | None,
        typer.Option(help="Column of the second text.", rich_help_panel=COLUMNS, metavar="NAME"),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(help="Column of the gold label.", rich_help_panel=COLUMNS, metavar="NAME"),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(help="Column of a stable id.", rich_help_panel=COLUMNS, metavar="NAME"),
    ] = None,
    metadata_columns: Annotated[
        str | None,
        typer.Option(
            help="Columns kept beside, comma-separated (default: the rest).",
            rich_help_panel=COLUMNS,
            metavar="A,B",
        ),
    ] = None,
    predictions_from: Annotated[
        str | None,
        typer.Option(
            help="Column of predictions made elsewhere, compared with the model's own.",
            rich_help_panel=COLUMNS,
            metavar="NAME",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the dataset.", rich_help_panel=DATA, metavar="NAME")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(help="Configuration of a hub dataset.", rich_help_panel=DATA, metavar="NAME"),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(help="Revision of a hub dataset.", rich_help_panel=DATA, metavar="NAME"),
    ] = None,
    no_header: Annotated[
        bool, typer.Option("--no-header", help="Table without header.", rich_help_panel=DATA)
    ] = False,
    sheet: Annotated[
        str | None,
        typer.Option(
            help="Sheet of a workbook (default: the first filled one).",
            rich_help_panel=DATA,
            metavar="NAME",
        ),
    ] = None,
    label_map: Annotated[
        str | None,
        typer.Option(
            help='Dataset label to model label, or to nothing: "0=negative,1=positive,n/a=".',
            rich_help_panel=LABELS,
            metavar="MAP",
        ),
    ] = None,
    trust_labels: Annotated[
        bool,
        typer.Option("--trust-labels", help="Skip the label-order guard.", rich_help_panel=LABELS),
    ] = False,
    lm_head: Annotated[
        str | None,
        typer.Option(
            help="Folder or hub name of the pretrained language model.",
            rich_help_panel=MODEL,
            metavar="MODEL",
        ),
    ] = None,
    model_revision: Annotated[
        str | None,
        typer.Option(
            help="Revision of the model on the hub.", rich_help_panel=MODEL, metavar="NAME"
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            help="predicted, gold or class:NAME.", rich_help_panel=COMPUTING, metavar="NAME"
        ),
    ] = "predicted",
    rule: Annotated[
        Rule,
        typer.Option(
            help="Exact at every layer in one pass, or gradients along a path.",
            rich_help_panel=COMPUTING,
        ),
    ] = Rule.secant,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps of the path rule.", rich_help_panel=COMPUTING)
    ] = 4,
    dtype: Annotated[
        Dtype, typer.Option(help="Number format of the model.", rich_help_panel=MODEL)
    ] = Dtype.float32,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda ...", rich_help_panel=COMPUTING, metavar="NAME")
    ] = "auto",
    batch_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens a batch, padding included.", rich_help_panel=COMPUTING),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=3, help="Tokens a text may have.", rich_help_panel=MODEL)
    ] = None,
    long_text: Annotated[
        LongText, typer.Option(help="Longer texts.", rich_help_panel=MODEL)
    ] = LongText.truncate,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first N rows.", rich_help_panel=DATA)
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="What the dataset is called; its run is known by that, not by its path.",
            rich_help_panel=DATA,
            metavar="NAME",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every sample.", rich_help_panel=COMPUTING)] = 0,
    no_evaluate: Annotated[
        bool,
        typer.Option(
            "--no-evaluate", help="Skip the faithfulness sample.", rich_help_panel=COMPUTING
        ),
    ] = False,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code", help="Run code shipped with the model.", rich_help_panel=MODEL
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check everything, estimate time and size, stop.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    engine: Annotated[
        Engine,
        typer.Option(
            help="This process, or workers on Ray (docs/scale.md).", rich_help_panel=COMPUTING
        ),
    ] = Engine.local,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes of the ray engine (default: one per GPU, else one per core).",
            rich_help_panel=COMPUTING,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads a model computes with.", rich_help_panel=COMPUTING),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for blocks instead of --db (ray engine); `merge` reads it.",
            rich_help_panel=OUTPUT,
            metavar="FOLDER",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compute saliency of every layer for every example and keep it in one SQLite file."""
    from saliency_core.pipeline.options import AuditOptions
    from saliency_core.pipeline.run_audit import audit as run_audit

    options = AuditOptions(
        text_column=text_column,
        pair_column=pair_column,
        label_column=label_column,
        id_column=id_column,
        metadata_columns=metadata_columns.split(",") if metadata_columns is not None else None,
        predictions_from=predictions_from,
        split=split,
        config=config,
        revision=revision,
        header=not no_header,
        sheet=sheet,
        label_map=parse_label_map(label_map),
        trust_labels=trust_labels,
        lm_head=lm_head,
        model_revision=model_revision,
        target=target,
        rule=rule.value,
        steps=steps,
        dtype=dtype.value,
        device=device,
        batch_tokens=batch_tokens,
        max_length=max_length,
        long_text=long_text.value,
        limit=limit,
        name=name,
        seed=seed,
        evaluate=not no_evaluate,
        trust_remote_code=trust_remote_code,
        dry_run=dry_run,
        engine=engine.value,
        workers=workers,
        threads=threads,
        output=str(output) if output else None,
    )
    place = database or (None if output else default_database())
    stages = STAGES[: 1 if dry_run else 2 if no_evaluate else 3]
    with progress_bar(quiet or as_json, *stages, when_stopped=GOES_ON) as bar:
        result = run_audit(model, dataset, db=place, options=options, progress=bar)
    if as_json:
        print_json(result.as_dict())
    elif not quiet:
        print(result.sentence())
        if result.run is not None:
            say(_next_steps(database))


def _next_steps(database: Path | None) -> str:
    where = "" if database is None else f" --db {shlex.quote(str(database))}"
    return (
        f"Look at it: {program()} dashboard{where}\nOne page to forward: {program()} report{where}"
    )
