"""Slices where the model errs more than elsewhere, found.

A slice is a word, a metadata value, a length band, a label, or a pair of these. It is kept where
its error rate is above the rest's (Fisher's exact test, Benjamini-Hochberg over all slices tried).
Slices overlap, and a broad one may only echo a narrow one that it holds; so they are chosen one
after another, the clearest first, each tested again on the examples outside those already chosen.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special, stats

from saliency_core.analysis.features import WORD, features_of
from saliency_core.errors import UserError
from saliency_core.stats import benjamini_hochberg, excess_errors, wilson
from saliency_core.store import Run, save_table
from saliency_core.store.query.editing import joined
from saliency_core.store.query.terms import quote
from saliency_core.words import is_spoken

TABLE = "discovered slices"
MINIMUM = 20
"""Judged examples a slice must hold."""
PAIRED = 60
"""Single slices that are joined in pairs: those that explain most errors."""
OVERLAP = 0.8
"""Slices whose wrong examples overlap that much (Jaccard) are one finding."""
ECHOES = 5
"""Of them, how many are named."""
LABELS = ("gold:", "predicted:")
COLUMNS = (
    "where examples errors error_rate low high rest_error_rate risk_ratio explained p q also"
).split()


def keep_discovered(run: Run, table: pd.DataFrame) -> None:
    """Keep discovered slices with the run, replacing older ones."""
    save_table(run.store.path, run.number, TABLE, table)


def kept_discovered(run: Run) -> pd.DataFrame | None:
    """Return the slices that were kept last, None where none were ever looked for."""
    return run.table(TABLE)


@dataclass(frozen=True)
class _Tried:
    """One slice that was tried."""

    where: str
    rows: np.ndarray
    """Rows of judged examples, rising."""
    single: bool = True
    """Whether it is one condition, not a pair."""

    def errors(self, wrong: np.ndarray) -> np.ndarray:
        """Return the rows that are wrong."""
        return self.rows[wrong[self.rows]]


def discover(
    run: Run, *, minimum: int = MINIMUM, alpha: float = 0.05, limit: int = 20
) -> tuple[pd.DataFrame, int]:
    """Return the slices that explain most errors, and how many were tried.

    `explained` is the errors beyond what the rest's error rate would give:
    wrong - n * rest_error_rate. `also` lists slices that hold nearly the same errors. `minimum` is
    the judged examples a slice must hold, `alpha` the accepted rate of false discoveries.

    Raises:
        UserError: the run has no labels.
    """
    wrong = run.filter("wrong").mask()
    judged = wrong | run.filter("right").mask()
    if not judged.any():
        raise UserError(f"Run {run.number} has no labels, so no example can be called wrong.")
    singles = _singles(run, judged, minimum)
    table = _tested(singles, wrong, int(judged.sum()))
    best = table.nlargest(PAIRED, "explained")
    best = best[(best["explained"] > 0) & (best["p"] <= alpha)].index
    pairs = _pairs([singles[place] for place in best], wrong, minimum, alpha)
    tried = [*singles, *pairs]
    table = _tested(tried, wrong, int(judged.sum()))
    table["q"] = benjamini_hochberg(table["p"].to_numpy())
    kept = table.index[(table["q"] <= alpha) & (table["explained"] > 0)]
    clear = [tried[place] for place in kept]
    heads = _chosen(clear, wrong, judged, minimum, alpha, limit)
    others = [one for place, one in enumerate(clear) if place not in heads]
    also = [_echoes(clear[head], others, wrong) for head in heads]
    found = table.loc[kept[heads]].assign(also=also)[COLUMNS]
    return found.sort_values("explained", ascending=False, ignore_index=True), len(tried)


def _singles(run: Run, judged: np.ndarray, minimum: int) -> list[_Tried]:
    features = features_of(run, 0)
    order = np.argsort(features.feature, kind="stable")
    order = order[judged[features.example[order]]]
    counts = np.bincount(features.feature[order], minlength=len(features.names))
    examples = np.split(features.example[order], np.cumsum(counts)[:-1])
    found = [
        _Tried(features.where[code], np.sort(examples[code]))
        for code in np.flatnonzero(counts >= minimum)
        if features.where[code]
        and (features.kinds[code] != WORD or is_spoken(features.names[code]))
    ]
    for field in ("gold", "predicted"):
        values = run.column(field)
        for label, name in enumerate(run.label_names):
            rows = np.flatnonzero(judged & (values == label))
            if len(rows) >= minimum:
                found.append(_Tried(f"{field}:{quote(name)}", rows))
    return [one for one in found if len(one.rows) < judged.sum()]


def _tested(tried: list[_Tried], wrong: np.ndarray, judged: int) -> pd.DataFrame:
    """Return one row per slice, in the order given."""
    n = np.array([len(one.rows) for one in tried], np.int64)
    k = np.array([int(wrong[one.rows].sum()) for one in tried], np.int64)
    errors = int(wrong.sum())
    rest = (errors - k) / np.maximum(judged - n, 1)
    intervals = np.array([wilson(int(a), int(b)) for a, b in zip(k, n, strict=True)]).reshape(-1, 2)
    excess = excess_errors(k, n, np.array(errors), np.array(judged))
    return pd.DataFrame(
        {
            "where": [one.where for one in tried],
            "examples": n,
            "errors": k,
            "error_rate": k / np.maximum(n, 1),
            "low": intervals[:, 0],
            "high": intervals[:, 1],
            "rest_error_rate": rest,
            "risk_ratio": excess["risk_ratio"],
            "explained": k - n * rest,
            "p": excess["p"],
        }
    )


def _pairs(singles: list[_Tried], wrong: np.ndarray, minimum: int, alpha: float) -> list[_Tried]:
    """Return the pairs in which the model errs more than in either part alone."""
    found = []
    for one, other in itertools.combinations(singles, 2):
        if one.where.startswith(LABELS) and other.where.startswith(LABELS):
            continue  # A gold and a predicted label together are wrong by definition.
        rows = np.intersect1d(one.rows, other.rows, assume_unique=True)
        if minimum <= len(rows) < min(len(one.rows), len(other.rows)) and all(
            _is_above(rows, part.rows, wrong, alpha) for part in (one, other)
        ):
            found.append(_Tried(joined(one.where, other.where), rows, single=False))
    return found


def _is_above(inner: np.ndarray, outer: np.ndarray, wrong: np.ndarray, alpha: float) -> bool:
    """Tell whether an inner slice errs more than the outer one that holds it."""
    k, all_k = int(wrong[inner].sum()), int(wrong[outer].sum())
    return bool(stats.hypergeom.sf(k - 1, len(outer), all_k, len(inner)) <= alpha)


def _chosen(
    kept: list[_Tried], wrong: np.ndarray, judged: np.ndarray, minimum: int, alpha: float, most: int
) -> list[int]:
    """Return places of slices still above the rest outside those chosen before, clearest first."""
    if not kept:
        return []
    rows = np.concatenate([one.rows for one in kept])
    code = np.repeat(np.arange(len(kept)), [len(one.rows) for one in kept])
    alive = judged.copy()
    heads: list[int] = []
    while len(heads) < most:
        here = alive[rows]
        n = np.bincount(code[here], minlength=len(kept))
        k = np.bincount(code[here & wrong[rows]], minlength=len(kept))
        total, errors = int(alive.sum()), int((alive & wrong).sum())
        p = stats.hypergeom.sf(k - 1, total, errors, n)
        gain = np.where((n >= minimum) & (p <= alpha), _deviance(k, n, errors, total), 0)
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        best = _simplest(best, gain, kept, wrong)
        heads.append(best)
        alive[kept[best].rows] = False
    return heads


def _simplest(best: int, gain: np.ndarray, tried: list[_Tried], wrong: np.ndarray) -> int:
    """Return the clearest single slice that holds nearly the errors of a pair, else the pair."""
    if tried[best].single:
        return best
    own = tried[best].errors(wrong)
    for place in np.argsort(-gain, kind="stable"):
        if gain[place] <= 0:
            break
        if tried[place].single and _jaccard(tried[place].errors(wrong), own) >= OVERLAP:
            return int(place)
    return best


def _deviance(k: np.ndarray, n: np.ndarray, errors: int, total: int) -> np.ndarray:
    """Return G2 of the table wrong x in the slice: how clearly the two error rates differ."""
    observed = np.array([k, n - k, errors - k, total - n - errors + k], float)
    part = np.array([n, n, total - n, total - n], float)
    rate = errors / max(total, 1)
    expected = part * np.array([[rate], [1 - rate], [rate], [1 - rate]])
    return 2 * special.rel_entr(observed, expected).sum(0)


def _echoes(head: _Tried, others: list[_Tried], wrong: np.ndarray) -> list[str]:
    """Return other slices that hold nearly the same errors."""
    own = head.errors(wrong)
    return [one.where for one in others if _jaccard(one.errors(wrong), own) >= OVERLAP][:ECHOES]


def _jaccard(one: np.ndarray, other: np.ndarray) -> float:
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / max(len(one) + len(other) - shared, 1)
