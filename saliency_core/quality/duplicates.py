"""Which texts stand in a dataset twice, exactly or nearly, and with which labels?"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saliency_core.errors import UserError
from saliency_core.progress import Progress, silent
from saliency_core.quality.text_sets import (
    SLOTS,
    Bands,
    Signatures,
    fold_sides,
    jaccard,
    joined,
    pairs_of_band,
    signatures,
    text_key,
)
from saliency_core.store import Run

THRESHOLD = 0.6
"""Jaccard similarity from which two texts are nearly the same."""
BLOCK = 5_000
"""Texts read, or pairs compared, at once."""
LISTED = 100
"""Ids named of a group at most."""


@dataclass(frozen=True)
class Duplicates:
    """The groups of texts that are the same or nearly, by rising position of their first."""

    group: np.ndarray
    """(example,) int32 by rising position: number of its group, from 0; -1 where unique."""
    exact: np.ndarray
    """(example,) int32: number of the group of texts that are the same; -1 where none is."""
    conflict: np.ndarray
    """(example,) bool: its group has more than one label."""

    @property
    def examples(self) -> int:
        """Return the examples that are in a group."""
        return int(np.count_nonzero(self.group >= 0))

    @property
    def groups(self) -> int:
        """Return the number of groups."""
        return int(self.group.max(initial=-1)) + 1

    @property
    def surplus(self) -> int:
        """Return the examples that would go if one of each group stayed."""
        return self.examples - self.groups


def check_threshold(threshold: float) -> None:
    """Raise a UserError for a threshold that is not between 0.3 and 1."""
    if not 0.3 <= threshold <= 1:
        raise UserError(
            f"--threshold {threshold:g} must be between 0.3 and 1, the similarity from which two "
            "texts are nearly the same."
        )


def find_duplicates(
    run: Run, *, threshold: float = THRESHOLD, progress: Progress = silent
) -> Duplicates:
    """Return the duplicates of a run.

    Empty texts are no duplicates of one another. Near duplicates are joined: a text belongs to a
    group if it is nearly the same as one of its members.

    Args:
        run: a run.
        threshold: Jaccard similarity of word pairs from which texts are nearly the same; 1 finds
            texts of the same word pairs only.
        progress: called with stage, done, total.

    Raises:
        UserError: the threshold can't be used.
    """
    check_threshold(threshold)
    with run.steady():
        gold = run.column("gold").astype(np.int64)
        texts = Texts(run)
        _, first, number = texts.distinct(progress)
        exact = np.append(first, -1)[number]
        near = _near(texts, np.sort(first), threshold, progress)
    group = _numbered(np.append(near, -1)[exact])
    return Duplicates(group, _numbered(exact), _conflicts(group, gold))


def _near(texts: Texts, rows: np.ndarray, threshold: float, progress: Progress) -> np.ndarray:
    """Return (example,) the first example of the near group, for the distinct texts' rows."""
    bands = Bands(threshold)
    known = texts.signatures(rows, bands, "comparing texts", progress)
    root, unlike = np.arange(len(rows)), np.zeros(0, np.int64)
    for number, band in enumerate(known.bands):
        pairs = np.stack(pairs_of_band(band))
        pairs = pairs[:, root[pairs[0]] != root[pairs[1]]]
        pairs.sort(0)
        codes = np.unique(pairs[0] * len(rows) + pairs[1])
        codes = np.setdiff1d(codes, unlike, assume_unique=True)
        first, second = np.divmod(codes, max(len(rows), 1))
        likely = known.estimates(first, known, second) >= bands.least
        first, second, codes = first[likely], second[likely], codes[likely]
        rejected = []
        for start in range(0, len(codes), BLOCK):
            part = slice(start, start + BLOCK)
            apart = root[first[part]] != root[second[part]]
            a, b = first[part][apart], second[part][apart]
            alike = texts.alike(rows[a], rows[b], threshold)
            root = joined(root, a[alike], b[alike])
            rejected.append(codes[part][apart][~alike])
        unlike = np.union1d(unlike, np.concatenate(rejected)) if rejected else unlike
        progress("joining duplicates", number + 1, bands.count)
    first_of = np.arange(len(texts))
    first_of[rows] = rows[root]
    return first_of


def _numbered(first: np.ndarray) -> np.ndarray:
    """Return (example,) group numbers from the first example of each group; -1 where alone."""
    size = np.bincount(first[first >= 0], minlength=len(first))
    shared = np.flatnonzero(size > 1)
    number = np.full(len(first) + 1, -1, np.int32)
    number[shared] = np.arange(len(shared))
    return number[first]


