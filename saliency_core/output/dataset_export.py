"""The audited dataset in its own columns again: with corrected labels, without duplicates.

Beside it stands a log of every row that was changed or left out, and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saliency_core.atomic import replacing
from saliency_core.data.files.row_writer import ENDINGS, RowWriter, write_json_lines
from saliency_core.errors import UserError
from saliency_core.output.export import counted, in_batches
from saliency_core.progress import Progress, silent
from saliency_core.store import Run, Slice

ROLES = ("id", "text", "pair", "label")
"""Columns of the dataset that have a meaning of their own, in the order they are written."""
DROP = "drop"
"""Tag of examples that are left out."""


@dataclass(frozen=True)
class ExportedDataset:
    """What was written."""

    output: str
    format: str
    run: int
    examples: int
    relabelled: int
    dropped: int
    undecided: int
    """Examples of duplicates that stay, because their labels differ and nobody decided."""
    log: str | None
    """File that says what was changed and why; None where nothing could be."""


def export_dataset(
    part: Slice,
    output: str | Path,
    *,
    corrected: bool = False,
    drop_duplicates: bool = False,
    progress: Progress = silent,
) -> ExportedDataset:
    """Write the rows of a slice in the dataset's own columns; they load back as they were.

    Args:
        part: a slice.
        output: JSON Lines or CSV by its ending; replaced when all is written.
        corrected: put the labels that somebody corrected in the place of the dataset's.
        drop_duplicates: leave out what is tagged `drop`, and all but the first of each group of
            duplicates whose labels agree.
        progress: called with stage, done, total.

    Raises:
        UserError: the ending, or duplicates that nobody looked for yet.
    """
    run, output = part.run, Path(output)
    if output.suffix not in ENDINGS:
        raise UserError(
            f"{output} must end in {' or '.join(ENDINGS)}: what it ends in decides its format."
        )
    if not output.parent.is_dir():
        raise UserError(f"There is no folder {output.parent} to write {output.name} into.")
    with run.steady():
        corrections = _corrections(run) if corrected else {}
        dropped, undecided = _dropped(run, corrections) if drop_duplicates else ({}, set())
        positions = part.positions()
        log: list[dict[str, Any]] = []
        columns, word_of = run.dataset.columns, _dataset_labels(run)
        names = [columns[role] for role in ROLES if role in columns]
        names += run.metadata_columns()
        with replacing(output) as partial, RowWriter(partial, output.suffix, names) as writer:
            rows = counted(_rows(run, positions), len(positions), progress)
            for position, row, id, note in rows:
                if position in dropped:
                    log.append({"id": id, "change": "dropped", **dropped[position]})
                    continue
                if position in undecided:
                    why = "a duplicate with another label, undecided"
                    log.append({"id": id, "change": "kept", "why": why})
                if position in corrections and "label" in columns:
                    right = word_of.get(corrections[position], corrections[position])
                    change = {"from": row[columns["label"]], "to": right}
                    why = note or "decided by a reviewer"
                    log.append({"id": id, "change": "relabelled", **change, "why": why})
                    row[columns["label"]] = right
                writer.write(row)
        _name_kept(run, log)
    changes = Counter(entry["change"] for entry in log)
    log_path = None
    if corrected or drop_duplicates:
        log_path = output.with_name(f"{output.stem}-changes.jsonl")
        with replacing(log_path) as partial:
            write_json_lines(partial, log)
    return ExportedDataset(
        str(output),
        output.suffix.removeprefix("."),
        run.number,
        len(positions) - changes["dropped"],
        changes["relabelled"],
        changes["dropped"],
        changes["kept"],
        None if log_path is None else str(log_path),
    )


def _name_kept(run: Run, log: list[dict[str, Any]]) -> None:
    """Put ids in the place of the positions of what stays of a group."""
    for some in in_batches(entry for entry in log if "kept" in entry):
        ids = run.examples_at([entry["kept"] for entry in some])["id"]
        for entry, id in zip(some, ids, strict=True):
            entry["kept"] = id


def _rows(run: Run, positions: np.ndarray) -> Iterator[tuple[int, dict[str, Any], str, str]]:
    """Yield position, row in the dataset's columns, id and note."""
    columns, metadata = run.dataset.columns, run.metadata_columns()
    for some in in_batches(positions.tolist()):
        examples = run.examples_at(some).to_dict("records")
        rows = zip(some, examples, run.details(some), run.annotations_at(some), strict=True)
        for position, example, extra, said in rows:
            values = {**example, "label": extra["label"]}
            row = {columns[role]: values[role] for role in ROLES if role in columns}
            row |= {name: extra["metadata"].get(name) for name in metadata}
            yield position, row, example["id"], said["note"]


def _dataset_labels(run: Run) -> dict[str, str]:
    """Return which label of the dataset stands for which class."""
    rows = run.store.rows(
        "SELECT gold, label FROM examples WHERE run = ? AND gold IS NOT NULL"
        " GROUP BY gold, label ORDER BY count(*)",
        (run.number,),
    )
    names = run.label_names
    # Of several labels of one class the most frequent, which comes last.
    return {names[gold]: label for gold, label in rows}


def _corrections(run: Run) -> dict[int, str]:
    """Return position -> the class that somebody corrected its label to."""
    found: dict[int, str] = {}
    for some in in_batches(run.filter("relabelled").positions().tolist()):
        said = run.annotations_at(some)
        found |= {at: one["label"] for at, one in zip(some, said, strict=True)}
    return found


def _dropped(run: Run, corrections: dict[int, str]) -> tuple[dict[int, dict[str, Any]], set[int]]:
    """Return position -> why it is left out, and the positions of duplicates left undecided."""
    tagged = DROP in run.store.annotations(run.number).tags
    marked = set(run.filter(f"tag:{DROP}").positions().tolist()) if tagged else set()
    gone: dict[int, dict[str, Any]] = {at: {"why": f"tagged {DROP}"} for at in marked}
    group, exact = run.quality("duplicate"), run.quality("duplicate_exact")
    if group is None or exact is None:
        if not marked:
            raise UserError(
                f"Nobody has looked for duplicates in run {run.number} yet; run "
                f"`data-quality --run {run.number}` to do so."
            )
        return gone, set()
    positions = run.column("position").tolist()
    labels = np.array([*run.label_names, None], object)[run.column("gold")]
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero(group >= 0).tolist():
        if positions[row] not in gone:
            members.setdefault(int(group[row]), []).append(row)
    undecided: set[int] = set()
    for rows in members.values():
        places = [positions[row] for row in rows]
        said = {corrections.get(positions[row], labels[row]) for row in rows} - {None}
        if len(rows) > 1 and len(said) > 1:
            undecided.update(places)
            continue
        for row, place in zip(rows[1:], places[1:], strict=True):
            same = exact[row] >= 0 and exact[row] == exact[rows[0]]
            kind = "the same text as" if same else "nearly the same text as"
            gone[place] = {"why": kind, "kept": places[0]}
    return gone, undecided
