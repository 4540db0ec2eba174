"""`checks write`, `checks run`: pairs of texts that must get the same prediction."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from saliency_core.cli.help import Program
from saliency_core.cli.tables import counted, show
from saliency_core.cli.terminal import (
    AsJson,
    Database,
    Force,
    RunOption,
    Where,
    Words,
    check_output,
    filtered,
    open_run,
    print_json,
)

app = Program("Write and run invariance checks.")


@app.command("write")
def write_checks(
    output: Annotated[Path, typer.Option("--output", "-o", help="A JSON Lines file.")],
    word: Words = None,
    where: Where = "",
    per_word: Annotated[int, typer.Option(min=1, help="Pairs per word.")] = 50,
    database: Database = None,
    number: RunOption = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write pairs of texts, with and without a spurious word, that must get the same prediction."""
    from saliency_core.shortcuts.invariance_checks import write_checks as write

    part = filtered(open_run(database, number), where)
    check_output(output, force, [part.store.path])
    pairs = write(part, output, word or (), per_word=per_word)
    if as_json:
        print_json({"output": str(output), "pairs": pairs})
    else:
        print(f"Wrote {counted(pairs, 'pair')} to {output}.")


@app.command("run")
def run_checks(
    model: Annotated[str, typer.Argument(help="Folder or hub name of a classifier.")],
    file: Annotated[Path, typer.Argument(help="File of `checks write`.")],
    allowed: Annotated[
        float, typer.Option(min=0, max=1, help="Part of the pairs that may fail.")
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Run the checks on a model; exit status 1 where a word fails more than is allowed."""
    from saliency_core.model.loading import load_classifier
    from saliency_core.shortcuts.invariance_checks import run_checks as check

    found = check(load_classifier(model), file)
    if as_json:
        print_json({"checks": [asdict(one) for one in found]})
    else:
        rows = [{**asdict(one), "rate": one.failed / one.pairs} for one in found]
        show(rows, ["word", "pairs", "failed", "rate", "low", "high"])
    if any(one.failed > allowed * one.pairs for one in found):
        raise typer.Exit(1)
