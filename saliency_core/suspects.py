"""Spurious-feature candidates: association in the data x reliance of the model x excess errors.

METHOD section 6 on what the store holds; `effects.py` adds the causal evidence. A candidate is a
feature (a word, or something a text or its metadata has) and a class.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from saliency_core.errors import UserError
from saliency_core.store import Store
from saliency_core.store.slices import quote

VERDICTS = ("relied on and harmful", "relied on", "in the data only", "none")
PAGE = 5000
"""Examples whose texts are held at once."""
MAXIMUM_VALUES = 50
"""Values a metadata column may have: ids and free text are no features."""
NULL_LENGTH_BANDS = 10
CONTROL_WORDS = 100
"""Words of like frequency that a word's reliance is set against."""


@dataclass(frozen=True)
class Thresholds:
    """What the verdict asks for; every one is an option of the command."""

    alpha: float = 0.05
    """Rate of false discoveries (Benjamini-Hochberg) that is accepted in each kind of evidence."""
    minimum: int = 5
    """Examples a feature must be in."""
    reliance_ratio: float = 1.5
    """Mean share of a word over that of words of like frequency, from which it is relied on."""
    flip_excess: float = 0.05
    """Flip rate beyond that of the control word, or mean fall of p(c), that counts as an effect."""


@dataclass(frozen=True)
class Features:
    """Which examples have which features, as pairs."""

    example: np.ndarray
    """(pair,) int64 row of the example, 0 to examples - 1."""
    feature: np.ndarray
    """(pair,) int64 index into `names`."""
    names: list[str]
    kinds: list[str]
    """word, text or metadata."""
    where: list[str]
    """A slice of the examples that have it; empty where no term of the language says it."""
    score: np.ndarray
    """(pair,) signed saliency in logits; NaN where the feature has no words of its own."""
    share: np.ndarray
    top3: np.ndarray


