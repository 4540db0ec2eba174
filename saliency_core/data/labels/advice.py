"""What to say of labels the model does not know: a `--label-map` that works when pasted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from saliency_core.data.labels.label_map import NO_LABEL, label_map_option
from saliency_core.data.labels.matching import (
    SHOWN,
    Names,
    is_left_out,
    is_number,
    label_id,
    listed,
    matched,
    natural,
    shortened,
)
from saliency_core.stats import cross_table

SHUFFLES = 1000
"""Agreement must beat that of any of so many shuffles: p < 0.001."""
CLEAR_SHARE = 2 / 3
"""Of a label's examples, where several labels may mean one class: else it means none."""

Sample = Callable[[], tuple[Sequence[str], np.ndarray]]
"""Returns (example,) dataset labels and (example,) classes that the model predicts for them."""


class Advice:
    """What to say of labels the model does not know."""

    def __init__(
        self,
        names: Names,
        label_map: Mapping[str, str | None],
        known: dict[str, int | None],
        unknown: list[str],
        dataset_names: Sequence[str] | None,
        keep: Mapping[str, int],
    ) -> None:
        """Take what `matched` found; `keep` as `map_labels` has it."""
        self.names, self.label_map, self.keep = names, label_map, keep
        self.known, self.dataset_names = known, dataset_names
        order = {name: place for place, name in enumerate(dataset_names or ())}
        self.unknown = sorted(
            unknown, key=lambda label: (order.get(label, len(order)), natural(label))
        )
        self.classes = len(names.labels)
        taken = set(known.values())
        self.free = [index for index in range(self.classes) if index not in taken]
        self.numeric = all(map(is_number, unknown))
        full = self.numeric and len(unknown) == self.classes
        self.meant = [label for label in self.unknown if full or not is_left_out(label)]
        self.from_one = {label_id(label) for label in self.meant} == set(range(1, self.classes + 1))

    def sentence(self, what: str, sample: Sample | None) -> str:
        """Say what does not fit and how to repair it."""
        hint = ""
        if self.from_one:
            hint = " The ids count from 1."
        elif self.dataset_names:
            hint = f" The dataset names its labels {listed(self.dataset_names)}."
        shown = sorted([*self.known, *self.unknown], key=natural)
        return (
            f"The {what} ({listed(shown)}) are not those of the model "
            f"({listed(self.names.labels)}).{hint} {self._way_on(sample)}"
        )

    def _way_on(self, sample: Sample | None) -> str:
        return (
            self._no_label()
            or self._by_sample(sample)
            or self._by_order()
            or "Say what they mean with --label-map and pairs DATASET_LABEL=MODEL_LABEL between "
            "commas; DATASET_LABEL= with nothing behind it means no label."
        )

    def _option(self, meanings: Mapping[str, int | None]) -> str | None:
        wanted = {**self.known, **dict.fromkeys(self.unknown), **meanings}
        return repair_option(wanted, self.names, self.label_map, self.keep)

    def _no_label(self) -> str | None:
        if self.meant or not (option := self._option({})):
            return None
        left_out = " and ".join(map(shortened, self.unknown))
        verb = "means" if len(self.unknown) == 1 else "mean"
        return f"If {left_out} {verb} that there is no label, give {option}."

    def _by_sample(self, sample: Sample | None) -> str | None:
        """Offer the map that fits what the model predicts, if one clearly does."""
        if sample is None:
            return None
        labels, predicted = sample()
        meanings = self._fitting(labels, predicted)
        if meanings is None or not (option := self._option(meanings)):
            return None
        index = {**self.known, **dict.fromkeys(self.unknown), **meanings}
        hits = [
            index[label] == guess
            for label, guess in zip(labels, predicted.tolist(), strict=True)
            if index.get(label) is not None
        ]
        return (
            f"On {len(hits)} examples the model is right on {np.mean(hits):.0%} with {option}; "
            f"give it if that is what the labels mean{self._left_out()}."
        )

    def _fitting(self, labels: Sequence[str], predicted: np.ndarray) -> dict[str, Any] | None:
        """Return the class of each unknown label by what the model predicts; None if unclear.

        One class a label where there are enough, as in `check_label_order`; else the class that
        most of a label's examples are predicted, none where no class has `CLEAR_SHARE` of them.
        """
        rows = {label: row for row, label in enumerate(dict.fromkeys([*self.meant, *labels]))}
        gold = np.array([rows[label] for label in labels], np.int64)
        shape = len(rows), self.classes
        counts = cross_table(gold, predicted, shape)
        own = len(self.meant)
        if not self.free or not own or not counts[:own].sum(1).all():
            return None
        fits = self._one_to_one if own <= len(self.free) else _most
        chosen, excess = fits(counts, own)
        if not (_excess(counts)[np.arange(own), chosen] > 0).all():
            return None
        draw = np.random.default_rng(0)
        for _ in range(SHUFFLES):
            shuffled = cross_table(draw.permutation(gold), predicted, shape)
            if fits(shuffled, own)[1] >= excess:
                return None
        share = counts[np.arange(own), chosen] / counts[:own].sum(1)
        several = own > len(self.free)
        return {
            label: None if several and part < CLEAR_SHARE else int(index)
            for label, index, part in zip(self.meant, chosen, share, strict=True)
        }

    def _one_to_one(self, counts: np.ndarray, own: int) -> tuple[np.ndarray, float]:
        """Return a class of its own for the first `own` labels, and their agreement."""
        excess = _excess(counts)[:own][:, self.free]
        rows, columns = linear_sum_assignment(-excess)
        return np.array(self.free)[columns], float(excess[rows, columns].sum())

    def _by_order(self) -> str | None:
        """Offer the map that takes labels in their order for the classes in theirs."""
        whole = not self.numeric or self.from_one or len(self.meant) == self.classes
        if not whole or not 0 < len(self.meant) <= len(self.free):
            return None
        meanings = dict(zip(self.meant, self.free, strict=False))
        option = self._option(meanings)
        if option is None:
            return None
        if any(index is not None for index in self.known.values()):
            pairs = [f"{shortened(old)} means {self._name(new)}" for old, new in meanings.items()]
            return f"If {' and '.join(pairs[:SHOWN])}{self._left_out()}, give {option}."
        return f"If they mean the same in this order{self._left_out()}, give {option}."

    def _left_out(self) -> str:
        """Say which labels an offered map takes for none, after those that it takes for some."""
        left_out = [shortened(label) for label in self.unknown if label not in self.meant]
        return f" and {' and '.join(left_out)} is no label" if left_out else ""

    def _name(self, index: int) -> str:
        name, spelling = self.names.labels[index], self.names.spelling(index)
        return name if name == spelling else f"{name!r}, the label of number {index}"


