"""`audit`: compute and keep; resumes where it stopped."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from saliency_core.cli.progress_bar import GOES_ON, progress_bar
from saliency_core.cli.tables import say
from saliency_core.cli.terminal import AsJson, Database, Quiet, print_json
from saliency_core.data.labels.label_map import parse_label_map
from saliency_core.paths import default_database
from saliency_core.pipeline.options import STAGES, AuditOptions
from saliency_core.program import program

columns = partial(typer.Option, rich_help_panel="Columns", metavar="NAME")
data = partial(typer.Option, rich_help_panel="Dataset", metavar="NAME")
labels = partial(typer.Option, rich_help_panel="Labels")
models = partial(typer.Option, rich_help_panel="Model")
computing = partial(typer.Option, rich_help_panel="Computing")
writing = partial(typer.Option, rich_help_panel="Output")
EXAMPLES = (
    "saliency audit distilbert-base-uncased-finetuned-sst-2-english reviews.csv",
    "saliency audit models/reviews reviews.csv --lm-head bert-base-uncased --db reviews.sqlite",
    'saliency audit models/reviews reviews.csv --label-map "0=negative,1=positive"',
)


def audit(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Folder or hub name of a sequence classifier.")],
    dataset: Annotated[str, typer.Argument(help="File, folder or hub name of a dataset.")],
    database: Database = None,
    text_column: Annotated[str | None, columns(help="Column of the text.")] = None,
    pair_column: Annotated[str | None, columns(help="Column of the second text.")] = None,
    label_column: Annotated[str | None, columns(help="Column of the gold label.")] = None,
    id_column: Annotated[str | None, columns(help="Column of a stable id.")] = None,
    metadata_columns: Annotated[
        str | None,
        columns(help="Columns kept beside, comma-separated (default: the rest).", metavar="A,B"),
    ] = None,
    predictions_from: Annotated[
        str | None,
        columns(help="Column of predictions made elsewhere, compared with the model's own."),
    ] = None,
    split: Annotated[str | None, data(help="Split of the dataset.")] = None,
    config: Annotated[str | None, data(help="Configuration of a hub dataset.")] = None,
    revision: Annotated[str | None, data(help="Revision of a hub dataset.")] = None,
    no_header: Annotated[bool, data("--no-header", help="Table without header.")] = False,
    sheet: Annotated[
        str | None, data(help="Sheet of a workbook (default: the first filled one).")
    ] = None,
    label_map: Annotated[
        str | None,
        labels(
            help='Dataset label to model label, or to nothing: "0=negative,1=positive,n/a=".',
            metavar="MAP",
        ),
    ] = None,
    trust_labels: Annotated[
        bool, labels("--trust-labels", help="Skip the label-order guard.")
    ] = False,
    lm_head: Annotated[
        str | None,
        models(help="Folder or hub name of the pretrained language model.", metavar="MODEL"),
    ] = None,
    model_revision: Annotated[
        str | None, models(help="Revision of the model on the hub.", metavar="NAME")
    ] = None,
    target: Annotated[
        str, computing(help="predicted, gold or class:NAME.", metavar="NAME")
    ] = "predicted",
    rule: Annotated[
        Literal["secant", "path"],
        computing(help="Exact at every layer in one pass, or gradients along a path."),
    ] = "secant",
    steps: Annotated[int, computing(min=1, help="Steps of the path rule.")] = 4,
    dtype: Annotated[
        Literal["float32", "bfloat16", "auto"], models(help="Number format of the model.")
    ] = "float32",
    device: Annotated[str, computing(help="auto, cpu, cuda ...", metavar="NAME")] = "auto",
    batch_tokens: Annotated[
        int | None, computing(min=1, help="Tokens a batch, padding included.")
    ] = None,
    max_length: Annotated[int | None, models(min=3, help="Tokens a text may have.")] = None,
    long_text: Annotated[Literal["truncate", "window"], models(help="Longer texts.")] = "truncate",
    limit: Annotated[int | None, data(min=1, help="Only the first N rows.", metavar="N")] = None,
    name: Annotated[
        str | None,
        data(help="What the dataset is called; its run is known by that, not by its path."),
    ] = None,
    seed: Annotated[int, computing(help="Seed of every sample.")] = 0,
    no_evaluate: Annotated[
        bool, computing("--no-evaluate", help="Skip the faithfulness sample.")
    ] = False,
    trust_remote_code: Annotated[
        bool, models("--trust-remote-code", help="Run code shipped with the model.")
    ] = False,
    dry_run: Annotated[
        bool, writing("--dry-run", help="Check everything, estimate time and size, stop.")
    ] = False,
    engine: Annotated[
        Literal["local", "ray"], computing(help="This process, or workers on Ray (docs/scale.md).")
    ] = "local",
    workers: Annotated[
        int | None,
        computing(
            min=1, help="Processes of the ray engine (default: one per GPU, else one per core)."
        ),
    ] = None,
    threads: Annotated[int | None, computing(min=1, help="Threads a model computes with.")] = None,
    output: Annotated[
        Path | None,
        writing(
            help="Folder for blocks instead of --db (ray engine); `merge` reads it.",
            metavar="FOLDER",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compute saliency of every layer for every example and keep it in one SQLite file."""
    from saliency_core.pipeline.run_audit import audit as run_audit

    named = AuditOptions.__dataclass_fields__.keys() & context.params
    given: dict[str, Any] = {name: context.params[name] for name in named} | {
        "metadata_columns": metadata_columns.split(",") if metadata_columns is not None else None,
        "header": not no_header,
        "label_map": parse_label_map(label_map),
        "evaluate": not no_evaluate,
        "output": str(output) if output else None,
    }
    options = AuditOptions(**given)
    place = database or (None if output else default_database())
    stages = STAGES[: 1 if dry_run else 2 if no_evaluate else 3]
    with progress_bar(quiet or as_json, *stages, when_stopped=GOES_ON) as bar:
        result = run_audit(model, dataset, db=place, options=options, progress=bar)
    if as_json:
        print_json(result.as_dict())
    elif not quiet:
        print(result.sentence())
        if result.run is not None:
            where = "" if database is None else f" --db {shlex.quote(str(database))}"
            say(f"Look at it: {program()} dashboard{where}")
            say(f"One page to forward: {program()} report{where}")
