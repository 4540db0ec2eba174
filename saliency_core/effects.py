"""Causal evidence: what the model answers once a word is deleted, masked or replaced.

METHOD section 6, part 3. The model is loaded only here, from where the run says it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from saliency_core.errors import UserError
from saliency_core.store import Store
from saliency_core.store.slices import quote
from saliency_core.suspects import Thresholds, benjamini_hochberg, ranked, verdicts

if TYPE_CHECKING:
    from saliency_core.models import Classifier

EXAMPLES = 200
"""Examples a word is deleted from, at most."""
CANDIDATES = 30
"""Pairs whose effect is measured, at most."""
Z95 = 1.959963984540054

Progress = Callable[[str, int, int | None], None]
Texts = tuple[str, str | None]


def classifier_of(store: Store, run: int | None = None, model: str | None = None) -> Classifier:
    """Load the model that a run audited.

    Raises:
        UserError: it is no longer where the run says, or its weights have changed.
    """
    from saliency_core.models import load_classifier

    facts = store.run(run)
    name = model or facts["model"]["name"]
    if not Path(name).is_dir() and name.startswith(("/", ".", "~")):
        raise UserError(
            f"The model of run {facts['run']} is no longer at {name}; say where it is with --model."
        )
    classifier = load_classifier(
        name,
        lm_head=facts["model"]["lm_head"] if not facts["model"]["lm_head_is_fallback"] else None,
        max_length=facts["settings"]["max_length"],
    )
    if classifier.info.model_digest != facts["model"]["model_digest"]:
        raise UserError(
            f"The weights at {name} are not those that run {facts['run']} audited. Name the right "
            "folder with --model, or audit this model first."
        )
    return classifier


def wilson(k: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a rate of k in n; (0, 1) without examples."""
    if not n:
        return 0.0, 1.0
    rate, square = k / n, Z95**2
    middle = (rate + square / (2 * n)) / (1 + square / n)
    half = Z95 * np.sqrt(rate * (1 - rate) / n + square / (4 * n * n)) / (1 + square / n)
    return float(max(middle - half, 0)), float(min(middle + half, 1))


def without_spans(text: str, spans: Sequence[tuple[int, int]], replacement: str = "") -> str:
    """Return the text with the spans replaced; a deleted word takes one space beside it along."""
    pieces, at = [], 0
    for start, end in sorted(spans):
        kept = text[at:start]
        if (
            not replacement
            and end < len(text)
            and text[end].isspace()
            and (not kept.strip() or kept[-1].isspace())
        ):
            end += 1
        pieces += [kept, replacement]
        at = end
    return "".join([*pieces, text[at:]])


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


def edit_of(before: np.ndarray, after: np.ndarray, label: int) -> Edit:
    """Return the effect of edits from (example, class) probabilities before and after."""
    drops = before[:, label] - after[:, label]
    flips = int(((before.argmax(1) == label) & (after.argmax(1) != label)).sum())
    low, high = wilson(flips, len(drops))
    mean = float(drops.mean()) if len(drops) else float("nan")
    return Edit(len(drops), mean, flips, low, high, drops)


class _Editor:
    """Edits the examples of a run on the exact characters of their words."""

    def __init__(self, store: Store, run: int, layer: int, classifier: Classifier) -> None:
        self.store, self.run, self.layer = store, run, layer
        tokenizer = classifier.tokenizer
        self.mask = tokenizer.mask_token or tokenizer.unk_token or ""
        sums = store.word_sums(layer, run=run).merged()
        names = store.words_of(sums.word)
        self.frequency = dict(zip(names, sums.examples.tolist(), strict=True))

    def texts(self, positions: Sequence[int]) -> list[Texts]:
        frame = self.store.examples_at(positions, run=self.run)
        return [
            (text, pair if isinstance(pair, str) else None)
            for text, pair in zip(frame["text"], frame["pair"], strict=True)
        ]

    def words(self, positions: Sequence[int]) -> list[list[dict[str, Any]]]:
        return self.store.top_words(list(positions), self.layer, run=self.run)

    def edited(self, texts: Texts, words: list[dict], word: str, replacement: str) -> Texts:
        """Return the texts without a word, or with something in its place."""
        spans: tuple[list, list] = ([], [])
        for found in words:
            if found["word"].lower() == word:
                spans[found["side"]].append((found["start"], found["end"]))
        first = without_spans(texts[0], spans[0], replacement)
        return first, None if texts[1] is None else without_spans(texts[1], spans[1], replacement)

    def control(self, words: list[dict], word: str, draw: np.random.Generator) -> str:
        """Return the word of the example nearest in frequency to the word under test."""
        others = sorted(
            {found["word"].lower() for found in words if any(map(str.isalnum, found["word"]))}
            - {word}
        )
        if not others:
            return word
        aim = np.log(self.frequency.get(word, 1))
        gaps = np.array([abs(np.log(self.frequency.get(name, 1)) - aim) for name in others])
        nearest = np.flatnonzero(gaps <= gaps.min() + 0.25)
        return others[int(draw.choice(nearest))]


