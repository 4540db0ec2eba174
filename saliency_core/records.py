"""Records passed between modules: plain data, no behaviour, no torch.

Axis names everywhere: batch, layer, token, hidden, vocab. Layer 0 is the embedding output,
layer L the last block; arrays over layers have L + 1 rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

METHOD_VERSION = 4
"""Bumped whenever a stored number would come out differently; part of the content key."""

MEAN_EMBEDDING = "mean embedding"
"""What stands for the reference token where no token of the vocabulary can."""


class Doubt(StrEnum):
    """Words of a warning after which what pages show may be wrong, so that none hides it.

    Any other warning of a run says how its numbers came about. Files keep their warnings as they
    were written, so these words stay as they are.
    """

    UNKNOWN_WORDS = "the model cannot tell such words apart"
    SWALLOWED_ROWS = "are one quoted cell; if they are rows of their own"
    UNESCAPED_CELLS = "has other cells if a backslash escapes what stands behind it"
    OTHER_PREDICTIONS = "So many are no rounding"
    BYPASSED_LAYERS = "Information flows around some layers"


@dataclass(frozen=True)
class Example:
    """One row of a dataset as its author wrote it."""

    position: int
    """Row number in the dataset, from 0; unique within the dataset."""
    id: str
    """Stable external id: the id column, else the row number as text."""
    text: str
    pair: str | None = None
    """Second text of a sentence pair."""
    label: str | None = None
    """Gold label as text (a name, an id, "2.0", "true"); None where unlabelled."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Other columns kept: str, int, float, bool or None."""


@dataclass(frozen=True)
class DatasetInfo:
    """What was read, so that a reader of the file can find it again."""

    name: str
    """Short name shown to people (file stem or hub name)."""
    source: str
    """Path or hub name as given."""
    split: str | None
    revision: str | None
    columns: dict[str, str]
    """Role -> column name, roles text, pair, label, id."""
    metadata_columns: tuple[str, ...]
    label_names: tuple[str, ...] | None
    """Names from a `ClassLabel` column, in id order; None where the data names none."""
    config: str | None = None
    """Configuration of a hub dataset."""
    identity: str | None = None
    """What tells it from every other dataset: absolute path, hub name, name given, or its rows."""
    digest: str | None = None
    """sha256 of what the source held; where it differs, the rows may differ."""


@dataclass(frozen=True)
class ModelInfo:
    """The classifier and the language-model head of a run, by what they are, not by where."""

    name: str
    revision: str | None
    architecture: str
    label_names: tuple[str, ...]
    """One name a class, in the order of the logits."""
    task: str
    """`single-label`, `multi-label` or `regression`."""
    layers: int
    """Number of blocks L; there are L + 1 states."""
    lm_head: str
    """Name or folder of the language-model head, or `tied input embeddings`."""
    lm_head_is_fallback: bool
    causal: bool
    reference: str
    """Token of the reference input, or `MEAN_EMBEDDING` (docs/method.md, “The reference”)."""
    model_digest: str
    """Of the weights."""
    tokenizer_digest: str
    lm_head_digest: str
    config_digest: str = ""
    """Of the settings under which the weights compute; empty in a file of an earlier version."""


@dataclass(frozen=True)
class RunSettings:
    """Everything besides model and text that changes a stored number."""

    target: str = "predicted"
    """`predicted`, `gold` or `class:NAME`."""
    rule: str = "secant"
    """`secant`, or `path` with its steps."""
    steps: int = 4
    """Nodes of the path rule."""
    max_length: int = 512
    """Tokens a text may have, special tokens included."""
    long_text: str = "truncate"
    """`truncate` or `window`."""
    dtype: str = "float32"
    label_map: dict[str, str] = field(default_factory=dict)
    """Dataset label -> model label."""

    @property
    def rule_named(self) -> str:
        """What computed the scores: `secant rule`, or `path rule, 4 steps`."""
        return f"{self.rule} rule" + f", {self.steps} steps" * (self.rule == "path")


_EARLIER_NAMES = {"blank_token": "reference"}

Kept = TypeVar("Kept", bound="DataclassInstance")


def record_of(kind: type[Kept], stored: Mapping[str, Any]) -> Kept:
    """Return a record from what a file keeps of it as JSON, under today's names.

    What is unknown is left out, as another version may have kept more.
    """
    named = {_EARLIER_NAMES.get(name, name): value for name, value in stored.items()}
    values: dict[str, Any] = {
        field.name: tuple(value) if isinstance(value := named[field.name], list) else value
        for field in fields(kind)
        if field.name in named
    }
    return kind(**values)