def _conflicts(group: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Return (example,) whether the labelled examples of its group have more than one label."""
    groups = int(group.max(initial=-1)) + 1
    low, high = np.full(groups, np.iinfo(np.int64).max), np.full(groups, -1)
    judged = (group >= 0) & (gold >= 0)
    np.minimum.at(low, group[judged], gold[judged])
    np.maximum.at(high, group[judged], gold[judged])
    differs = np.r_[high > low, False]
    return differs[group]


class Texts:
    """The folded texts of a run by row, read in blocks so that memory does not grow with them."""

    def __init__(self, run: Run) -> None:
        """Read which text each row has."""
        self.run = run
        index = run.columns
        self.text_ids = np.full(len(index), -1, np.int64)
        for rows, (ids,) in index.batches("SELECT position, text_id FROM examples WHERE run = ?"):
            self.text_ids[rows] = ids

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.text_ids)

    def distinct(self, progress: Progress) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the texts that are not empty, each once, by their rising keys.

        Returns:
            (text,) int64 key, (text,) the first row that has it, (example,) which of them it has;
            -1 for an empty one.
        """
        # A text that several examples have is folded once.
        distinct, inverse = np.unique(self.text_ids, return_inverse=True)
        own = np.full(len(distinct), -1, np.int64)
        for start in range(0, len(distinct), BLOCK):
            part = distinct[start : start + BLOCK].tolist()
            folded = self._read(part)
            own[start : start + len(part)] = [
                text_key(folded[text]) if folded.get(text) else -1 for text in part
            ]
            progress("reading texts", min(start + BLOCK, len(distinct)), len(distinct))
        keys = own[inverse]
        kept = np.flatnonzero(keys >= 0)
        known, first, number = np.unique(keys[kept], return_index=True, return_inverse=True)
        text_of = np.full(len(keys), -1)
        text_of[kept] = number
        return known, kept[first], text_of

    def signatures(
        self, rows: np.ndarray, bands: Bands, stage: str, progress: Progress
    ) -> Signatures:
        """Return the signatures of the texts of rows, in arrays made once."""
        found = Signatures(
            np.zeros((bands.count, len(rows)), np.uint32), np.zeros((len(rows), SLOTS), np.uint8)
        )
        for start in range(0, len(rows), BLOCK):
            part = slice(start, min(start + BLOCK, len(rows)))
            block = signatures(self.of(rows[part]), bands)
            found.bands[:, part], found.bytes[part] = block.bands, block.bytes
            progress(stage, part.stop, len(rows))
        return found

    def of(self, rows: np.ndarray) -> list[str]:
        """Return the folded texts of rows."""
        ids = self.text_ids[rows].tolist()
        folded = self._read(sorted(set(ids)))
        return [folded[text] for text in ids]

    def alike(self, first: np.ndarray, second: np.ndarray, threshold: float) -> np.ndarray:
        """Return (pair,) bool: whether texts of rows are as similar as the threshold, exactly."""
        pairs = zip(self.of(first), self.of(second), strict=True)
        return np.array([jaccard(a, b) >= threshold for a, b in pairs], bool)

    def _read(self, ids: list[int]) -> dict[int, str]:
        """Return text id -> folded text."""
        rows = self.run.store.rows(
            "SELECT text_id, text, pair FROM texts"
            " WHERE text_id IN (SELECT value FROM json_each(?))",
            (json.dumps(ids),),
        )
        return {text_id: fold_sides(text, pair) for text_id, text, pair in rows}


def duplicate_groups(run: Run, *, limit: int = 50) -> pd.DataFrame:
    """Return the groups kept with a run, those of several labels first, then the largest.

    Args:
        run: a run whose duplicates were looked for.
        limit: groups.

    Returns:
        Columns group, kind (`exact` or `near`), size, conflict, labels (names), ids and text (of
        the first); empty where nothing was kept.
    """
    columns = ["group", "kind", "size", "conflict", "labels", "ids", "text"]
    group, exact = run.quality("duplicate"), run.quality("duplicate_exact")
    conflict = run.quality("duplicate_conflict")
    if group is None or exact is None or conflict is None or not (group >= 0).any():
        return pd.DataFrame(columns=columns)
    group = group.astype(np.int64)
    members = np.flatnonzero(group >= 0)
    size = np.bincount(group[members])
    differs = np.zeros(len(size), bool)
    differs[group[members]] = conflict[members] > 0
    chosen = np.lexsort((-size, ~differs))[:limit]
    by_group = members[np.argsort(group[members], kind="stable")]
    starts = np.r_[0, np.cumsum(size)]
    names, positions, gold = run.label_names, run.column("position"), run.column("gold")
    of_group = {n: by_group[starts[n] : starts[n + 1]] for n in chosen.tolist()}
    listed = np.concatenate([positions[own[:LISTED]] for own in of_group.values()])
    shown = run.examples_at(listed).set_index("example")
    rows = []
    for number, own in of_group.items():
        frame = shown.loc[positions[own[:LISTED]].tolist()]
        labels = gold[own]
        rows.append(
            {
                "group": number,
                "kind": "exact" if exact[own[0]] >= 0 and np.ptp(exact[own]) == 0 else "near",
                "size": len(own),
                "conflict": bool(differs[number]),
                "labels": [names[label] for label in np.unique(labels[labels >= 0]).tolist()],
                "ids": frame["id"].tolist(),
                "text": frame["text"].iloc[0],
            }
        )
    return pd.DataFrame(rows, columns=columns)


def accuracy_of(run: Run, rows: np.ndarray | bool) -> float | None:
    """Return the accuracy of some examples, (example,) bool or True; None without labels there."""
    gold, predicted = run.column("gold"), run.column("predicted")
    judged = rows & (gold >= 0) & (predicted >= 0)
    return float(np.mean(gold[judged] == predicted[judged])) if judged.any() else None


def kept_once(group: np.ndarray) -> np.ndarray:
    """Return (example,) bool: one of each group, the first, and all that are in none."""
    kept = group < 0
    _, first = np.unique(group, return_index=True)
    kept[first] = True
    return kept
