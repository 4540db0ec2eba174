"""What the model would answer: an edited text, or a word replaced in all examples of a slice."""

from __future__ import annotations

import difflib
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from saliency_core.analysis.example_detail import words_of_layer
from saliency_core.errors import UserError
from saliency_core.model.audited import Texts, answers, edit_of, edited, named_word, texts_and_words
from saliency_core.records import AuditedExample, Example
from saliency_core.store import Slice
from saliency_core.store.query.terms import quote
from saliency_core.words import word_scores

if TYPE_CHECKING:
    from saliency_core.model.classifier import Classifier


def edit_text(
    classifier: Classifier, before: Texts, after: Texts, *, rule: str = "secant", steps: int = 4
) -> dict[str, Any]:
    """Return answers and words of every layer of a text and of its edited form.

    Args:
        classifier: of `classifier_of`.
        before: the text and its pair, None where there is none.
        after: the same, edited.
        rule: of the saliency, `secant` or `path`.
        steps: those of the path rule.

    Returns:
        `before` and `after`, each with text, pair, prediction, probabilities (name -> value) and
        layers ("0" to "L" -> a dictionary a word: word, side, start, end, score in logits, share);
        `aligned`, pairs of word numbers, None where a word has no partner.

    Raises:
        UserError: a text is empty or the model fails on it.
    """
    from saliency_core.saliency.attributor import Attributor

    attributor = Attributor(classifier, rule=rule, steps=steps)
    found = []
    for name, (text, pair) in (("original", before), ("edited", after)):
        example = Example(position=0, id=name, text=text, pair=pair)
        pairs = None if pair is None else [pair]
        # One at a time: neighbours in a batch change the last digits, so no edit would show one.
        encodings = classifier.encode([text], pairs, classifier.max_length)
        (one,) = attributor.audit([example], encodings, [None])
        if one.failure is not None:
            raise UserError(f"The {name} text can't be explained: {one.failure}")
        found.append(one)
    names = classifier.info.label_names
    return {
        "before": _explained(found[0], names),
        "after": _explained(found[1], names),
        "aligned": _aligned(found[0].words, found[1].words),
    }


def _explained(found: AuditedExample, names: tuple[str, ...]) -> dict[str, Any]:
    saliency = found.saliency[0].scores
    scores = word_scores(saliency, found.word_of_token, len(found.words))
    # Words without their tokens' sides: the first token of a word knows it.
    first = np.searchsorted(found.word_of_token, np.arange(len(found.words)))
    words = {"words": found.words, "word_sides": found.sides[first], "word_spans": found.word_spans}
    return {
        "text": found.example.text,
        "pair": found.example.pair,
        "prediction": None if found.predicted is None else names[found.predicted],
        "probabilities": {
            name: float(value) for name, value in zip(names, found.probabilities, strict=True)
        },
        "layers": {str(layer): words_of_layer(words, of) for layer, of in enumerate(scores)},
    }


def _aligned(before: tuple[str, ...], after: tuple[str, ...]) -> list[list[int | None]]:
    """Return pairs of word numbers; a replaced word is beside what replaced it."""
    lower = [[word.lower() for word in words] for words in (before, after)]
    matcher = difflib.SequenceMatcher(None, lower[0], lower[1], autojunk=False)
    pairs: list[list[int | None]] = []
    for _, a, a_end, b, b_end in matcher.get_opcodes():
        pairs += map(list, zip_longest(range(a, a_end), range(b, b_end)))
    return pairs


def changed_words(found: dict[str, Any]) -> tuple[set[int], set[int]]:
    """Return the numbers of the words of each text of `edit_text` that the other one lacks."""
    first, second = (found[side]["layers"]["0"] for side in ("before", "after"))
    gone, come = set(), set()
    for before, after in found["aligned"]:
        both = before is not None and after is not None
        if both and first[before]["word"].lower() == second[after]["word"].lower():
            continue
        gone.add(before)
        come.add(after)
    return gone - {None}, come - {None}


def edits(before: str, after: str) -> list[str]:
    """Return in words what was changed in a text: what became of which words, in order."""
    old, new = before.split(), after.split()
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    said = []
    for kind, a, a_end, b, b_end in matcher.get_opcodes():
        gone, come = (" ".join(words) for words in (old[a:a_end], new[b:b_end]))
        if kind == "replace":
            said.append(f"“{gone}” → “{come}”")
        elif kind == "delete":
            said.append(f"“{gone}” removed")
        elif kind == "insert":
            said.append(f"“{come}” added")
    return said


