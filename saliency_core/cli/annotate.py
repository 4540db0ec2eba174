"""`annotate`: decide on all examples of a filter at once, undo it, list what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from saliency_core.cli.tables import counted, records, show
from saliency_core.cli.terminal import AsJson, Database, RunOption, filtered, open_run, print_json
from saliency_core.errors import UserError

if TYPE_CHECKING:
    from saliency_core.store import Edit, Run

EXAMPLES = (
    'saliency annotate "gold:fault word:invoice" --label billing --tag invoices',
    'saliency annotate "wrong confidence>0.98" --reviewed',
    "saliency annotate --undo",
)
Tags = Annotated[list[str] | None, typer.Option(metavar="NAME", help="May be repeated.")]


def annotate(
    where: Annotated[
        str | None, typer.Argument(metavar="FILTER", help='E.g. "wrong"; "" is all examples.')
    ] = None,
    label: Annotated[str | None, typer.Option(help="The correct label.")] = None,
    right: Annotated[bool, typer.Option("--right", help="The label is right as it is.")] = False,
    reviewed: Annotated[
        bool, typer.Option("--reviewed", help="Somebody looked; decisions made before stay.")
    ] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Take the decision back.")] = False,
    note: Annotated[str | None, typer.Option(help='A note; "" takes it off.')] = None,
    tag: Tags = None,
    untag: Tags = None,
    undo: Annotated[bool, typer.Option("--undo", help="Undo the last action.")] = False,
    action: Annotated[
        int | None, typer.Option(metavar="N", help="With --undo: the action of this number.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="List the actions.")] = False,
    database: Database = None,
    number: RunOption = None,
    as_json: AsJson = False,
) -> None:
    """Label, tag, note or mark as reviewed all examples of a filter, as one action to undo."""
    from saliency_core.store import Edit

    run = open_run(database, number)
    asked = {"right": right, "reviewed": reviewed, "open": clear}
    edits = [
        *_decision(run, label, [what for what, is_asked in asked.items() if is_asked]),
        *([Edit("note", note)] if note is not None else []),
        *(Edit("tag", name) for name in tag or []),
        *(Edit("untag", name) for name in untag or []),
    ]
    modes = [bool(edits) or where is not None, undo, history]
    if sum(modes) != 1:
        raise UserError("Give a filter and what to do with it, or --undo, or --history.")
    if history:
        _history(run, as_json)
    elif undo:
        _undo(run, action, as_json)
    else:
        _annotate(run, where, edits, as_json)


def _decision(run: Run, label: str | None, decided: list[str]) -> list[Edit]:
    """Return the decision that the options ask for.

    Raises:
        UserError: there are two, or the label is none of the run's.
    """
    from saliency_core.store import Edit

    edits = [Edit(what) for what in decided]
    edits += [Edit("label", label)] if label is not None else []
    if len(edits) > 1:
        raise UserError("Decide one thing: --label, --right, --reviewed or --clear.")
    if label is not None and label not in run.label_names:
        raise UserError(f"{label!r} names no label; choose from {', '.join(run.label_names)}.")
    return edits


def _annotate(run: Run, where: str | None, edits: list[Edit], as_json: bool) -> None:
    from saliency_core.store import annotate as write
    from saliency_core.store.read.annotations import in_words

    if where is None:
        raise UserError('Name the examples with a filter; "" means all of them.')
    if not edits:
        raise UserError(
            "Say what to do: --label, --right, --reviewed, --clear, --note, --tag or --untag."
        )
    filtered(run, where)
    done = write(run.store.path, run.number, edits, where=where)
    if as_json:
        print_json(
            {
                "run": run.number,
                "action": done.number,
                "did": in_words(edits),
                "examples": done.examples,
                "chosen": done.chosen,
            }
        )
        return
    chosen = counted(done.chosen, "example")
    if done.number is None:
        print(f"Nothing to change in {chosen}: {in_words(edits)}.")
        return
    print(f"Changed {done.examples:,} of {chosen}: {in_words(edits)}.")
    print(f"Undo it with --undo --action {done.number}.")


def _undo(run: Run, action: int | None, as_json: bool) -> None:
    from saliency_core.store import undo

    number = undo(run.store.path, run.number, action)
    actions = run.actions()
    row = actions[actions["action"] == number].iloc[0]
    if as_json:
        found = {"did": row["did"], "examples": row["examples"], "chosen": row["examples"]}
        print_json({"run": run.number, "action": number, **found})
        return
    print(f"Undid action {number}: {row['did']} ({counted(row['examples'], 'example')}).")


def _history(run: Run, as_json: bool) -> None:
    rows = records(run.actions())
    if as_json:
        print_json({"run": run.number, "history": rows})
        return
    columns = ["action", "done", "did", "examples", "where", "undone"]
    show(rows, columns, nothing="Nothing was annotated yet.")
