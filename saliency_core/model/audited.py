"""Texts edited on the exact characters of their words, and what the model answers then.

The model is loaded only here, from where the run says it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import regex

from saliency_core.errors import UserError
from saliency_core.stats import wilson
from saliency_core.words import named_spans

if TYPE_CHECKING:
    from saliency_core.model.classifier import Classifier
    from saliency_core.store import Run

_CHARACTER = regex.compile(r"\X")
Texts = tuple[str, str | None]
"""A text and its pair."""


def classifier_of(run: Run, model: str | None = None) -> Classifier:
    """Load the model that a run audited.

    `model` is where it is now; a language-model head that is no longer where it was is looked for
    beside it.

    Raises:
        UserError: it is no longer where the run says, or its weights have changed.
    """
    from saliency_core.model.loading import load_classifier

    name = model or run.model.name
    if not Path(name).is_dir() and name.startswith(("/", ".", "~")):
        raise UserError(
            f"The model of run {run.number} is no longer at {name}; say where it is (--model)."
        )
    head = None if run.model.lm_head_is_fallback else run.model.lm_head
    if head is not None and not Path(head).is_dir():
        beside = Path(name).parent / Path(head).name
        head = str(beside) if beside.is_dir() else head
    revision = None if model else run.model.revision
    classifier = load_classifier(
        name,
        lm_head=head,
        revision=revision,
        # Digests are of the weights as the run computed with them, and so are its answers.
        dtype=run.settings.dtype,
    )
    if classifier.info.model_digest != run.model.model_digest:
        raise UserError(
            f"The weights at {name} are not those that run {run.number} audited "
            f"({run.model.name}). Name the right folder (--model), or audit this model "
            "first."
        )
    # A file of an earlier version knows nothing of the settings.
    settings = run.model.config_digest
    if settings and classifier.info.config_digest != settings:
        raise UserError(
            f"The settings of {name} (config.json) are not those that run {run.number} audited; "
            "under others the same weights answer otherwise. Put them back, or audit this model "
            "again."
        )
    if classifier.info.lm_head_digest != run.model.lm_head_digest:
        raise UserError(
            f"The language-model head at {head} is not the one that run {run.number} was decoded "
            f"with ({run.model.lm_head}). Put that one there, or audit the model again."
        )
    # Only now: a wrong model may not even take texts of this length.
    return replace(classifier, max_length=run.settings.max_length)


def without_spans(text: str, spans: Sequence[tuple[int, int]], replacement: str = "") -> str:
    """Return the text with the spans replaced.

    A deleted word takes one space beside it along; deleted white space leaves one space where it
    alone parts two words.
    """
    pieces, at, last = [], 0, ""
    for start, end in sorted(spans) if replacement else _joined(spans):
        kept = text[at:start]
        last = kept[-1:] or last
        begins = not last or last.isspace()
        put = replacement
        if not replacement and text[start:end].isspace():
            put = "" if begins or text[end : end + 1].isspace() or end == len(text) else " "
        elif not replacement and begins and (after := _CHARACTER.match(text, end)):
            # A space with a mark on it is a word.
            end += after.group().isspace()
        pieces += [kept, put]
        last = put[-1:] or last
        at = end
    return "".join([*pieces, text[at:]])


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the spans in order, those that touch as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def replace_word(text: str, word: str, replacement: str) -> str:
    """Return a text in which every occurrence of a word, in any case, is replaced or deleted."""
    return replace_words(text, {named_word(word)}, replacement)


def replace_words(text: str, words: Collection[str], replacement: str) -> str:
    """Return a text in which every occurrence of lower-cased words is replaced or deleted."""
    spans = [(start, end) for name, start, end in named_spans(text) if name in words]
    return without_spans(text, spans, replacement)


def named_word(word: str) -> str:
    """Return a word as words are compared.

    Raises:
        UserError: it is empty.
    """
    if not word.strip():
        raise UserError(
            "Name the word to edit; white space has names too: “line break”, “tab character”, "
            "“white space”."
        )
    return word.strip().lower()


def answers(classifier: Classifier, texts: Sequence[Texts]) -> np.ndarray:
    """Return (text, class) probabilities; equal texts run once."""
    distinct = list(dict.fromkeys(texts))
    row = {text: place for place, text in enumerate(distinct)}
    pairs = None
    if any(pair is not None for _, pair in distinct):
        pairs = [pair or "" for _, pair in distinct]
    encodings = classifier.encode([text for text, _ in distinct], pairs, classifier.max_length)
    probabilities = classifier.probabilities(classifier.logits(encodings))
    return probabilities[[row[text] for text in texts]]


@dataclass(frozen=True)
class Edit:
    """What edits did to the answers of some examples for one class."""

    n: int
    mean_drop: float
    """Mean of p(class | text) - p(class | edited text)."""
    flips: int
    """Answers that were the class and no longer are."""
    low: float
    high: float
    """95 % Wilson interval of the flip rate."""
    drops: np.ndarray

    @property
    def flip_rate(self) -> float:
        """Return the part of the answers that flipped."""
        return self.flips / self.n if self.n else float("nan")


def edit_of(before: np.ndarray, after: np.ndarray, label: int | np.ndarray) -> Edit:
    """Return the effect of edits on one class, or on one (example,) each.

    From (example, class) probabilities before and after.
    """
    every = np.arange(len(before))
    drops = before[every, label] - after[every, label]
    flips = int(((before.argmax(1) == label) & (after.argmax(1) != label)).sum())
    low, high = wilson(flips, len(drops))
    mean = float(drops.mean()) if len(drops) else float("nan")
    return Edit(len(drops), mean, flips, low, high, drops)


def texts_and_words(run: Run, positions: Sequence[int]) -> list[tuple[Texts, list[dict[str, Any]]]]:
    """Return the text and pair of examples, and their words with side, start and end in order."""
    frame = run.examples_at(positions)
    texts = [
        (text, pair if isinstance(pair, str) else None)
        for text, pair in zip(frame["text"], frame["pair"], strict=True)
    ]
    return list(zip(texts, run.top_words(positions, 0), strict=True))


def edited(
    texts: Texts, words: list[dict[str, Any]], places: Sequence[int], replacement: str = ""
) -> Texts:
    """Return the texts without the words at these places, or with something instead."""
    spans: tuple[list[Any], list[Any]] = ([], [])
    for place in places:
        found = words[place]
        spans[found["side"]].append((found["start"], found["end"]))
    first = without_spans(texts[0], spans[0], replacement)
    return first, None if texts[1] is None else without_spans(texts[1], spans[1], replacement)


def mask_of(classifier: Classifier) -> str:
    """Return the text that hides a word: the mask token, else the unknown token, else nothing."""
    return classifier.tokenizer.mask_token or classifier.tokenizer.unk_token or ""