def association(
    n: np.ndarray, k: np.ndarray, base_rate: np.ndarray, examples: int
) -> dict[str, np.ndarray]:
    """Return how far features and classes go together in the labels.

    z is Gardner et al. 2021, equation 2: (k/n - p_c) / sqrt(p_c (1 - p_c) / n); p the exact upper
    binomial tail P(X >= k | n, p_c); PMI = log2 p(f, c) / (p(f) p(c)); LMI = p(f, c) PMI.

    Args:
        n: (feature, 1) examples that have the feature.
        k: (feature, class) of them, those of the class.
        base_rate: (class,) p_c.
        examples: all examples.
    """
    rate = np.divide(k, n, out=np.zeros(k.shape), where=n > 0)
    spread = np.sqrt(base_rate * (1 - base_rate) / np.maximum(n, 1))
    z = np.divide(rate - base_rate, spread, out=np.zeros(k.shape), where=spread > 0)
    joint, expected = k / examples, n / examples * base_rate
    ratio = np.divide(joint, expected, out=np.ones(k.shape), where=(expected > 0) & (k > 0))
    pmi = np.where(k > 0, np.log2(ratio), -np.inf)
    return {
        "z": z,
        "p": stats.binom.sf(k - 1, n, base_rate),
        "pmi": pmi,
        "lmi": np.where(k > 0, joint * np.log2(ratio), 0.0),
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
        risk_ratio, and p of Fisher's exact test (one-sided, greater).
    """
    other_n, other_wrong = all_n - n, all_wrong - wrong
    # Half a count keeps the ratio finite where the others have no error (Haldane-Anscombe).
    risk = (wrong + 0.5) / (n + 1)
    other = (other_wrong + 0.5) / (other_n + 1)
    p = stats.hypergeom.sf(wrong - 1, all_n, all_wrong, n)
    return {"risk_ratio": risk / other, "p": np.where(n > 0, p, 1.0)}


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Return q values: the smallest false-discovery rate at which each test passes; NaN stays."""
    q = np.full(p.shape, np.nan)
    known = ~np.isnan(p)
    if known.any():
        q[known] = stats.false_discovery_control(np.clip(p[known], 0, 1))
    return q


def word_features(store: Store, layer: int, run: int, rows: dict[int, int]) -> Features:
    """Return every word of every example with its saliency at a layer."""
    found = store.occurrences(layer, run=run)
    size = len(found.vocabulary)
    key = found.example.astype(np.int64) * size + found.word
    pairs, place = np.unique(key, return_inverse=True)
    example = np.array([rows.get(int(row), -1) for row in np.unique(pairs // size)], np.int64)
    _, code = np.unique(pairs // size, return_inverse=True)
    keep = example[code] >= 0
    names = list(found.vocabulary)
    return Features(
        example=example[code][keep],
        feature=(pairs % size)[keep],
        names=names,
        kinds=["word"] * size,
        where=[f"word:{quote(name)}" for name in names],
        score=np.bincount(place, found.score)[keep],
        share=np.bincount(place, found.share)[keep],
        top3=np.maximum.reduceat(found.top3[np.argsort(place, kind="stable")], _starts(place))[
            keep
        ].astype(float)
        if len(place)
        else np.zeros(0),
    )


def _starts(place: np.ndarray) -> np.ndarray:
    """Return where each run of equal values starts once the places are sorted."""
    counts = np.bincount(place)
    return np.concatenate([[0], np.cumsum(counts)[:-1]])


TEXT_TESTS: dict[str, Callable[[str], bool]] = {
    "has a digit": lambda text: bool(re.search(r"\d", text)),
    "has a URL": lambda text: bool(re.search(r"https?://|www\.", text)),
    "has a word in upper case": lambda text: bool(re.search(r"\b[A-Z]{2,}\b", text)),
    "has a run of punctuation": lambda text: bool(re.search(r"[!?.]{2,}", text)),
    "has letters of another script than Latin": lambda text: bool(
        re.search(r"[^\W\d_\u0000-\u024F\u1E00-\u1EFF]", text)
    ),
}
"""Features of a text beside its words."""

_EDGE_WORD = re.compile(r"\w+(?:['’-]\w+)*")


def other_features(store: Store, run: int, rows: dict[int, int]) -> Features:
    """Return what examples have beside words: ends, signs, length, truncation, metadata."""
    names: dict[tuple[str, str, str], int] = {}
    example: list[np.ndarray] = []
    feature: list[np.ndarray] = []

    def add(kind: str, name: str, where: str, having: Iterable[int]) -> None:
        having = np.fromiter(having, np.int64)
        if len(having):
            code = names.setdefault((kind, name, where), len(names))
            example.append(having)
            feature.append(np.full(len(having), code, np.int64))

    for (name, where), having in _text_features(store, run, rows).items():
        add("text", name, where, having)
    for kind, name, where, having in _column_features(store, run, rows):
        add(kind, name, where, having)
    count = sum(map(len, example))
    return Features(
        example=np.concatenate(example) if example else np.zeros(0, np.int64),
        feature=np.concatenate(feature) if feature else np.zeros(0, np.int64),
        names=[name for _, name, _ in names],
        kinds=[kind for kind, _, _ in names],
        where=[where for _, _, where in names],
        score=np.full(count, np.nan),
        share=np.full(count, np.nan),
        top3=np.full(count, np.nan),
    )


def _text_features(
    store: Store, run: int, rows: dict[int, int]
) -> dict[tuple[str, str], list[int]]:
    """Return (name, slice) -> rows, from the texts."""
    found: dict[tuple[str, str], list[int]] = {}
    positions = list(rows)
    for start in range(0, len(positions), PAGE):
        page = store.examples_at(positions[start : start + PAGE], run=run)
        for position, text in zip(page["example"], page["text"], strict=True):
            row = rows[int(position)]
            for name, test in TEXT_TESTS.items():
                if test(text):
                    found.setdefault((name, ""), []).append(row)
            words = _EDGE_WORD.findall(text.lower())
            if words:
                found.setdefault((f"begins with “{words[0]}”", ""), []).append(row)
                found.setdefault((f"ends with “{words[-1]}”", ""), []).append(row)
    return found


def _column_features(
    store: Store, run: int, rows: dict[int, int]
) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Yield (kind, name, slice, rows) from columns: length bands, truncation, metadata."""
    position = store.column("position", run=run)
    row = np.array([rows.get(int(place), -1) for place in position], np.int64)
    length = store.column("length", run=run)
    edges = np.unique(np.quantile(length[row >= 0], [0.25, 0.5, 0.75]).astype(int))
    bands = [None, *edges.tolist(), None]
    for low, high in itertools.pairwise(bands):
        inside = (row >= 0) & (length >= (low or 0)) & (length < (np.inf if high is None else high))
        terms = [f"length>={low}"] * (low is not None) + [f"length<{high}"] * (high is not None)
        yield "text", " ".join(terms) or "any length", " ".join(terms), row[inside]
    truncated = (row >= 0) & (store.column("truncated", run=run) == 1)
    yield "text", "truncated", "truncated", row[truncated]
    for column in store.metadata_columns(run=run):
        values = store.metadata_values(column, run=run)
        distinct = sorted(set(values.tolist()) - {""})
        if not 1 < len(distinct) <= MAXIMUM_VALUES:
            continue
        for value in distinct:
            where = f"meta.{quote(column)}:{quote(value)}"
            yield "metadata", f"{column} = {value}", where, row[(row >= 0) & (values == value)]


@dataclass(frozen=True)
class _Counts:
    """Counts of features against labels, predictions and errors."""

    n: np.ndarray
    """(feature, 1) labelled examples that have the feature."""
    gold: np.ndarray
    """(feature, class)."""
    predicted: np.ndarray
    """(feature, class)."""
    wrong: np.ndarray
    """(feature, class) predictions of the class that are wrong."""


def _count(features: Features, size: int, classes: int, gold, predicted) -> _Counts:
    def table(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        key = features.feature[rows] * classes + labels[features.example[rows]]
        return np.bincount(key, minlength=size * classes).reshape(size, classes)

    has_gold = gold[features.example] >= 0
    has_answer = predicted[features.example] >= 0
    is_wrong = has_gold & has_answer & (gold != predicted)[features.example]
    by_gold = table(gold, has_gold)
    return _Counts(
        n=by_gold.sum(1, keepdims=True),
        gold=by_gold,
        predicted=table(predicted, has_answer),
        wrong=table(predicted, is_wrong),
    )


def _joined(one: Features, other: Features) -> Features:
    shift = len(one.names)
    return Features(
        np.concatenate([one.example, other.example]),
        np.concatenate([one.feature, other.feature + shift]),
        [*one.names, *other.names],
        [*one.kinds, *other.kinds],
        [*one.where, *other.where],
        np.concatenate([one.score, other.score]),
        np.concatenate([one.share, other.share]),
        np.concatenate([one.top3, other.top3]),
    )


def suspects(
    store: Store,
    *,
    run: int | None = None,
    layer: int | None = None,
    thresholds: Thresholds | None = None,
    train_counts: tuple[dict[str, np.ndarray], np.ndarray] | None = None,
    null_repeats: int = 0,
    seed: int = 0,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return a row a (feature, class) pair with its evidence, and the shuffled control.

    Args:
        store: an open file.
        run: the run; None for the newest.
        layer: the layer of the saliency; None for the recommended one.
        thresholds: what the verdict asks for.
        train_counts: word -> (class,) counts in training data, and the (class,) base counts;
            association is then taken there, and `shift` is its difference to the audited data.
        null_repeats: how often to repeat the tests with labels and answers shuffled among examples
            of like length.
        seed: of the shuffling.

    Returns:
        The table, strongest first, without the causal evidence (`effects.with_effects` adds it),
        and the control: repeats, tests, mean_flagged, expected.

    Raises:
        UserError: the run knows no classes.
    """
    thresholds = thresholds or Thresholds()
    facts = store.run(run)
    run, classes = facts["run"], len(facts["label_names"])
    if facts["model"]["task"] != "single-label" or classes < 2:
        raise UserError("Suspects need a classifier with one label an example.")
    layer = _layer(facts) if layer is None else layer
    position = store.column("position", run=run)
    gold = store.column("gold", run=run).astype(np.int64)
    predicted = store.column("predicted", run=run).astype(np.int64)
    rows = {int(place): row for row, place in enumerate(position)}
    features = _joined(word_features(store, layer, run, rows), other_features(store, run, rows))
    counts = _count(features, len(features.names), classes, gold, predicted)
    table = _table(features, counts, facts["label_names"], gold, predicted, thresholds)
    if train_counts is not None:
        table = _with_training(table, train_counts, facts["label_names"])
    table["q_association"] = benjamini_hochberg(table["p_association"].to_numpy())
    for kind in ("reliance", "errors"):
        table[f"q_{kind}"] = benjamini_hochberg(table[f"p_{kind}"].to_numpy())
    table["verdict"] = verdicts(table, thresholds)
    control = _null(store, run, features, gold, predicted, classes, thresholds, null_repeats, seed)
    return ranked(table), control


def _layer(facts: dict) -> int:
    if facts["recommended"] is None:
        raise UserError(
            f"Run {facts['run']} has not finished, so no layer is recommended; choose one with "
            "--layer."
        )
    return facts["recommended"]


def _table(
    features: Features,
    counts: _Counts,
    names: list[str],
    gold: np.ndarray,
    predicted: np.ndarray,
    thresholds: Thresholds,
) -> pd.DataFrame:
    """Return the evidence of every pair with enough support."""
    present = np.bincount(features.feature, minlength=len(features.names))
    kept, klass = np.nonzero(
        (present[:, None] >= thresholds.minimum) & ((counts.gold > 0) | (counts.predicted > 0))
    )
    labelled = int((gold >= 0).sum())
    base = np.bincount(gold[gold >= 0], minlength=len(names)) / max(labelled, 1)
    tied = association(counts.n, counts.gold, base, max(labelled, 1))
    known = (gold >= 0) & (predicted >= 0)
    wrong_of = np.bincount(predicted[known & (gold != predicted)], minlength=len(names))
    all_of = np.bincount(predicted[known], minlength=len(names))
    bearing = _bearing(features, known, predicted, len(names))
    errors = excess_errors(counts.wrong, bearing, wrong_of, all_of)
    reliance = _reliance(features, counts.predicted, predicted, present)
    cells = (kept, klass)
    no_label = labelled == 0
    return pd.DataFrame(
        {
            "feature": [features.names[row] for row in kept],
            "kind": [features.kinds[row] for row in kept],
            "class": [names[label] for label in klass],
            "where": [features.where[row] for row in kept],
            "examples": present[kept],
            "n": counts.n[kept, 0],
            "k": counts.gold[cells],
            "base_rate": base[klass],
            "z": tied["z"][cells],
            "pmi": tied["pmi"][cells],
            "lmi": tied["lmi"][cells],
            "p_association": np.full(len(kept), np.nan) if no_label else tied["p"][cells],
            "predictions": counts.predicted[cells],
            **{name: values[cells] for name, values in reliance.items()},
            "errors_n": bearing[cells],
            "errors_k": counts.wrong[cells],
            "risk_ratio": errors["risk_ratio"][cells],
            "p_errors": np.full(len(kept), np.nan) if no_label else errors["p"][cells],
        }
    )


def _bearing(
    features: Features, known: np.ndarray, predicted: np.ndarray, classes: int
) -> np.ndarray:
    """Return (feature, class) judged predictions of the class that bear the feature."""
    rows = known[features.example]
    key = features.feature[rows] * classes + predicted[features.example[rows]]
    size = len(features.names)
    return np.bincount(key, minlength=size * classes).reshape(size, classes)


def _reliance(
    features: Features, n: np.ndarray, predicted: np.ndarray, present: np.ndarray
) -> dict[str, np.ndarray]:
    """Return mean score and share where the class is predicted, against words of like frequency.

    The control of a word are the `CONTROL_WORDS` words nearest in frequency; p is that of Welch's
    t test, one-sided: is its mean share above theirs?
    """
    size, classes = n.shape
    rows = predicted[features.example] >= 0
    rows &= ~np.isnan(features.share)
    key = features.feature[rows] * classes + predicted[features.example[rows]]

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(key, values, size * classes).reshape(size, classes)

    share, square = total(features.share[rows]), total(features.share[rows] ** 2)
    score, top3 = total(features.score[rows]), total(features.top3[rows])
    control_mean, control_error = np.full(n.shape, np.nan), np.full(n.shape, np.nan)
    words = np.array([kind == "word" for kind in features.kinds])
    for label in range(classes):
        chosen = np.flatnonzero(words & (n[:, label] > 0))
        chosen = chosen[np.argsort(present[chosen], kind="stable")]
        mean, error = _band(share[chosen, label], square[chosen, label], n[chosen, label])
        control_mean[chosen, label], control_error[chosen, label] = mean, error
    held = np.maximum(n, 1)
    mean = np.where(words[:, None] & (n > 0), share / held, np.nan)
    variance = np.maximum(square / held - mean**2, 0) * held / np.maximum(held - 1, 1)
    own_error = variance / held
    with np.errstate(invalid="ignore", divide="ignore"):
        t = (mean - control_mean) / np.sqrt(own_error + control_error)
    p = np.where(n >= 2, stats.norm.sf(t), np.nan)
    return {
        "mean_score": np.where(np.isnan(mean), np.nan, score / held),
        "mean_share": mean,
        "control_share": control_mean,
        "top3_rate": np.where(np.isnan(mean), np.nan, top3 / held),
        "p_reliance": p,
    }


def _band(share: np.ndarray, square: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean share of the neighbours in frequency and its squared standard error.

    The words come sorted by frequency; a word is no neighbour of itself. The mean is over words,
    each counted once, so that the error holds how far such words differ among each other.
    """
    count = len(share)
    if count < 3:
        return np.full(count, np.nan), np.full(count, np.nan)
    mean = share / n
    width = min(CONTROL_WORDS, count - 1)
    start = np.clip(np.arange(count) - width // 2, 0, count - width - 1)
    sums = np.concatenate([[0], np.cumsum(mean)])
    squares = np.concatenate([[0], np.cumsum(mean**2)])
    total = sums[start + width + 1] - sums[start] - mean
    total_square = squares[start + width + 1] - squares[start] - mean**2
    middle = total / width
    spread = np.maximum(total_square / width - middle**2, 0) * width / max(width - 1, 1)
    return middle, spread / width


def verdicts(table: pd.DataFrame, thresholds: Thresholds) -> list[str]:
    """Return the verdict of every row by rule (METHOD section 6).

    Relied on: salient beyond words of like frequency and, where it was tested, with an effect
    beyond the control word's. Harmful: relied on, and its predictions are wrong more often. In the
    data only: associated, and not relied on.
    """
    alpha = thresholds.alpha
    relied = (
        (table["q_reliance"] <= alpha)
        & (table["mean_score"] > 0)
        & (table["mean_share"] >= thresholds.reliance_ratio * table["control_share"])
    )
    if "effect_n" in table:
        tested = table["effect_n"].notna()
        effect = (table["q_effect"] <= alpha) & (
            (table["flip_rate"] - table["control_flip_rate"] >= thresholds.flip_excess)
            | (table["mean_drop"] - table["control_mean_drop"] >= thresholds.flip_excess)
        )
        relied &= ~tested | effect
    harmful = relied & (table["q_errors"] <= alpha) & (table["risk_ratio"] > 1)
    associated = table["q_association"] <= alpha
    return np.select([harmful, relied, associated], VERDICTS[:3], default=VERDICTS[3]).tolist()


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, strongest suspicion first.

    By verdict; the harmful ones by their errors beyond the expected; then by mean share times the
    root of its support, the t value of a share against none.
    """
    order = {verdict: place for place, verdict in enumerate(VERDICTS)}
    others = table["errors_n"] * (table["errors_k"].sum() / max(table["errors_n"].sum(), 1))
    excess = (table["errors_k"] - others).where(table["verdict"] == VERDICTS[0], 0)
    return (
        table.assign(
            _verdict=table["verdict"].map(order),
            _excess=-excess.fillna(0),
            _reliance=-(table["mean_share"].fillna(0) * np.sqrt(table["predictions"])),
        )
        .sort_values(["_verdict", "_excess", "_reliance", "feature", "class"], kind="stable")
        .drop(columns=["_verdict", "_excess", "_reliance"])
        .reset_index(drop=True)
    )


def _with_training(
    table: pd.DataFrame,
    train_counts: tuple[dict[str, np.ndarray], np.ndarray],
    names: list[str],
) -> pd.DataFrame:
    """Take the association of words on the training data; `shift` is training minus audited."""
    by_word, base = train_counts
    total = int(base.sum())
    label = {name: place for place, name in enumerate(names)}
    none = np.zeros(len(names), np.int64)
    is_word = (table["kind"] == "word").to_numpy()
    k = np.array(
        [
            by_word.get(word, none)[label[name]] if word_row else 0
            for word, name, word_row in zip(table["feature"], table["class"], is_word, strict=True)
        ]
    )
    n = np.array(
        [
            by_word.get(word, none).sum() if word_row else 0
            for word, word_row in zip(table["feature"], is_word, strict=True)
        ]
    )
    rate = (base / max(total, 1))[[label[name] for name in table["class"]]]
    tied = association(n, k, rate, max(total, 1))
    audited = np.divide(
        table["k"].to_numpy(float),
        table["n"].to_numpy(float),
        out=np.full(len(table), np.nan),
        where=table["n"].to_numpy() > 0,
    )
    trained = np.divide(k, n, out=np.full(len(table), np.nan), where=n > 0)
    table["shift"] = trained - audited
    for name, values in (("n", n), ("k", k), ("base_rate", rate)):
        table[name] = np.where(is_word, values, table[name])
    for name in ("z", "pmi", "lmi"):
        table[name] = np.where(is_word, tied[name], table[name])
    table["p_association"] = np.where(
        is_word, np.where(n > 0, tied["p"], np.nan), table["p_association"]
    )
    return table


def _null(
    store: Store,
    run: int,
    features: Features,
    gold: np.ndarray,
    predicted: np.ndarray,
    classes: int,
    thresholds: Thresholds,
    repeats: int,
    seed: int,
) -> dict[str, float]:
    """Return how many tests pass alpha when labels and answers are shuffled.

    Both are shuffled together among examples of like length, so that accuracy and class sizes stay
    and only their tie to the texts is cut. The tests are association and excess errors, the two
    that a chance pattern of labels could pass.
    """
    length = store.column("length", run=run)
    edges = np.unique(np.quantile(length, np.linspace(0, 1, NULL_LENGTH_BANDS + 1)[1:-1]))
    band = np.searchsorted(edges, length, side="right")
    draw = np.random.default_rng(seed)
    flagged, tests = [], 0
    for _ in range(repeats):
        order = np.lexsort((draw.random(len(band)), band))
        where = np.argsort(band, kind="stable")
        shuffled = np.empty(len(band), np.int64)
        shuffled[where] = order
        new_gold, new_predicted = gold[shuffled], predicted[shuffled]
        counts = _count(features, len(features.names), classes, new_gold, new_predicted)
        names = [str(label) for label in range(classes)]
        table = _table(features, counts, names, new_gold, new_predicted, thresholds)
        passed = (table[["p_association", "p_errors"]] <= thresholds.alpha).to_numpy()
        flagged.append(int(passed.sum()))
        tests = int(table[["p_association", "p_errors"]].notna().to_numpy().sum())
    return {
        "repeats": repeats,
        "tests": tests,
        "mean_flagged": float(np.mean(flagged)) if flagged else float("nan"),
        "expected": thresholds.alpha * tests,
    }
