"""`evaluate`: how good the maps of every layer, variant and other method are."""

from __future__ import annotations

from typing import Annotated

import typer

from saliency_core.cli.progress_bar import progress_bar
from saliency_core.cli.tables import counted, records, say, say_which_layer, show
from saliency_core.cli.terminal import (
    AsJson,
    Database,
    ModelOption,
    Quiet,
    RunOption,
    open_run,
    print_json,
)
from saliency_core.progress import duration

COLUMNS = (
    "method layer comprehensiveness comprehensiveness_low comprehensiveness_high sufficiency "
    "mosaic mosaic_auc mosaic_top plausibility forwards backwards seconds"
).split()


def evaluate(
    database: Database = None,
    number: RunOption = None,
    examples: Annotated[int, typer.Option(min=1, help="Examples of the seeded sample.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the sample and of methods that draw.")] = 0,
    other_methods: Annotated[
        bool, typer.Option("--other-methods", help="Compare with other methods.")
    ] = False,
    mosaics: Annotated[
        int, typer.Option(min=0, help="Joined texts of the second yardstick; 0 leaves it out.")
    ] = 64,
    delete: Annotated[
        bool, typer.Option("--delete", help="Take tokens out instead of masking them.")
    ] = False,
    rationale_column: Annotated[
        str | None,
        typer.Option(help="Metadata column of human rationales: [[start, end], ...] in the text."),
    ] = None,
    model: ModelOption = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure how good the maps of a run are, layer by layer; choose the layer to read by it."""
    run = open_run(database, number)
    # Torch loads here: a wrong file or run is reported at once.
    from saliency_core.evaluation.evaluate import EvaluationOptions
    from saliency_core.evaluation.evaluate import evaluate as measure

    options = EvaluationOptions(examples, seed, other_methods, mosaics, delete, rationale_column)
    with progress_bar(quiet or as_json) as bar:
        found = measure(run, options, model=model, progress=bar)
    rows = records(found.metrics)
    if as_json:
        print_json({"run": run.number, **vars(found), "metrics": rows})
        return
    sample = f"{counted(found.examples, 'example')}, {counted(found.mosaics['mosaics'], 'mosaic')}"
    show(rows, COLUMNS, sample, formats={"seconds": duration})
    say_which_layer(run)
    if found.skipped:
        say(f"Left out, because Captum is not installed: {', '.join(found.skipped)}.")
