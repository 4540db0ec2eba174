"""`evaluate`: how faithful every layer, variant and other method is."""

from __future__ import annotations

from typing import Annotated

import typer

from saliency_core.cli.suspects import ModelOption
from saliency_core.cli.terminal import (
    AsJson,
    Bar,
    Database,
    Quiet,
    RunOption,
    open_database,
    print_json,
    progress_bar,
    records,
    show,
)

COLUMNS = (
    "method",
    "layer",
    "comprehensiveness",
    "comprehensiveness_low",
    "comprehensiveness_high",
    "sufficiency",
    "plausibility",
    "forwards",
    "backwards",
    "seconds",
)


def evaluate(
    database: Database = None,
    run: RunOption = None,
    examples: Annotated[int, typer.Option(min=1, help="Examples of the seeded sample.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the sample and of methods that draw.")] = 0,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Compare with other methods.")
    ] = False,
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
    """Measure how faithful the layers of a run are; choose the layer to read by it."""
    store = open_database(database)
    # Torch loads here: a wrong file or run is told at once.
    store.run(run)
    from saliency_core.evaluation.evaluate import EvaluationOptions
    from saliency_core.evaluation.evaluate import evaluate as measure

    options = EvaluationOptions(examples, seed, baselines, delete, rationale_column)
    with progress_bar(quiet or as_json) as bar:
        found = measure(store, options, run=run, model=model, progress=Bar(bar))
    rows = records(found.metrics)
    if as_json:
        print_json(
            {
                "run": store.run(run)["run"],
                "examples": found.examples,
                "metrics": rows,
                "recommended": found.recommended,
                "equals": found.equals,
                "skipped": list(found.skipped),
            }
        )
        return
    show(rows, list(COLUMNS), f"{found.examples} examples")
    print(f"Recommended layer: {found.recommended}. Equals: {found.equals or 'none'}.")
    if found.skipped:
        print(f"Left out, because Captum is not installed: {', '.join(found.skipped)}.")
