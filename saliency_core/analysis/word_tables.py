"""Word saliency over any slice of a run (docs/method.md, “Words of a slice”)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from saliency_core.stats import Z95, mean_interval
from saliency_core.store import Slice
from saliency_core.store.read.word_sums import WordSums

MOST_TELLING = 25
"""Words of each side that `telling` returns."""
PRIOR_WORDS = 500.0
"""Weight of the prior of the log-odds, in top-three places."""

WORD_COLUMNS = (
    "word class examples mean_share low high total_share top3_rate mean_score sd_share top3"
).split()


def word_table(
    part: Slice,
    layer: int | None = None,
    *,
    by_class: bool = True,
    minimum: int = 5,
    most: int | None = None,
) -> pd.DataFrame:
    """Return one row per word (and predicted class) of a slice, highest mean share first.

    An example counts once per word, with the sum of the word's places in it. `low` and `high` bound
    the mean share with 95 % confidence; `total_share` is the word's part of all positive saliency
    of its class (or slice).

    Args:
        part: a slice.
        layer: 0 to L; the recommended one by default.
        by_class: A row for each predicted class; else `class` is None throughout.
        minimum: Examples a word must be in.
        most: Words to return of each class; all by default.
    """
    sums = part.word_sums(part.run.layer_to_read(layer))
    if not by_class:
        sums = sums.merged()
    names = part.run.label_names
    total = np.zeros(len(names) + 1)
    np.add.at(total, sums.label, sums.share)
    sums = sums.of_at_least(minimum)
    sums = sums.take(_strongest(sums, most))
    n = sums.examples.astype(float)
    mean = sums.share / n
    spread = _spread(sums.share, sums.square, n)
    low, high = mean_interval(mean, spread / np.sqrt(n))
    labels = np.array([*names, None], object)
    whole = total[sums.label]
    return pd.DataFrame(
        {
            "word": pd.Series(part.run.store.words_of(sums.word), dtype=object),
            "class": pd.Series(labels[sums.label], dtype=object),
            "examples": sums.examples,
            "mean_share": mean,
            "low": np.clip(low, 0, 1),
            "high": np.clip(high, 0, 1),
            "total_share": np.divide(sums.share, whole, out=np.zeros_like(whole), where=whole > 0),
            "top3_rate": sums.top3 / n,
            "mean_score": sums.score / n,
            "sd_share": spread,
            "top3": sums.top3,
        },
        columns=WORD_COLUMNS,
    )


def _strongest(sums: WordSums, most: int | None) -> np.ndarray:
    """Return the rows by mean share, then by support; of each class `most` at most."""
    mean = sums.share / sums.examples
    most = len(mean) if most is None else most
    near = np.ones(len(mean), bool)
    for label in np.unique(sums.label):
        own = np.flatnonzero(sums.label == label)
        # Sorting is for those that reach the last place, not for all.
        if len(own) > most:
            near[own] = mean[own] >= np.partition(mean[own], -most)[-most]
    rows = np.flatnonzero(near)
    # Rows come by class and word, an order that those alike keep.
    rows = rows[np.lexsort((-sums.examples[rows], -mean[rows]))]
    return rows[pd.Series(rows).groupby(sums.label[rows]).cumcount().to_numpy() < most]


def _spread(total: np.ndarray, square: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the sample standard deviation; 0 where there is one value."""
    variance = np.maximum(square - total**2 / n, 0) / np.maximum(n - 1, 1)
    # Shares are single precision, so one value alone would come out as a trace of spread.
    return np.where(n > 1, np.sqrt(variance), 0.0)


