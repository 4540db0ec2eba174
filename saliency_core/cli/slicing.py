"""`slices list|save|delete`: saved slices of a file."""

from __future__ import annotations

from typing import Annotated

import typer

from saliency_core.cli.terminal import (
    AsJson,
    Database,
    RunOption,
    existing,
    open_database,
    print_json,
    records,
    show,
)

app = typer.Typer(no_args_is_help=True, help="List, save and delete slices.")

Name = Annotated[str, typer.Argument(help="Name of the slice.")]


@app.command("list")
def list_slices(database: Database = None, run: RunOption = None, as_json: AsJson = False) -> None:
    """List the saved slices with the examples each holds in a run."""
    store = open_database(database)
    rows = [{**row, "examples": store.count(row["where"], run)} for row in records(store.slices())]
    if as_json:
        print_json({"slices": rows})
        return
    show(rows, ["name", "where", "examples", "note"])


@app.command()
def save(
    name: Name,
    where: Annotated[str, typer.Argument(help='A slice, e.g. "wrong confidence>0.9".')],
    database: Database = None,
    note: Annotated[str, typer.Option(help="What the slice is about.")] = "",
    as_json: AsJson = False,
) -> None:
    """Save a slice under a name; an older one of that name is replaced."""
    from saliency_core.store import save_slice

    path = existing(database)
    examples = open_database(path).count(where)
    save_slice(path, name, where, note)
    if as_json:
        print_json({"name": name.strip(), "where": where, "note": note, "examples": examples})
        return
    print(f"Saved {name.strip()!r}: {examples} examples of the newest run.")


@app.command()
def delete(name: Name, database: Database = None, as_json: AsJson = False) -> None:
    """Delete a saved slice."""
    from saliency_core.store import delete_slice

    delete_slice(existing(database), name)
    if as_json:
        print_json({"deleted": name})
        return
    print(f"Deleted {name!r}.")