def with_effects(
    store: Store,
    table: pd.DataFrame,
    classifier: Classifier,
    *,
    run: int | None = None,
    layer: int | None = None,
    examples: int = EXAMPLES,
    candidates: int = CANDIDATES,
    thresholds: Thresholds | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Return the suspects with the causal evidence of the strongest, verdicts made anew.

    For a word and class: up to `examples` of the examples that hold the word and were predicted the
    class, the word deleted, the word masked, and a control word of like frequency in the same
    example deleted. p is that of Wilcoxon's signed-rank test that the word's drop is greater than
    the control word's.

    Args:
        store: an open file.
        table: of `suspects.suspects`.
        classifier: of `classifier_of`.
        run: the run; None for the newest.
        layer: the layer whose words are edited; any does, the words are the same.
        examples: per pair, drawn with `seed`.
        candidates: pairs that are tested, strongest first.
        thresholds: what the verdict asks for.
        seed: of the draws.
        progress: called with (stage, done, total).
    """
    thresholds = thresholds or Thresholds()
    facts = store.run(run)
    run, names = facts["run"], facts["label_names"]
    editor = _Editor(store, run, layer or 0, classifier)
    draw = np.random.default_rng(seed)
    chosen = _candidates(table, candidates)
    rows = []
    for done, place in enumerate(chosen):
        if progress is not None:
            progress("deleting words", done, len(chosen))
        rows.append(_effect(editor, classifier, table.loc[place], names, examples, draw))
    if progress is not None:
        progress("deleting words", len(chosen), len(chosen))
    columns = (
        "effect_n mean_drop flips flip_rate flip_low flip_high control_mean_drop control_flip_rate"
        " masked_mean_drop masked_flip_rate p_effect"
    ).split()
    found = pd.DataFrame(rows, index=chosen, columns=columns, dtype=float)
    table = table.drop(columns=[name for name in [*columns, "q_effect"] if name in table])
    table = table.join(found)
    table["q_effect"] = benjamini_hochberg(table["p_effect"].to_numpy(float))
    table["verdict"] = verdicts(table, thresholds)
    return ranked(table)


def _candidates(table: pd.DataFrame, count: int) -> list[int]:
    """Return the rows to test: words the model seems to rely on, then the associated ones."""
    words = table[(table["kind"] == "word") & (table["predictions"] > 0)]
    relied = words[words["verdict"].isin(("relied on and harmful", "relied on"))]
    tied = words[words["verdict"] == "in the data only"].sort_values("z", ascending=False)
    room = max(count - len(relied), count // 5)
    chosen = [*relied.index[: count - min(room, len(tied))], *tied.index[:room]]
    return list(dict.fromkeys(chosen))[:count]


def _effect(
    editor: _Editor,
    classifier: Classifier,
    row: pd.Series,
    names: list[str],
    examples: int,
    draw: np.random.Generator,
) -> list[float]:
    """Return the effect columns of one word and class."""
    word, label = row["feature"], names.index(row["class"])
    where = f"{row['where']} predicted:{quote(row['class'])}"
    positions = editor.store.ids(where, run=editor.run)
    if len(positions) > examples:
        positions = np.sort(draw.choice(positions, examples, replace=False))
    positions = positions.tolist()
    texts, words = editor.texts(positions), editor.words(positions)
    deleted, masked, control = [], [], []
    for text, found in zip(texts, words, strict=True):
        deleted.append(editor.edited(text, found, word, ""))
        masked.append(editor.edited(text, found, word, editor.mask))
        control.append(editor.edited(text, found, editor.control(found, word, draw), ""))
    probabilities = answers(classifier, [*texts, *deleted, *masked, *control])
    before, *after = np.split(probabilities, 4)
    own, hidden, other = (edit_of(before, part, label) for part in after)
    gain = own.drops - other.drops
    p = 1.0
    if np.any(gain != 0):
        p = float(stats.wilcoxon(gain, alternative="greater", zero_method="zsplit").pvalue)
    return [
        own.n,
        own.mean_drop,
        own.flips,
        own.flip_rate,
        own.low,
        own.high,
        other.mean_drop,
        other.flip_rate,
        hidden.mean_drop,
        hidden.flip_rate,
        p,
    ]


def replace_in_slice(
    store: Store,
    classifier: Classifier,
    word: str,
    replacement: str = "",
    where: str = "",
    *,
    run: int | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> tuple[dict[str, float], pd.DataFrame]:
    """Return what deleting or replacing a word does to the answers of a slice.

    Args:
        store: an open file.
        classifier: of `classifier_of`.
        word: the word, any case.
        replacement: what takes its place; empty deletes it.
        where: the slice; only its examples that hold the word are edited.
        run: the run; None for the newest.
        limit: examples at most, drawn with `seed`.
        seed: of the draw.

    Returns:
        n, flips, flip_rate, low, high (95 % Wilson), mean_drop of the predicted class's
        probability; and a row an example: example, id, gold, before, after, drop.

    Raises:
        UserError: no example of the slice holds the word.
    """
    word = word.lower()
    run = store.run(run)["run"]
    names = store.run(run)["label_names"]
    positions = store.ids(f"word:{quote(word)} -failed {where}".strip(), run=run)
    if not len(positions):
        raise UserError(f"No example of this slice holds the word {word!r}.")
    if limit is not None and len(positions) > limit:
        positions = np.sort(np.random.default_rng(seed).choice(positions, limit, replace=False))
    editor = _Editor(store, run, 0, classifier)
    texts, words = editor.texts(positions.tolist()), editor.words(positions.tolist())
    edited = [
        editor.edited(text, found, word, replacement)
        for text, found in zip(texts, words, strict=True)
    ]
    before, after = np.split(answers(classifier, [*texts, *edited]), 2)
    own = before.argmax(1)
    drops = before[np.arange(len(own)), own] - after[np.arange(len(own)), own]
    flips = int((after.argmax(1) != own).sum())
    low, high = wilson(flips, len(own))
    frame = store.examples_at(positions.tolist(), run=run)[["example", "id", "gold"]].assign(
        before=[names[place] for place in own],
        after=[names[place] for place in after.argmax(1)],
        drop=drops,
    )
    summary = {
        "n": len(own),
        "flips": flips,
        "flip_rate": flips / len(own),
        "low": low,
        "high": high,
        "mean_drop": float(drops.mean()),
    }
    return summary, frame
