"""`slices list|save|delete|discover|compare`: slices of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from saliency_core.cli.help import Program
from saliency_core.cli.tables import counted, records, say, show
from saliency_core.cli.terminal import (
    FILTER_HELP,
    AsJson,
    Database,
    LayerOption,
    RunOption,
    existing,
    filtered,
    open_run,
    print_json,
)
from saliency_core.store.query.mistakes import FilterError
from saliency_core.store.query.terms import JOINS, TABLE

if TYPE_CHECKING:
    from saliency_core.store import Run

ABOUT = (
    "Save, discover and compare slices: sets of examples, each named by a filter.\n\n"
    "A filter is one line, the same for every --where, in the dashboard and in Python:\n\n"
    # After `\b` lines stay as they are.
    "\b\n" + "\n".join(f"{written:32}  {meaning}" for written, meaning in (*JOINS, *TABLE))
)
app = Program(ABOUT)

NEGATED = {"ignore_unknown_options": True}
"""A filter may begin with a minus, and is no option then."""

Name = Annotated[str, typer.Argument(help="Name of the slice.")]


@app.command("list")
def list_slices(
    database: Database = None, number: RunOption = None, as_json: AsJson = False
) -> None:
    """List the saved slices with the number of examples each contains in a run."""
    run = open_run(database, number)
    rows = [{**row, "examples": _count(run, row["where"])} for row in records(run.store.slices())]
    if as_json:
        print_json({"slices": rows})
        return
    show(rows, ["name", "where", "examples", "note"], nothing="No slices have been saved yet.")


def _count(run: Run, where: str) -> int | None:
    """Return how many examples a saved slice contains; None where the run lacks what it names."""
    try:
        return run.filter(where).count()
    except FilterError:
        return None


@app.command(context_settings=NEGATED)
def save(
    name: Name,
    where: Annotated[str, typer.Argument(metavar="FILTER", help=FILTER_HELP)],
    database: Database = None,
    note: Annotated[str, typer.Option(help="What the slice is about.")] = "",
    as_json: AsJson = False,
) -> None:
    """Save a slice under a name; an older one of that name is replaced."""
    from saliency_core.store import save_slice

    path = existing(database)
    examples = filtered(open_run(path, None), where).count()
    save_slice(path, name, where, note)
    if as_json:
        print_json({"name": name.strip(), "where": where, "note": note, "examples": examples})
    else:
        print(f"Saved {name.strip()!r}: {counted(examples, 'example')} of the newest run.")


@app.command()
def delete(name: Name, database: Database = None, as_json: AsJson = False) -> None:
    """Delete a saved slice."""
    from saliency_core.store import delete_slice

    delete_slice(existing(database), name)
    if as_json:
        print_json({"deleted": name})
    else:
        print(f"Deleted {name!r}.")


@app.command()
def discover(
    database: Database = None,
    number: RunOption = None,
    minimum: Annotated[
        int, typer.Option(min=2, help="Labelled examples a slice must contain.")
    ] = 20,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Rate of false discoveries.")] = 0.05,
    limit: Annotated[int, typer.Option(min=1, help="Slices to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Find slices where the model is wrong more often than elsewhere, most excess errors first."""
    from saliency_core.analysis.error_slices import discover as find
    from saliency_core.analysis.error_slices import keep_discovered

    run = open_run(database, number)
    table, tried = find(run, minimum=minimum, alpha=alpha, limit=limit)
    keep_discovered(run, table)
    if as_json:
        print_json({"tried": tried, "slices": records(table)})
        return
    columns = ["where", "examples", "errors", "error_rate", "rest_error_rate", "explained", "q"]
    show(records(table), columns)
    say(
        f"{len(table):,} of {counted(tried, 'slice')} tried have a higher error rate than the rest."
    )


@app.command(context_settings=NEGATED)
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="The filter of one slice.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The filter of the other.")],
    database: Database = None,
    number: RunOption = None,
    layer: LayerOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Words to print.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Set two slices side by side: errors, coherence and words."""
    from saliency_core.analysis.slice_comparison import compare_slices

    run = open_run(database, number)
    found = compare_slices(filtered(run, a), filtered(run, b), layer=layer)
    words = records(found["words"].head(limit))
    if as_json:
        print_json({**found, "words": words})
        return
    columns = ["where", "examples", "judged", "errors", "error_rate", "low", "high", "coherence"]
    show([found["a"], found["b"]], columns, f"Layer {found['layer']}")
    show(words, ["word", "mean_share_a", "mean_share_b", "difference", "low", "high", "z"])
    if found["p"] is not None:
        say(f"The error rates differ with p = {found['p']:.2g} (Fisher's exact test).")
    elif found["shared"]:
        say(f"{counted(found['shared'], 'example')} in both, so no test is made.")
