"""The statistics of suspects: association, excess errors, false discoveries, rates."""

from __future__ import annotations

from typing import Any

import numpy as np

Z95 = 1.959963984540054


def mean_interval(mean: Any, error: Any) -> tuple[Any, Any]:
    """Return the 95 % interval of means, or of differences of them, from their standard errors."""
    half = Z95 * error
    return mean - half, mean + half


def cross_table(
    rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int], weights: np.ndarray | None = None
) -> np.ndarray:
    """Return the table of a shape that counts, or adds the weights of, examples by two codes."""
    cells = np.ravel_multi_index((rows, columns), shape)
    return np.bincount(cells, weights, shape[0] * shape[1]).reshape(shape)


def auc(ranks: np.ndarray, positive: np.ndarray) -> float:
    """Return the chance that one of the positive ones ranks above one of the rest.

    Ties count half where they share their mean rank.

    Args:
        ranks: (example,) from 1, rising, as of `scipy.stats.rankdata`.
        positive: (example,) bool; there are some of both.
    """
    n, m = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def association(
    n: np.ndarray, k: np.ndarray, base_rate: np.ndarray, examples: int
) -> dict[str, np.ndarray]:
    """Return how far features and classes go together in the labels.

    z is Gardner et al. 2021, equation 1: (k/n - p_c) / sqrt(p_c (1 - p_c) / n); p the exact upper
    binomial tail P(X >= k | n, p_c); PMI = log2 p(f, c) / (p(f) p(c)); LMI = p(f, c) PMI. NaN
    where undefined: all for a feature in no example, PMI for one in none of the class.

    Args:
        n: (feature, 1) examples that have the feature.
        k: (feature, class) of them, those of the class.
        base_rate: (class,) p_c.
        examples: all examples.
    """
    from scipy import stats

    with np.errstate(divide="ignore", invalid="ignore"):
        z = (k / n - base_rate) / np.sqrt(base_rate * (1 - base_rate) / n)
        pmi = np.log2((k / examples) / (n / examples * base_rate))
    pmi = np.where(k > 0, pmi, np.nan)
    return {
        "z": np.where(np.isfinite(z), z, np.nan),
        "p": np.where(n > 0, stats.binom.sf(k - 1, n, base_rate), np.nan),
        "pmi": pmi,
        "lmi": np.where(k > 0, k / examples * pmi, 0.0),
    }


def excess_errors(
    wrong: np.ndarray, n: np.ndarray, all_wrong: np.ndarray, all_n: np.ndarray
) -> dict[str, np.ndarray]:
    """Return whether predictions that bear a feature are wrong more often than the others.

    Args:
        wrong: (feature, class) wrong predictions of the class that bear the feature.
        n: (feature, class) all predictions of the class that bear it.
        all_wrong: (class,) wrong predictions of the class.
        all_n: (class,) all of them.

    Returns:
        risk_ratio, risk_low and risk_high (its 95 % interval on the logarithm, Katz et al. 1978),
        and p of Fisher's exact test (one-sided, greater); NaN where no prediction bears it.
    """
    from scipy import stats

    other_n, other_wrong = all_n - n, all_wrong - wrong
    # Half a count keeps the ratio finite where the others have no error (Haldane-Anscombe).
    ratio = ((wrong + 0.5) / (n + 1)) / ((other_wrong + 0.5) / (other_n + 1))
    spread = 1 / (wrong + 0.5) - 1 / (n + 1) + 1 / (other_wrong + 0.5) - 1 / (other_n + 1)
    factor = np.exp(Z95 * np.sqrt(spread))
    found = {
        "risk_ratio": ratio,
        "risk_low": ratio / factor,
        "risk_high": ratio * factor,
        "p": stats.hypergeom.sf(wrong - 1, all_n, all_wrong, n),
    }
    return {name: np.where(n > 0, values, np.nan) for name, values in found.items()}


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Return q values: the smallest false-discovery rate at which each test passes; NaN stays."""
    from scipy import stats

    q = np.full(p.shape, np.nan)
    known = ~np.isnan(p)
    if known.any():
        q[known] = stats.false_discovery_control(np.clip(p[known], 0, 1))
    return q


def wilson(k: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a rate of k in n; (0, 1) without examples."""
    if not n:
        return 0.0, 1.0
    rate, square = k / n, Z95**2
    middle = (rate + square / (2 * n)) / (1 + square / n)
    half = Z95 * np.sqrt(rate * (1 - rate) / n + square / (4 * n * n)) / (1 + square / n)
    # Rounding must not put the rate itself outside.
    return float(max(min(middle - half, rate), 0)), float(min(max(middle + half, rate), 1))


def mcnemar(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the exact two-sided p of McNemar's test; 1 where no pair differs.

    Args:
        one: (group,) pairs in which only the first is right.
        other: (group,) pairs in which only the second is.
    """
    from scipy import stats

    return np.minimum(1.0, 2 * stats.binom.cdf(np.minimum(one, other), one + other, 0.5))


def paired_difference(
    fixed: np.ndarray, broken: np.ndarray, both_right: np.ndarray, both_wrong: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the accuracies of two models on the same examples, and their difference.

    The interval is Newcombe's (1998, method 10): the Wilson intervals of both rates, joined with
    the correlation phi of the pairs (continuity-corrected).

    Args:
        fixed: (group,) examples that only the second is right on.
        broken: (group,) only the first.
        both_right: (group,).
        both_wrong: (group,).

    Returns:
        before, after, difference (after - before) with low and high; NaN without examples.
    """
    n = fixed + broken + both_right + both_wrong

    def of_rate(right: np.ndarray) -> np.ndarray:
        """Return (rate and its low and high, group)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = right / n
        ends = [wilson(int(k), int(m)) for k, m in zip(right, n, strict=True)]
        return np.stack([rate, *np.reshape(ends, (-1, 2)).T])

    before, low_before, high_before = of_rate(both_right + broken)
    after, low_after, high_after = of_rate(both_right + fixed)
    product = both_right * both_wrong - fixed * broken
    product = np.where(product > 0, np.maximum(product - n / 2, 0), product)
    margins = 1.0 * (both_right + fixed) * (broken + both_wrong)
    margins *= 1.0 * (both_right + broken) * (fixed + both_wrong)
    phi = np.divide(product, np.sqrt(margins), out=np.zeros(len(n)), where=margins > 0)

    def half(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(one**2 - 2 * phi * one * other + other**2, 0))

    difference = after - before
    return {
        "before": before,
        "after": after,
        "difference": difference,
        "low": difference - half(after - low_after, high_before - before),
        "high": difference + half(high_after - after, before - low_before),
    }
