"""One word of an audit: how often it stands there, what it is worth in each layer, how it errs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from saliency_core.errors import UserError
from saliency_core.stats import association, mean_interval
from saliency_core.store import Run, Slice
from saliency_core.store.format import word_math
from saliency_core.store.query.terms import quote
from saliency_core.store.read.sampling import sampled

SAMPLE = 5_000
"""Examples that the shares by layer are means of, at most."""


@dataclass(frozen=True)
class WordProfile:
    """What an audit tells about one word within a slice."""

    word: str
    examples: int
    wrong_with: int
    judged_with: int
    """Labelled, answered examples that hold the word; `wrong_with` of them are wrong."""
    wrong_without: int
    judged_without: int
    by_class: pd.DataFrame
    """One row per gold class: class, examples (with the word and that label), share (of the word's
    labelled examples), base_rate (of all labelled ones) and z of Gardner et al. 2021; empty without
    labels."""
    by_layer: pd.DataFrame
    """layer, mean_share, low, high, mean_score, top3_rate, examples (those sampled)."""


def word_profile(part: Slice, word: str) -> WordProfile:
    """Return the profile of a lower-cased word over a slice.

    Shares by layer are means over a seeded sample of the examples that hold the word; they count
    once per example, with the sum of the word's places in it.

    Raises:
        UserError: no example of the slice contains the word.
    """
    run = part.run
    word = word.strip().lower()
    own = part.filter(f"word:{quote(word)}")
    every, holding = part.mask(), own.mask()
    examples = own.count()
    if not examples:
        raise UserError(f"No example of this filter contains the word {word!r}.")
    wrong = run.filter("wrong").mask()
    judged = wrong | run.filter("right").mask()
    with_it, without = holding & judged, every & ~holding & judged
    return WordProfile(
        word=word,
        examples=examples,
        wrong_with=int(np.count_nonzero(with_it & wrong)),
        judged_with=int(np.count_nonzero(with_it)),
        wrong_without=int(np.count_nonzero(without & wrong)),
        judged_without=int(np.count_nonzero(without)),
        by_class=_by_class(run, every, holding),
        by_layer=_by_layer(own, word),
    )


def _by_class(run: Run, every: np.ndarray, holding: np.ndarray) -> pd.DataFrame:
    """Return the association of the word with the gold classes."""
    gold, names = run.column("gold"), run.label_names
    all_of, own = (
        np.bincount(gold[members & (gold >= 0)], minlength=len(names))
        for members in (every, holding)
    )
    if not own.sum():
        return pd.DataFrame(columns=["class", "examples", "share", "base_rate", "z"])
    base = all_of / all_of.sum()
    tied = association(own.sum()[None, None], own[None], base, int(all_of.sum()))
    frame = pd.DataFrame(
        {
            "class": pd.Series(names, dtype=object),
            "examples": own,
            "share": own / own.sum(),
            "base_rate": base,
            "z": tied["z"][0],
        }
    )
    return frame[all_of > 0].sort_values("z", ascending=False, ignore_index=True)


def _by_layer(part: Slice, word: str) -> pd.DataFrame:
    number = part.run.store.word_id(word)
    parts = []
    for chunk in sampled(part, examples=SAMPLE, seed=0):
        owner = np.repeat(np.arange(len(chunk.n_words)), chunk.n_words)
        here = np.flatnonzero(chunk.word_ids == number)
        starts = np.flatnonzero(np.diff(owner[here], prepend=-1))
        layers = [
            (word_math.shares(row, chunk.n_words), row, word_math.top3(row, chunk.n_words))
            for row in chunk.scores
        ]
        found = np.array([[kind[here] for kind in layer] for layer in layers], np.float64)
        parts.append(np.add.reduceat(found, starts, axis=2))
    share, score, top = np.concatenate(parts, axis=2).swapaxes(0, 1)  # (layer, example) each
    n = share.shape[1]
    mean = share.mean(1)
    low, high = mean_interval(mean, share.std(1, ddof=1) / np.sqrt(n) if n > 1 else 0.0)
    return pd.DataFrame(
        {
            "layer": np.arange(len(mean)),
            "mean_share": mean,
            "low": np.clip(low, 0, 1),
            "high": np.clip(high, 0, 1),
            "mean_score": score.mean(1),
            "top3_rate": (top > 0).mean(1),
            "examples": n,
        }
    )
