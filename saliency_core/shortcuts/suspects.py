"""Spurious-feature candidates: association in the data x reliance of the model x excess errors.

docs/method.md, “Suspects”, on what the store holds; `ablation_effects` adds the causal evidence.
A candidate is a feature (a word, or something a text or its metadata has) and a class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from saliency_core.analysis.features import TEXT, WORD, Features, features_of
from saliency_core.analysis.kept_suspects import ASSESSMENTS, DATA, HARMFUL, NONE, RELIED, UNTESTED
from saliency_core.errors import UserError
from saliency_core.shortcuts.companions import with_leaders
from saliency_core.stats import association, benjamini_hochberg, excess_errors, mean_interval
from saliency_core.store import Run

NULL_LENGTH_BANDS = 10
CONTROL_WORDS = 100
"""Frequency-matched words that a word's reliance is set against."""


@dataclass(frozen=True)
class Thresholds:
    """What the assessment asks for; every one is an option of the command."""

    alpha: float = 0.05
    """Rate of false discoveries (Benjamini-Hochberg) that is accepted in each kind of evidence."""
    minimum: int = 5
    """Examples a feature must be in."""
    reliance_ratio: float = 1.5
    """Mean share of a word over that of frequency-matched words, from which it is relied on."""
    flip_excess: float = 0.05
    """Flip rate beyond that of the control word, or mean fall of p(c), that counts as an effect."""


@dataclass(frozen=True)
class _Counts:
    """Counts of features against labels, predictions and errors."""

    n: np.ndarray
    """(feature, 1) labelled examples that have the feature."""
    gold: np.ndarray
    """(feature, class)."""
    predicted: np.ndarray
    """(feature, class)."""
    judged: np.ndarray
    """(feature, class) predictions of the class whose gold label is known."""
    wrong: np.ndarray
    """(feature, class) predictions of the class that are wrong."""


@dataclass(frozen=True)
class TrainingCounts:
    """Features of texts and classes in training data."""

    rows: dict[tuple[str, str], int]
    """Kind and name of a feature -> row of `counts`; kinds word and text."""
    counts: np.ndarray
    """(feature, class) examples of the class that have the feature."""
    base: np.ndarray
    """(class,) examples."""


