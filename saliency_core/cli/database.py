"""`merge`, `prune`, `annotations export|import`: keeping files in order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from saliency_core.cli.help import Program
from saliency_core.cli.tables import counted, megabytes, say, show
from saliency_core.cli.terminal import (
    AsJson,
    Database,
    Force,
    RunOption,
    check_output,
    existing,
    print_json,
)
from saliency_core.errors import UserError

annotation_app = Program("Carry slices, decisions, notes, tags and verdicts to another file.")


def merge(
    shards: Annotated[list[Path], typer.Argument(help="Files to read.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write or add to.")],
    as_json: AsJson = False,
) -> None:
    """Join several files of the same runs (shards, machines) into one."""
    from saliency_core.store import merge as merge_files

    report = merge_files(output, shards)
    if as_json:
        print_json(report)
        return
    show(report["runs"], ["run", "examples", "added", "sources", "finished"])
    for name in report["slices_kept"]:
        say(f"Slice {name!r} differs between the files; the first one was kept.")
    open_runs = [row["run"] for row in report["runs"] if not row["finished"]]
    if open_runs:
        say(
            f"Runs {', '.join(map(str, open_runs))}: run the same audit with --db {output} to "
            "summarise the layers; no example is computed again."
        )


def prune(
    runs: Annotated[list[int], typer.Argument(help="Numbers of the runs to delete.")],
    database: Database = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete runs and give their space back."""
    from saliency_core.store import prune as prune_runs

    path = existing(database)
    if not yes and not as_json:
        named = ", ".join(map(str, runs))
        typer.confirm(f"Delete run {named} of {path} with its notes and verdicts?", abort=True)
    report = prune_runs(path, runs)
    if as_json:
        print_json(report)
        return
    freed = megabytes(report["bytes_before"] - report["bytes_after"])
    print(f"Deleted {counted(len(report['runs']), 'run')} of {path}; {freed} given back.")


@annotation_app.command("export")
def export_annotations(
    database: Database = None,
    run: RunOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON file (default: standard output).")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write slices, decisions, notes, tags and verdicts of a run to a JSON file."""
    from saliency_core.store import export_annotations as exported

    path = existing(database)
    if output is not None:
        check_output(output, force, [path])
    found = exported(path, run)
    if output is None:
        print_json(found)
        return
    output.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
    counts = {name: len(found[name]) for name in ("slices", "notes", "orphans", "verdicts")}
    if as_json:
        print_json({"output": str(output), **counts})
    else:
        print(f"Wrote {_counts(counts)} to {output}.")


@annotation_app.command("import")
def import_annotations(
    source: Annotated[Path, typer.Argument(help="JSON file of `annotations export`.")],
    database: Database = None,
    run: RunOption = None,
    by_row: Annotated[
        bool, typer.Option("--by-row", help="By row number, where the ids have changed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add slices, decisions, notes, tags and verdicts by stable id; the newer of two wins."""
    from saliency_core.store import import_annotations as imported

    report = imported(existing(database), _read(source), run, by="row" if by_row else "id")
    if as_json:
        print_json(report)
        return
    counts = {name: report[name] for name in ("slices", "notes", "verdicts")}
    print(f"Added {_counts(counts)} to run {report['run']}.")
    for name, sentence in (
        ("unknown_ids", "Not in this run, left out"),
        ("changed_ids", "The text changed since the note, look again"),
        ("kept_slices", "Another slice has this name and stays"),
    ):
        if report[name]:
            print(f"{sentence}: {', '.join(report[name])}.")


def _counts(counts: dict[str, int]) -> str:
    """Return `1 slice, 2 notes`."""
    return ", ".join(
        counted(count, things.removesuffix("s"), things) for things, count in counts.items()
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{path} is not a JSON file: {error}.") from error
