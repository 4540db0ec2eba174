"""The blanked-out copy that each text is compared with, and its place among the rows of a batch.

A reference has its text's length and special tokens; at every other position the embedding of one
token that says nothing stands instead. Its states depend on the layout alone, so texts of one
layout share one reference. Texts and references run through the model together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from saliency_core.model.classifier import changed_embeddings

LAYOUTS_APART = 4
"""Up to so many layouts of a batch are gone through one by one, each reference broadcast to its
texts; with more, every text gets a copy of its reference."""


@dataclass(frozen=True)
class Part:
    """Texts of a batch, with references that broadcast against them."""

    texts: slice
    references: slice | Tensor
    """Rows of the batch: one for all texts, or one for each."""


@dataclass(frozen=True)
class Pairing:
    """Which row of a batch is the reference of which text: texts first, references behind them."""

    reference_of: tuple[int, ...]
    """(text,) number of each text's reference, not falling."""

    @property
    def texts(self) -> int:
        """Return the number of texts."""
        return len(self.reference_of)

    @property
    def rows(self) -> int:
        """Return the number of rows: texts and references."""
        return self.texts + self.reference_of[-1] + 1

    @cached_property
    def reference_rows(self) -> Tensor:
        """Return the (text,) rows of the batch that hold each text's reference."""
        return torch.tensor(self.reference_of) + self.texts

    @cached_property
    def parts(self) -> list[Part]:
        """Return the texts in parts whose references broadcast against them."""
        references = self.rows - self.texts
        if references > LAYOUTS_APART:
            return [Part(slice(0, self.texts), self.reference_rows)]
        starts = [self.reference_of.index(number) for number in range(references)]
        ends = [*starts[1:], self.texts]
        return [
            Part(slice(start, end), slice(self.texts + number, self.texts + number + 1))
            for number, (start, end) in enumerate(zip(starts, ends, strict=True))
        ]

    def fits(self, values: Tensor) -> bool:
        """Return whether the leading axis of a tensor is the batch, or the batch times something.

        Heads, chunks or tokens may be folded into the batch axis, as long as the batch comes first.
        """
        return values.ndim > 0 and values.shape[0] > 0 and values.shape[0] % self.rows == 0

    def by_row(self, values: Tensor) -> Tensor:
        """Return values with the batch alone as leading axis: (rows, ...)."""
        return values if len(values) == self.rows else values.unflatten(0, (self.rows, -1))

    def by_text(self, values: Tensor) -> Tensor:
        """Return values of texts alone with the batch alone as leading axis: (text, ...)."""
        return values if len(values) == self.texts else values.unflatten(0, (self.texts, -1))

    def of_texts(self, values: Tensor) -> Tensor:
        """Return the texts' part of a tensor, in the tensor's own shape otherwise."""
        return values[: values.shape[0] // self.rows * self.texts]

    def differences(self, values: Tensor) -> Tensor:
        """Return (text, ...) u(text) - u(reference), in float32 at least."""
        parts = [wide(values[part.texts]) - wide(values[part.references]) for part in self.parts]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def matched(self, values: Tensor) -> Tensor:
        """Return (text, ...) u(reference), one for each text or one that broadcasts to all."""
        one = len(self.parts) == 1
        return values[self.parts[0].references if one else self.reference_rows]

    def means(self, values: Tensor) -> Tensor:
        """Return 1/2 (u(text) + u(reference)), shaped like `of_texts`, in float32 at least."""
        rows = self.by_row(values)
        parts = [
            torch.lerp(wide(rows[part.texts]), wide(rows[part.references]), 0.5)
            for part in self.parts
        ]
        found = parts[0] if len(parts) == 1 else torch.cat(parts)
        return found if rows is values else found.flatten(0, 1)


def wide(values: Tensor) -> Tensor:
    """Return values in float32 where they are of less precision: differences need the digits."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def pair_up(layouts: Sequence[object]) -> tuple[list[int], list[int], Pairing]:
    """Return the order of the texts, the text each reference is made from, and the pairing.

    Args:
        layouts: what the reference of each text depends on; equal ones share a reference.

    Returns:
        Rows in the order of the batch's texts (layouts together); for every reference one of its
        texts; which reference belongs to which text of that order.
    """
    number = {layout: place for place, layout in enumerate(dict.fromkeys(layouts))}
    numbers = [number[layout] for layout in layouts]
    order = sorted(range(len(layouts)), key=numbers.__getitem__)  # stable
    first = {numbers[row]: row for row in reversed(order)}
    models = [first[place] for place in range(len(number))]
    return order, models, Pairing(tuple(numbers[row] for row in order))


def layout_of(encoding: Any, pad_token_id: int) -> tuple[Any, ...]:
    """Return all that the states of an encoding's reference depend on.

    Its length, its special tokens and its token types; and where the padding token stands in the
    text itself, because some models look for it among the ids.
    """
    ids = np.array(encoding.input_ids, np.int64)
    replaced = ~encoding.special & (ids != pad_token_id)
    return np.where(replaced, -1, ids).tobytes(), encoding.type_ids or ()


def layout_batches(
    rows: Sequence[int], encodings: Sequence[Any], pad_token_id: int, batch_tokens: int
) -> list[list[int]]:
    """Return rows in batches of at most `batch_tokens` tokens, padding and references included.

    Rows are sorted by length and layout. A batch that is half full ends with its layout: one
    layout's reference is broadcast, several have to be kept apart.
    """
    layouts = {row: layout_of(encodings[row], pad_token_id) for row in rows}
    lengths = {row: len(encodings[row].input_ids) for row in rows}
    batches: list[list[int]] = []
    references = 0
    previous = None
    for row in sorted(rows, key=lambda row: (lengths[row], layouts[row], row)):
        fresh = layouts[row] != previous
        previous = layouts[row]
        filled = (len(batches[-1]) + references) * lengths[row] if batches else batch_tokens
        if filled + (1 + fresh) * lengths[row] > batch_tokens or (
            fresh and 2 * filled > batch_tokens
        ):
            batches.append([])
            references, fresh = 0, True
        references += fresh
        batches[-1].append(row)
    return batches


@contextmanager
def reading_references(
    modules: Sequence[nn.Module],
    reference_of: Callable[[nn.Module], Tensor],
    input_ids: Tensor,
    own: Tensor,
    pairing: Pairing,
    share: list[float],
) -> Iterator[None]:
    """Let the embedding modules return the references' embeddings in the rows of references.

    The texts' rows get e_reference + t (e - e_reference) with t = share[0]; at t = 1, the text.
    Ids stay those of the text, because decoder-only classifiers look at them to find the token
    they read.

    Args:
        modules: the input-embedding modules; their output is (row, token, embedding).
        reference_of: module -> (embedding,) what stands for every token that is not special.
        input_ids: (row, token) ids of texts and references, as the model gets them.
        own: (row, token) bool, True for real tokens that are not special.
        pairing: which rows are references.
        share: one number, changed by the caller between forward passes.
    """

    def change(module: nn.Module, ids: Tensor, found: Tensor) -> Tensor:
        here = _own_positions(ids, input_ids, own).unsqueeze(-1)  # (row, token, 1)
        reference = reference_of(module).to(found.dtype)
        texts, references = found[: pairing.texts], found[pairing.texts :]
        references = torch.where(here[pairing.texts :], reference, references)
        if share[0] < 1:
            between = torch.lerp(reference.expand_as(texts), texts, share[0])
            texts = torch.where(here[: pairing.texts], between, texts)
        return torch.cat([texts, references])

    with changed_embeddings(modules, change):
        yield


def _own_positions(ids: Tensor, input_ids: Tensor, own: Tensor) -> Tensor:
    """Return (row, token) bool: which of the ids a module looks up are tokens of the text.

    The decoder of an encoder-decoder reads the text one position later, behind its start token;
    some models pad the text to a multiple of their window.
    """
    width = input_ids.shape[1]
    extra = ids.shape[1] - width
    if extra >= 0 and torch.equal(ids[:, :width], input_ids):
        return nn.functional.pad(own, (0, extra))
    if extra == 0 and torch.equal(ids[:, 1:], input_ids[:, :-1]):
        return nn.functional.pad(own, (1, 0))[:, :width]
    raise RuntimeError("the model looks up embeddings of other tokens than those of the text")
