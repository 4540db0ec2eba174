"""`debias`: training data in which spurious words give no class away."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from saliency_core.cli.tables import counted
from saliency_core.cli.terminal import (
    AsJson,
    Database,
    Force,
    RunOption,
    Words,
    check_output,
    open_run,
    print_json,
)

EXAMPLES = (
    "saliency debias training.csv -o cleaned.csv",
    "saliency debias training.csv -o cleaned.jsonl --word kindly --how drop",
)


def debias(
    train: Annotated[str, typer.Argument(help="Training data: file, folder or hub name.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .jsonl or .csv file.")],
    how: Annotated[
        Literal["mask", "drop"], typer.Option(help="Mask the words, or drop their rows.")
    ] = "mask",
    word: Words = None,
    train_text_column: Annotated[str | None, typer.Option(help="Column of the text.")] = None,
    train_label_column: Annotated[str | None, typer.Option(help="Column of labels.")] = None,
    mask: Annotated[str, typer.Option(help="What hides a word.")] = "[MASK]",
    database: Database = None,
    number: RunOption = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write training data in which words with the verdict spurious give no class away."""
    from saliency_core.shortcuts.debias import debias as write
    from saliency_core.shortcuts.invariance_checks import spurious_words
    from saliency_core.shortcuts.training_counts import open_training_data

    check_output(output, force, [train])
    words = word or spurious_words(open_run(database, number))
    dataset = open_training_data(train, train_text_column, train_label_column)
    done = write(dataset, words, how, output, mask)
    if as_json:
        print_json({**asdict(done), "words": words})
    else:
        print(
            f"Wrote {done.written:,} of {counted(done.read, 'row')} to {done.output}; "
            f"{done.changed:,} contained {', '.join(words)}."
        )