def repair_option(
    wanted: Mapping[str, int | None],
    names: Names,
    label_map: Mapping[str, str | None],
    keep: Mapping[str, int],
) -> str | None:
    """Return the option under which labels mean what is wanted; None if there is none.

    It names the labels that would mean something else without it, else all of them, and is tried
    here before anybody pastes it.
    """
    spelled = {
        label: NO_LABEL if index is None else names.spelling(index)
        for label, index in wanted.items()
    }
    written = {label: text for label, text in spelled.items() if text is not None}
    if len(written) < len(spelled):
        return None
    labels = list(wanted)
    now, _ = matched(labels, names, label_map)
    changed = {
        label: text for label, text in written.items() if now.get(label, -1) != wanted[label]
    }
    for pairs in (changed, written):
        tried = {label: text or NO_LABEL for label, text in {**label_map, **pairs}.items()}
        found, unknown = matched(labels, names, tried)
        kept, lost = matched(list(keep), names, tried)
        if not unknown and found == dict(wanted) and not lost and kept == dict(keep):
            return label_map_option(tried)
    return None


def _excess(counts: np.ndarray) -> np.ndarray:
    """Return (gold label, predicted class) counts less what their margins alone would give."""
    return counts - np.outer(counts.sum(1), counts.sum(0)) / counts.sum()


def best_order(counts: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the permutation that agrees most beyond chance, and its lead over identity.

    Args:
        counts: (gold class, predicted class).
    """
    excess = _excess(counts)
    order = linear_sum_assignment(-excess)[1]
    return order, float(excess[np.arange(len(order)), order].sum() - np.trace(excess))


def _most(counts: np.ndarray, own: int) -> tuple[np.ndarray, float]:
    """Return the class most beyond chance for each of the first labels, and their agreement."""
    excess = _excess(counts)[:own]
    return excess.argmax(1), float(excess.max(1).sum())
