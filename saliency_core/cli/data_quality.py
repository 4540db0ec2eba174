"""`data-quality`: what is wrong with the dataset itself."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from saliency_core.cli.progress_bar import progress_bar
from saliency_core.cli.tables import say, show
from saliency_core.cli.terminal import (
    AsJson,
    Database,
    Quiet,
    RunOption,
    Seed,
    TrainLabelColumn,
    TrainLabelMap,
    TrainTextColumn,
    of_training,
    open_run,
    print_json,
)
from saliency_core.data.labels.label_map import parse_label_map

EXAMPLES = (
    "saliency data-quality --train training.csv",
    "saliency data-quality --fail-on high --quiet",
)


def data_quality(
    database: Database = None,
    number: RunOption = None,
    train: Annotated[
        str | None,
        of_training(help="Training data: what is in both, and how they differ.", metavar="DATASET"),
    ] = None,
    train_text_column: TrainTextColumn = None,
    train_label_column: TrainLabelColumn = None,
    label_map: TrainLabelMap = None,
    threshold: Annotated[
        float, typer.Option(help="Similarity from which two texts are nearly the same, 0.3 to 1.")
    ] = 0.6,
    fail_on: Annotated[
        Literal["high", "medium", "low"] | None,
        typer.Option(help="Exit with 1 where a finding is as severe as this."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Label issues and groups in the JSON.")] = 50,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Check the dataset: wrong labels, duplicates, leakage, drift, damaged texts.

    Findings are kept with the run: the page Data shows them, and the filter terms label_issue,
    label_quality, duplicate, duplicate_conflict, in_train and problem name their examples.
    """
    from saliency_core.quality.findings import check_data
    from saliency_core.quality.severity import worst
    from saliency_core.records import SEVERITIES
    from saliency_core.shortcuts.training_counts import open_training_data

    run = open_run(database, number)
    training = None
    if train is not None:
        training = open_training_data(train, train_text_column, train_label_column)
    with progress_bar(quiet or as_json) as bar:
        found = check_data(
            run,
            train=training,
            label_map=parse_label_map(label_map),
            threshold=threshold,
            seed=seed,
            progress=bar,
        )
    if as_json:
        print_json(found.as_json(run, limit))
    elif not quiet:
        rows = [
            {**vars(finding), "filter": finding.filter or None, "what": finding.message}
            for finding in found.findings
        ]
        show(rows, ["severity", "check", "count", "filter", "what"])
        if (labels := found.facts["label_issues"]) and labels["trained_on"]:
            say(f"Labels: {labels['trained_on']}")
    if fail_on and SEVERITIES.index(worst(found.findings)) <= SEVERITIES.index(fail_on):
        raise typer.Exit(1)