@dataclass(frozen=True)
class Saliency:
    """Token scores of one target of one example, at every layer."""

    scores: np.ndarray
    """(layer, token) float16, signed, logits; special tokens excluded."""
    completeness: np.ndarray
    """(layer,) float32: sum of the undecoded map over y(text) - y(reference); 1 is exact."""
    target: str
    """`predicted`, `gold`, `contrast`, `class:NAME` or `label:NAME`."""

    def __post_init__(self) -> None:
        """Check that scores and completeness agree on the layers."""
        assert self.scores.ndim == 2, f"{self.scores.shape} is not (layer, token)"
        assert self.completeness.shape == self.scores.shape[:1], (
            f"{self.completeness.shape} != {self.scores.shape[:1]}"
        )


@dataclass(frozen=True)
class AuditedExample:
    """One example with everything an audit learned about it; the unit the store writes."""

    example: Example
    gold: int | None
    """Index of the gold label in the model's labels; None where unlabelled (or regression)."""
    predicted: int | None
    """Index of the predicted class; None where the example failed or for regression."""
    logits: np.ndarray
    """(class,) float32."""
    probabilities: np.ndarray
    """(class,) float32: softmax, sigmoid (multi-label) or the output itself (regression)."""
    token_ids: np.ndarray
    """(token,) int32, special tokens excluded; a token that covers several words of a script
    without spaces stands here once a word, its scores shared out by characters."""
    spans: np.ndarray
    """(token, 2) int32 character spans in the text (or the pair, by side)."""
    sides: np.ndarray
    """(token,) int8: 0 the text, 1 the pair."""
    word_of_token: np.ndarray
    """(token,) int32: index into words."""
    words: tuple[str, ...]
    """Surface form of each word, as in the text (not lower-cased), or the name of what nobody can
    see: `words.word_name`."""
    word_spans: np.ndarray
    """(word, 2) int32 character spans."""
    chars_seen: int
    chars_total: int
    """chars_seen < chars_total marks a truncated example (both texts of a pair summed)."""
    saliency: tuple[Saliency, ...]
    """First the run's own target, then e.g. contrast; empty where failed."""
    decodability: np.ndarray | None = None
    """(layer,) float32 or None: mean probability of the own token, where sampled."""
    explanation: np.ndarray | None = None
    """(layer, 3) int32 vocabulary ids of the most salient tokens; -1 where fewer."""
    incomplete: bool = False
    """The run's rule is the secant, which did not add up here: the path rule computed it."""
    failure: str | None = None
    """Why the example has no scores (NaN logits, empty text); None where it has them."""


@dataclass(frozen=True)
class LayerSummary:
    """One layer of a run (docs/method.md, “Which layer to read”)."""

    layer: int
    coherence: float | None = None
    """None where only one class was predicted."""
    low: float | None = None
    high: float | None = None
    """95 % bootstrap interval."""
    uniform_baseline: float | None = None
    """Coherence of the uniform explanation."""
    decodability: float | None = None
    comprehensiveness: float | None = None
    sufficiency: float | None = None
    completeness: float | None = None
    """Median over examples of sum of the scores over change of the target."""
    mosaic: float | None = None
    """Mean share of positive score on the right one of two joined texts."""
    mosaic_auc: float | None = None
    mosaic_top: float | None = None
    """How often the top word lies in the right text."""
    choice: float | None = None
    """Mean of comprehensiveness and mosaic share above chance, over the best layer's each."""
    choice_low: float | None = None
    choice_high: float | None = None


SEVERITIES = ("high", "medium", "low", "ok")
"""How much a finding matters, the worst first."""


@dataclass(frozen=True)
class Finding:
    """Something to look at first: one sentence that starts with its figure, and where to look."""

    figure: str
    """What the sentence starts with and a reader sees first: `57% wrong`."""
    message: str
    """How the sentence goes on; each `{}` stands for the next of `names`."""
    names: tuple[str, ...] = ()
    """Words, classes and values of the data, which nobody vouches for."""
    severity: str = "medium"
    """One of `SEVERITIES`."""
    page: str = "errors"
    """Where the evidence is shown."""
    where: str = ""
    """Filter of the examples it speaks of."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What the address of the page holds besides."""

    @property
    def parts(self) -> list[tuple[str, bool]]:
        """Return the sentence in pieces, and of each whether it stands out."""
        plain = self.message.split("{}")
        assert len(plain) == len(self.names) + 1, f"{self.message!r} does not name {self.names}"
        pieces = [(self.figure, True), (f" {plain[0]}", False)]
        for name, rest in zip(self.names, plain[1:], strict=True):
            pieces += [(name, True), (rest, False)]
        return [piece for piece in pieces if piece[0]]

    @property
    def sentence(self) -> str:
        """Return the sentence as plain text."""
        return "".join(text for text, _ in self.parts)