def contrast(
    part_a: Slice,
    part_b: Slice,
    layer: int,
    *,
    layer_b: int | None = None,
    minimum: int = 5,
    chunks: int | None = None,
    most: int | None = None,
) -> pd.DataFrame:
    """Compare the words of two slices, strongest difference of top-three places first.

    `difference` is mean share in A minus in B with a 95 % interval (unknown, NaN, where a slice
    holds the word less than twice). `log_odds` and `z` compare how often a word is among the top
    three in A and in B (Monroe et al. 2008), with both slices together as the informative
    Dirichlet prior, so that rare words shrink to 0.

    Args:
        part_a: Slice A.
        part_b: Slice B, of the same file; of another run to compare two models.
        layer: 0 to L.
        layer_b: that of slice B; by default the same.
        minimum: Examples a word must be in, in A and B together.
        chunks: As `Slice.word_sums`: a sample in place of everything.
        most: Words to return; all by default.
    """
    layers = (layer, layer if layer_b is None else layer_b)
    a, b = (
        _indexed(part.word_sums(own, chunks=chunks).merged())
        for part, own in zip((part_a, part_b), layers, strict=True)
    )
    both = a.add_suffix("_a").join(b.add_suffix("_b"), how="outer").fillna(0.0)
    frame = pd.DataFrame(index=both.index)
    for side in "ab":
        n = both[f"examples_{side}"]
        frame[f"examples_{side}"] = n.astype(int)
        frame[f"mean_share_{side}"] = both[f"share_{side}"] / n.where(n > 0)
        frame[f"top3_{side}"] = both[f"top3_{side}"].astype(int)
    error = np.sqrt(_variance_of_mean(both, "a") + _variance_of_mean(both, "b"))
    frame["difference"] = frame["mean_share_a"] - frame["mean_share_b"]
    frame["low"], frame["high"] = mean_interval(frame["difference"], error)
    frame["log_odds"], frame["z"] = log_odds(both["top3_a"].to_numpy(), both["top3_b"].to_numpy())
    frame = frame[frame["examples_a"] + frame["examples_b"] >= minimum]
    order = np.lexsort((frame.index, -frame["z"].abs()))[:most]
    frame = frame.iloc[order]
    words = part_a.run.store.words_of(frame.index.to_numpy())
    frame.insert(0, "word", pd.Series(words, frame.index, object))
    return frame.reset_index(drop=True)


def telling(table: pd.DataFrame) -> pd.DataFrame:
    """Return the words of a `contrast` whose difference is hardly chance, typical of A first.

    Both its tests must tell: z beyond 1.96, and an interval of the difference without 0. Of each
    side at most `MOST_TELLING`.
    """
    is_telling = (table["z"].abs() > Z95) & ((table["low"] > 0) | (table["high"] < 0))
    rows = table[is_telling].sort_values("z", ascending=False, ignore_index=True)
    first, last = rows[rows["z"] > 0].head(MOST_TELLING), rows[rows["z"] < 0].tail(MOST_TELLING)
    return pd.concat([first, last], ignore_index=True)


def _indexed(sums: WordSums) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "examples": sums.examples.astype(float),
            "share": sums.share,
            "square": sums.square,
            "top3": sums.top3.astype(float),
        },
        index=sums.word,
    )


def _variance_of_mean(both: pd.DataFrame, side: str) -> np.ndarray:
    """Return the squared standard error; NaN (unknown) for fewer than two examples."""
    n = both[f"examples_{side}"].to_numpy()
    spread = _spread(
        both[f"share_{side}"].to_numpy(), both[f"square_{side}"].to_numpy(), np.maximum(n, 1)
    )
    return np.where(n >= 2, spread**2 / np.maximum(n, 1), np.nan)


def log_odds(
    count_a: np.ndarray, count_b: np.ndarray, prior_total: float = PRIOR_WORDS
) -> tuple[np.ndarray, np.ndarray]:
    """Return log-odds ratio and z of (word,) counts under an informative Dirichlet prior.

    Monroe, Colaresi & Quinn 2008, equations 16, 20 and 22; the prior is the two counts' sum scaled
    to `prior_total`.
    """
    a, b = count_a.astype(float), count_b.astype(float)
    background = a + b
    if not background.sum():
        return np.zeros(len(a)), np.zeros(len(a))
    # A word in nobody's top three has no prior either; half a count keeps its logarithm finite.
    prior = prior_total * np.maximum(background, 0.5) / np.maximum(background, 0.5).sum()
    a, b = a + prior, b + prior
    rest_a, rest_b = a.sum() - a, b.sum() - b
    alone = (rest_a <= 0) | (rest_b <= 0)
    rest_a, rest_b = np.where(alone, 1, rest_a), np.where(alone, 1, rest_b)
    delta = np.log(a / rest_a) - np.log(b / rest_b)
    z = delta / np.sqrt(1 / a + 1 / rest_a + 1 / b + 1 / rest_b)
    return np.where(alone, 0.0, delta), np.where(alone, 0.0, z)