def aligned_words(found: dict[str, Any], layer: int) -> pd.DataFrame:
    """Return one row per pair of aligned words of `edit_text`: how their scores differ at a layer.

    Columns: before, after (words, None where there is no partner), score_before, score_after
    (logits), difference (a missing word counts 0).
    """
    words = [found[side]["layers"][str(layer)] for side in ("before", "after")]
    missing = {"word": None, "score": np.nan}
    rows = []
    for pair in found["aligned"]:
        before, after = (
            missing if place is None else side[place]
            for side, place in zip(words, pair, strict=True)
        )
        rows.append((before["word"], after["word"], before["score"], after["score"]))
    columns = ["before", "after", "score_before", "score_after"]
    frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:], float))
    return frame.assign(difference=frame["score_after"].fillna(0) - frame["score_before"].fillna(0))


def most_changed_first(words: pd.DataFrame) -> pd.DataFrame:
    """Return rows of `aligned_words`: edited words first, then those whose score differs most."""
    pairs = zip(words["before"], words["after"], strict=True)
    same = [str(before).lower() == str(after).lower() for before, after in pairs]
    return words.iloc[np.lexsort((-words["difference"].abs(), same))]


def confusion_of(frame: pd.DataFrame, side: str) -> pd.DataFrame:
    """Return gold, predicted and count of the rows of `replace_in_slice`, before or after."""
    counts = frame.dropna(subset=["gold"]).groupby(["gold", side]).size()
    return counts.rename_axis(["gold", "predicted"]).reset_index(name="count")


def whole_slice(part: Slice, frame: pd.DataFrame) -> dict[str, int]:
    """Return judged, right_before and right_after of a whole slice, its other examples unchanged.

    The frame is that of `replace_in_slice` without a limit.
    """
    right, wrong = (part.filter(answer).count() for answer in ("right", "wrong"))
    stored = part.run.examples_at(frame["example"].tolist())
    gone = int((stored["gold"].notna() & (stored["gold"] == stored["predicted"])).sum())
    come = int((frame["gold"].notna() & (frame["gold"] == frame["after"])).sum())
    return {"judged": right + wrong, "right_before": right, "right_after": right - gone + come}


def edits_in_slice(
    part: Slice, word: str, replacement: str, limit: int | None, draw: np.random.Generator
) -> list[tuple[int, Texts, Texts]]:
    """Return position, texts and edited texts of the examples of a slice that contain a word.

    Args:
        part: a slice.
        word: lower-cased.
        replacement: what takes its place; empty deletes it.
        limit: examples at most, drawn with `draw`.
        draw: of the examples.
    """
    positions = part.filter(f"word:{quote(word)} -failed").positions()
    if limit is not None and len(positions) > limit:
        positions = np.sort(draw.choice(positions, limit, replace=False))
    chosen = positions.tolist()
    found = []
    for position, (texts, words) in zip(chosen, texts_and_words(part.run, chosen), strict=True):
        places = [place for place, one in enumerate(words) if one["word"].lower() == word]
        found.append((position, texts, edited(texts, words, places, replacement)))
    return found


def replace_in_slice(
    part: Slice,
    classifier: Classifier,
    word: str,
    replacement: str = "",
    *,
    limit: int | None = None,
    seed: int = 0,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return what deleting or replacing a word does to the answers of a slice.

    Args:
        part: a slice.
        classifier: of `classifier_of`.
        word: the word, any case.
        replacement: what takes its place; empty deletes it, the mask token hides it.
        limit: edited examples at most, drawn with `seed`.
        seed: of the draw.

    Returns:
        n, flips, flip_rate, low, high (95 % Wilson), mean_drop of the probability of the answer,
        judged (edited examples with a gold label), right_before, right_after; and a row an example:
        example, id, gold, before, after, drop.

    Raises:
        UserError: the word is empty or no example of the slice holds it, or the model is no
            classifier.
    """
    run = part.run
    names = run.label_names
    if run.model.task != "single-label":
        raise UserError(
            "Replacing a word in a slice needs a classifier with one label per example."
        )
    word = named_word(word)
    found = edits_in_slice(part, word, replacement, limit, np.random.default_rng(seed))
    if not found:
        raise UserError(f"No example of this slice contains the word {word!r}.")
    # A word replaced by itself is asked for as a control; any other edit must change the text.
    if replacement.lower() != word:
        found = [(position, old, new) for position, old, new in found if old != new]
        if not found:
            raise UserError(f"To edit {word!r} like this changes no text of this slice.")
    chosen, old_texts, new_texts = zip(*found, strict=True)
    before, after = np.split(answers(classifier, [*old_texts, *new_texts]), 2)
    own, new = before.argmax(1), after.argmax(1)
    edit = edit_of(before, after, own)
    frame = run.examples_at(chosen)[["example", "id", "gold"]].assign(
        before=[names[place] for place in own],
        after=[names[place] for place in new],
        drop=edit.drops,
    )
    judged = frame["gold"].notna()
    summary = {
        **{
            name: getattr(edit, name)
            for name in ("n", "flips", "flip_rate", "low", "high", "mean_drop")
        },
        "judged": int(judged.sum()),
        "right_before": int((frame["gold"] == frame["before"])[judged].sum()),
        "right_after": int((frame["gold"] == frame["after"])[judged].sum()),
    }
    return summary, frame