def _count(features: Features, classes: int, gold: np.ndarray, predicted: np.ndarray) -> _Counts:
    size = len(features.names)

    def table(labels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        key = features.feature[chosen] * classes + labels[features.example[chosen]]
        return np.bincount(key, minlength=size * classes).reshape(size, classes)

    has_gold = (gold >= 0)[features.example]
    has_answer = (predicted >= 0)[features.example]
    is_wrong = has_gold & has_answer & (gold != predicted)[features.example]
    by_gold = table(gold, has_gold)
    return _Counts(
        n=by_gold.sum(1, keepdims=True),
        gold=by_gold,
        predicted=table(predicted, has_answer),
        judged=table(predicted, has_gold & has_answer),
        wrong=table(predicted, is_wrong),
    )


def suspects(
    run: Run,
    *,
    layer: int | None = None,
    thresholds: Thresholds | None = None,
    training: TrainingCounts | None = None,
    null_repeats: int = 0,
    seed: int = 0,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return one row per (feature, class) pair with its evidence, and the shuffled control.

    Args:
        run: a run.
        layer: the layer of the saliency; None for the recommended one.
        thresholds: what the assessment asks for.
        training: features of the training texts; the association of words and other features of
            texts is then taken there, and `shift` is p(class | feature) there minus that in the
            audited data.
        null_repeats: how often to repeat the tests with labels and answers shuffled among examples
            of like length.
        seed: of the shuffling.

    Returns:
        The table, strongest first, without the causal evidence (`with_effects` adds it),
        and the control: tests (of association and errors); repeats; means over the shufflings:
        mean_flagged, tests that pass alpha; expected, alpha x tests; mean_discovered, tests that
        also pass Benjamini-Hochberg and so could make an assessment.

    Raises:
        UserError: the run knows no classes.
    """
    thresholds = thresholds or Thresholds()
    classes = len(run.label_names)
    if run.model.task != "single-label" or classes < 2:
        raise UserError("Suspects need a classifier with one label per example.")
    layer = run.layer_to_read(layer)
    gold = run.column("gold").astype(np.int64)
    predicted = run.column("predicted").astype(np.int64)
    if not (predicted >= 0).any():
        raise UserError(
            f"No example of run {run.number} has a prediction, so there is nothing to test."
        )
    features = features_of(run, layer)
    counts = _count(features, classes, gold, predicted)
    table = _table(features, counts, run.label_names, gold, predicted, thresholds)
    if training is not None:
        table = _with_training(table, training, run.label_names)
    for kind in ("association", "reliance", "errors"):
        table[f"q_{kind}"] = benjamini_hochberg(table[f"p_{kind}"].to_numpy())
    table["assessment"] = assessments(table, thresholds)
    control = _null(run, features, gold, predicted, classes, thresholds, null_repeats, seed)
    control["tests"] = int(table[["p_association", "p_errors"]].notna().to_numpy().sum())
    table = ranked(table)
    table = with_leaders(
        table, features, gold, predicted, run.label_names, salient=(HARMFUL, RELIED, UNTESTED)
    )
    return table.assign(share_by_layer=_shares_by_layer(run, table)), control


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
    supported = _supported(present, counts, thresholds)
    kept, klass = np.nonzero(supported)
    found = _tests(counts, gold, predicted)
    reliance = _reliance(features, counts.predicted, predicted, present)
    table = pd.DataFrame(
        {
            "feature": [features.names[row] for row in kept],
            "kind": [features.kinds[row] for row in kept],
            "class": [names[label] for label in klass],
            "where": [features.where[row] for row in kept],
            "examples": present[kept],
            "n": counts.n[kept, 0],
            "k": counts.gold[supported],
            **{name: values[supported] for name, values in found.items()},
            "predictions": counts.predicted[supported],
            **{name: values[supported] for name, values in reliance.items()},
            "errors_n": counts.judged[supported],
            "errors_k": counts.wrong[supported],
        }
    )
    # A table of no rows holds texts as much as any other.
    return table.astype(dict.fromkeys(("feature", "kind", "class", "where"), object))


def _supported(present: np.ndarray, counts: _Counts, thresholds: Thresholds) -> np.ndarray:
    """Return (feature, class) bool: pairs that occur and whose feature is in enough examples."""
    occurs = (counts.gold > 0) | (counts.predicted > 0)
    return (present[:, None] >= thresholds.minimum) & occurs


def _tests(counts: _Counts, gold: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Return (feature, class) association and excess errors; their p is NaN without gold labels."""
    classes = counts.gold.shape[1]
    labelled = int((gold >= 0).sum())
    base = np.bincount(gold[gold >= 0], minlength=classes) / max(labelled, 1)
    known = (gold >= 0) & (predicted >= 0)
    wrong_of = np.bincount(predicted[known & (gold != predicted)], minlength=classes)
    all_of = np.bincount(predicted[known], minlength=classes)
    tied = association(counts.n, counts.gold, base, max(labelled, 1))
    errors = excess_errors(counts.wrong, counts.judged, wrong_of, all_of)
    return {
        "base_rate": np.broadcast_to(base, counts.gold.shape),
        "p_association": tied.pop("p"),
        "p_errors": errors.pop("p"),
        **tied,
        **errors,
    }


def _reliance(
    features: Features, n: np.ndarray, predicted: np.ndarray, present: np.ndarray
) -> dict[str, np.ndarray]:
    """Return mean score and share where the class is predicted, against frequency-matched words.

    `share_low` and `share_high` are the 95 % interval of the mean share.

    The control of a feature are the `CONTROL_WORDS` words nearest in frequency; p is one-sided, of
    Welch's t test of its mean share against the mean of theirs.
    """
    size, classes = n.shape
    chosen = (predicted[features.example] >= 0) & ~np.isnan(features.share)
    key = features.feature[chosen] * classes + predicted[features.example[chosen]]

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(key, values[chosen], size * classes).reshape(size, classes)

    held = np.bincount(key, minlength=size * classes).reshape(size, classes)
    some = np.where(held > 0, held, np.nan)
    mean, square = total(features.share) / some, total(features.share**2) / some
    control_mean, control_error = np.full(n.shape, np.nan), np.full(n.shape, np.nan)
    control_words = np.full(n.shape, np.nan)
    is_word = np.array([kind == WORD for kind in features.kinds], bool)
    for label in range(classes):
        words = np.flatnonzero(is_word & (held[:, label] > 0))
        words = words[np.argsort(present[words], kind="stable")]
        wanted = np.flatnonzero(held[:, label] > 0)
        found = _control(mean[words, label], present[words], present[wanted])
        control_mean[wanted, label], control_error[wanted, label] = found
        control_words[wanted, label] = min(CONTROL_WORDS, len(words))
    own_error = np.maximum(square - mean**2, 0) / np.maximum(held - 1, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = own_error + control_error
        t = (mean - control_mean) / np.sqrt(error)
        # Welch-Satterthwaite: a word that is in few examples knows its own spread badly.
        freedom = error**2 / (own_error**2 / (held - 1) + control_error**2 / (control_words - 1))
    low, high = mean_interval(mean, np.where(held >= 2, np.sqrt(own_error), np.nan))
    return {
        "mean_score": total(features.score) / some,
        "mean_share": mean,
        "share_low": low,
        "share_high": high,
        "control_share": control_mean,
        "top3_rate": total(features.top3) / some,
        "p_reliance": np.where(held >= 2, stats.t.sf(t, freedom), np.nan),
    }


def _control(
    mean: np.ndarray, present: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean share of the words nearest in frequency and its squared standard error.

    Each word counts once, so that the error holds how far such words differ among each other.

    Args:
        mean: (word,) mean share of each word, by rising frequency.
        present: (word,) examples that hold it.
        wanted: (feature,) examples that have each feature.
    """
    count = len(mean)
    if count < 3:
        return np.full(len(wanted), np.nan), np.full(len(wanted), np.nan)
    width = min(CONTROL_WORDS, count)
    middle = (np.searchsorted(present, wanted) + np.searchsorted(present, wanted, "right")) // 2
    start = np.clip(middle - width // 2, 0, count - width)
    sums, squares = np.cumsum([0, *mean]), np.cumsum([0, *mean**2])
    average = (sums[start + width] - sums[start]) / width
    spread = (squares[start + width] - squares[start]) / width - average**2
    return average, np.maximum(spread, 0) / (width - 1)


def _shares_by_layer(run: Run, table: pd.DataFrame) -> list[list[float] | None]:
    """Return the mean share at layers 0 to L of each row's word where its class is predicted."""
    is_word = (table["kind"] == WORD).to_numpy()
    label = {name: place for place, name in enumerate(run.label_names)}
    keys = pd.MultiIndex.from_arrays([table["class"].map(label), table["feature"]])
    layers = []
    for layer in range(run.model.layers + 1):
        sums = run.filter().word_sums(layer)
        index = pd.MultiIndex.from_arrays([sums.label, run.store.words_of(sums.word)])
        layers.append(pd.Series(sums.share / sums.examples, index).reindex(keys).to_numpy())
    rows = np.stack(layers, axis=1)
    known = is_word & ~np.isnan(rows).any(1)
    return [row.tolist() if here else None for row, here in zip(rows, known, strict=True)]


def assessments(table: pd.DataFrame, thresholds: Thresholds) -> list[str]:
    """Return the assessment of every row by rule (docs/method.md, “Suspects”).

    Relied on: salient beyond frequency-matched words, and its deletion changes answers beyond that
    of the control word. Harmful: relied on, and its predictions are wrong more often. In the data
    only: associated, and not relied on.
    """
    alpha = thresholds.alpha
    salient = (
        (table["q_reliance"] <= alpha)
        & (table["mean_score"] > 0)
        & (table["mean_share"] >= thresholds.reliance_ratio * table["control_share"])
    )
    tested = pd.Series(False, table.index)
    effect = tested
    if "effect_n" in table:
        tested = table["effect_n"] > 0
        effect = (table["q_effect"] <= alpha) & (
            (table["flip_rate"] - table["control_flip_rate"] >= thresholds.flip_excess)
            | (table["mean_drop"] - table["control_mean_drop"] >= thresholds.flip_excess)
        )
    relied = salient & effect
    harmful = relied & (table["q_errors"] <= alpha) & (table["risk_ratio"] > 1)
    associated = table["q_association"] <= alpha
    return np.select(
        [harmful, relied, salient & ~tested, associated], ASSESSMENTS[:4], default=NONE
    ).tolist()


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, strongest suspicion first.

    By assessment; those whose predictions are wrong more often (q of the errors at most .05) first,
    by their errors beyond the expected; then by mean share times the root of its support, which is
    the t value of a share against none up to its spread.
    """
    expected = table["errors_n"] * (table["errors_k"].sum() / max(table["errors_n"].sum(), 1))
    excess = (table["errors_k"] - expected).where(table["q_errors"] <= 0.05, 0).clip(lower=0)
    reliance = table["mean_share"].fillna(0) * np.sqrt(table["predictions"])
    place = pd.Index(ASSESSMENTS).get_indexer(table["assessment"])
    order = pd.DataFrame(
        {
            "place": place,
            "excess": -excess,
            "reliance": np.where(place == ASSESSMENTS.index(DATA), -table["z"], -reliance),
            "feature": table["feature"],
            "class": table["class"],
        }
    ).sort_values(["place", "excess", "reliance", "feature", "class"], kind="stable")
    return table.loc[order.index].reset_index(drop=True)


def _with_training(table: pd.DataFrame, training: TrainingCounts, names: list[str]) -> pd.DataFrame:
    """Take the association of what texts hold on the training data."""
    counted = table["kind"].isin([WORD, TEXT]).to_numpy()
    label = table["class"].map({name: place for place, name in enumerate(names)}).to_numpy()
    keys = zip(table["kind"], table["feature"], strict=True)
    row = np.array([training.rows.get(key, -1) for key in keys], np.int64)
    counts = np.vstack([training.counts, np.zeros((1, len(names)), np.int64)])
    n, k = counts.sum(1)[row], counts[row, label]
    total = max(int(training.base.sum()), 1)
    rate = (training.base / total)[label]
    tied = association(n, k, rate, total)
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = k / n - table["k"].to_numpy() / table["n"].to_numpy()
    found = {"n": n, "k": k, "base_rate": rate, "p_association": tied.pop("p"), **tied}
    for name, values in found.items():
        table[name] = np.where(counted, values, table[name])
    return table.assign(shift=np.where(counted, shift, np.nan))


def _null(
    run: Run,
    features: Features,
    gold: np.ndarray,
    predicted: np.ndarray,
    classes: int,
    thresholds: Thresholds,
    repeats: int,
    seed: int,
) -> dict[str, float]:
    """Return how many tests pass when labels and answers are shuffled.

    Both are shuffled together among length-matched examples, so that accuracy and class sizes stay
    and only their tie to the texts is cut. The tests are association and excess errors, the two
    that a chance pattern of labels could pass.
    """
    length = run.column("length")
    edges = np.unique(np.quantile(length, np.linspace(0, 1, NULL_LENGTH_BANDS + 1)[1:-1]))
    band = np.searchsorted(edges, length, side="right")
    draw = np.random.default_rng(seed)
    present = np.bincount(features.feature, minlength=len(features.names))
    where = np.argsort(band, kind="stable")
    shuffled = np.empty(len(band), np.int64)
    passed = []
    for _ in range(repeats):
        shuffled[where] = np.lexsort((draw.random(len(band)), band))
        new_gold, new_predicted = gold[shuffled], predicted[shuffled]
        counts = _count(features, classes, new_gold, new_predicted)
        supported = _supported(present, counts, thresholds)
        found = _tests(counts, new_gold, new_predicted)
        p = np.stack([found[name][supported] for name in ("p_association", "p_errors")])
        q = np.stack([benjamini_hochberg(one) for one in p])
        tests = (p <= thresholds.alpha, q <= thresholds.alpha, ~np.isnan(p))
        passed.append([passing.sum() for passing in tests])
    flagged, discovered, tested = np.mean(passed, axis=0).tolist() if passed else [np.nan] * 3
    return {
        "repeats": repeats,
        "mean_flagged": flagged,
        "expected": thresholds.alpha * tested,
        "mean_discovered": discovered,
    }
