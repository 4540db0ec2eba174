"""Equal texts are stored once; results of equal content are copied in place of computing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from saliency_core.records import Example
from saliency_core.store.format import chunk as columnar
from saliency_core.store.format.chunk import Chunk
from saliency_core.store.format.chunk_io import load_chunk, run_fact, set_facts
from saliency_core.store.format.example_rows import PREDICTION
from saliency_core.store.format.keys import text_digest
from saliency_core.store.sqlite_files import SqlRow, first_value

if TYPE_CHECKING:
    from saliency_core.store.write.writer import StoreWriter


class _Donor(NamedTuple):
    """A stored result under the content key of a run."""

    run: int
    position: int
    gold: int | None
    chunk: int
    slot: int
    prediction: SqlRow
    """As `prediction_row` makes it: the predicted class first."""


class _Copy(NamedTuple):
    """A position that takes over a stored result."""

    position: int
    donor: _Donor
    same_gold: bool


def text_ids(writer: StoreWriter, examples: Sequence[Example]) -> list[int]:
    """Return the row of each text, inserting the texts the file has not seen."""
    digests = [text_digest(example) for example in examples]
    ids: dict[bytes, int] = dict(
        writer.matching(
            "SELECT digest, text_id FROM digests WHERE digest IN ({})", list(set(digests))
        )
    )
    new = {
        digest: example
        for digest, example in zip(digests, examples, strict=True)
        if digest not in ids
    }
    if new:
        top = first_value(writer.connection, "SELECT coalesce(max(text_id), 0) FROM texts")
        ids |= {digest: number for number, digest in enumerate(new, start=top + 1)}
        writer.connection.executemany(
            "INSERT INTO texts (text_id, text, pair) VALUES (?, ?, ?)",
            [(ids[digest], example.text, example.pair) for digest, example in new.items()],
        )
        writer.connection.executemany(
            "INSERT INTO digests VALUES (?, ?)", [(digest, ids[digest]) for digest in new]
        )
    return [ids[digest] for digest in digests]


def copy_known(
    writer: StoreWriter, run: int, pending: dict[int, tuple[int, int | None]]
) -> set[int]:
    """Copy results of equal content; return the positions that were filled."""
    donors = _donors(writer, run, {text_id for text_id, _ in pending.values()})
    if not donors:
        return set()
    target = run_fact(writer.connection, run, "settings")["target"]
    gold_free = target not in ("gold", "contrast")
    copies = []
    for position, (text_id, gold) in pending.items():
        fitting = [d for d in donors.get(text_id, []) if _fits(d, gold, gold_free)]
        if fitting:
            # An equal gold label first: another one's batch may differ in the last digit.
            donor = min(fitting, key=lambda found: found.gold != gold)
            copies.append(_Copy(position, donor, same_gold=donor.gold == gold))
    if copies:
        with writer.transaction():
            _copy(writer, run, copies)
    return {copy.position for copy in copies}


def _donors(writer: StoreWriter, run: int, text_ids: set[int]) -> dict[int, list[_Donor]]:
    """Return text -> results under the same content key, this run's own first."""
    found: dict[int, list[_Donor]] = {}
    for table in ("examples", "former_examples"):
        for text_id, donor_run, position, gold, chunk, slot, *prediction in writer.matching(
            f"SELECT text_id, e.run, position, gold, chunk, slot, {PREDICTION}"
            " FROM runs me JOIN runs r ON r.content = me.content"
            f" JOIN {table} e ON e.run = r.run"
            " WHERE me.run = ? AND chunk IS NOT NULL AND text_id IN ({})",
            sorted(text_ids),
            run,
        ):
            donor = _Donor(donor_run, position, gold, chunk, slot, tuple(prediction))
            found.setdefault(text_id, []).append(donor)
    for donors in found.values():
        donors.sort(key=lambda donor: (donor.run != run, donor.run, donor.position))
    return found


def _copy(writer: StoreWriter, run: int, copies: list[_Copy]) -> None:
    """Write results of other examples as those of these positions."""
    names = writer.targets(run)
    parts: list[Chunk] = []
    rows: list[SqlRow] = []
    by_chunk: dict[tuple[int, int], list[_Copy]] = {}
    for copy in copies:
        by_chunk.setdefault((copy.donor.run, copy.donor.chunk), []).append(copy)
    for (donor_run, number), wanted in by_chunk.items():
        chunk = columnar.take(
            load_chunk(writer.connection, donor_run, number), [copy.donor.slot for copy in wanted]
        )
        if donor_run != run:
            chunk, names = rename_targets(chunk, writer.targets(donor_run), names)
        chunk = _drop_contrast(chunk, wanted, names)
        chunk = replace(chunk, positions=np.array([copy.position for copy in wanted], np.int64))
        parts.append(chunk)
        rows += [copy.donor.prediction for copy in wanted]
    set_facts(writer.connection, run, targets=names)
    writer.insert_chunk(run, columnar.concat(parts), rows)


def _fits(donor: _Donor, gold: int | None, gold_free: bool) -> bool:
    """Return whether a result computed under another gold label holds under this one.

    A contrast is stored where gold and predicted class differ, so such a result fits its own gold
    label only; without a contrast to compute, any result of a gold-free target fits.
    """
    return gold == donor.gold or (gold_free and (gold is None or gold == donor.prediction[0]))


def rename_targets(chunk: Chunk, old: list[str], new: list[str]) -> tuple[Chunk, list[str]]:
    """Return the chunk with target numbers of another run."""
    new = new + [name for name in old if name not in new]
    number = np.array([0, *(new.index(name) + 1 for name in old)])
    extra = {int(number[target]): found for target, found in chunk.extra.items()}
    return replace(chunk, target=number[chunk.target].astype(np.int32), extra=extra), new


def _drop_contrast(chunk: Chunk, wanted: list[_Copy], names: list[str]) -> Chunk:
    """Remove contrasts that belong to the donor's gold label only."""
    number = names.index("contrast") + 1 if "contrast" in names else None
    if number not in chunk.extra:
        return chunk
    extra = dict(chunk.extra)
    old = extra.pop(number)
    keep = np.array([copy.same_gold for copy in wanted])
    rows = np.flatnonzero(keep[old.members])
    if len(rows):
        extra[number] = columnar.take_members(chunk, old, rows)
    return replace(chunk, extra=extra)
