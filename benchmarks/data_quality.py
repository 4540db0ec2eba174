"""Do the checks of a dataset find what was planted there?

Usage, from the root of a checkout:

    python -m benchmarks.data_quality labels FILE ...      planted wrong labels, in audits
    python -m benchmarks.data_quality demo FILE KEY        the demonstration's own wrong labels
    python -m benchmarks.data_quality duplicates TEXTS      planted word edits of 5, 10 and 20 %
    python -m benchmarks.data_quality million TEXTS N       time and memory of N texts
"""

from __future__ import annotations

import gzip
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.special import softmax

from saliency_core.quality import duplicates as checks
from saliency_core.quality.label_issues import (
    calibrated_joint,
    confident_joint,
    confident_labels,
    label_issues,
    normalised_margin,
    self_confidence,
    thresholds,
)
from saliency_core.quality.text_sets import fold, jaccard
from saliency_core.store import Run, open_store
from saliency_core.store.read.token_directions import explanations, token_directions

RATES = (0.02, 0.05, 0.1)
KINDS = ("uniform", "by class")
SEEDS = 10
NEIGHBOURS = 20


# Wrong labels


def planted(
    labels: np.ndarray, classes: int, rate: float, kind: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels with planted noise, and which were changed.

    Uniform: any example, any other class. By class: those of class 0 four times as often as the
    others, and always to the next class.
    """
    draw = np.random.default_rng(seed)
    n = len(labels)
    weight = np.ones(n) if kind == "uniform" else np.where(labels == 0, 4.0, 1.0)
    changed = np.zeros(n, bool)
    changed[draw.choice(n, round(rate * n), replace=False, p=weight / weight.sum())] = True
    step = draw.integers(1, classes, n) if kind == "uniform" else np.ones(n, int)
    return np.where(changed, (labels + step) % classes, labels), changed


def neighbour_share(run: Run, rows: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return (example, class) the share of labels among the most similar explanations.

    Weighed by their cosine, and shrunk to the classes' shares by two examples' weight.
    """
    directions = token_directions(run)
    assert directions is not None
    positions, tokens = explanations(run.filter(), run.layer_to_read())
    order = np.argsort(positions)
    vectors = directions.explanations(tokens[order])[rows]
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -9)
    nearest = np.argpartition(-cosine, NEIGHBOURS, 1)[:, :NEIGHBOURS]
    weight = np.take_along_axis(cosine, nearest, 1).clip(0)
    share = np.stack([(weight * (labels[nearest] == j)).sum(1) for j in range(classes)], 1)
    base = np.bincount(labels, minlength=classes) / len(labels)
    return (share + 2 * base) / (share.sum(1, keepdims=True) + 2)


def ranks(
    run: Run, rows: np.ndarray, probabilities: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Return name -> (example,) score; the lowest is most suspicious."""
    classes = probabilities.shape[1]
    own = self_confidence(probabilities, labels)
    margin = normalised_margin(probabilities, labels)
    limits = thresholds(probabilities, labels)
    confident = confident_labels(probabilities, limits)
    issue = (confident >= 0) & (confident != labels)
    wrong = probabilities.argmax(1) != labels
    # cleanlab's filter "prune by noise rate": of each cell of the calibrated joint, as many
    # examples as it says, those of the largest margin p_j - p_i; then by self-confidence.
    joint = calibrated_joint(confident_joint(labels, confident, classes), labels) * len(labels)
    pruned = np.zeros(len(labels), bool)
    for i in range(classes):
        members = np.flatnonzero(labels == i)
        for j in range(classes):
            if i != j:
                lead = probabilities[members, j] - probabilities[members, i]
                pruned[members[np.argsort(-lead, kind="stable")[: round(joint[i, j])]]] = True
    shifted = probabilities - limits + limits.max()
    found = {
        "self-confidence (= plain loss)": own,
        "normalised margin": margin,
        "confident errors": np.where(wrong, -probabilities.max(1), 1),
        "confident joint, then self-confidence": np.where(issue, own - 1, own),
        "cleanlab: prune by noise rate, then self-confidence": np.where(pruned, own - 1, own),
        "cleanlab: adjusted self-confidence": self_confidence(
            shifted / shifted.sum(1, keepdims=True), labels
        ),
    }
    if token_directions(run) is not None:
        near = self_confidence(neighbour_share(run, rows, labels, classes), labels)
        found["labels of similar explanations"] = near
        found["self-confidence x similar explanations"] = own * near
    return found


def average_precision(score: np.ndarray, changed: np.ndarray) -> float:
    """Return the mean precision at each planted example."""
    hits = changed[np.argsort(score, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def precision_at(score: np.ndarray, changed: np.ndarray, k: int) -> float:
    """Return how many of the first k are planted."""
    return float(changed[np.argsort(score, kind="stable")[:k]].mean())


def labels_table(path: str) -> Iterator[str]:
    """Yield the rows of the table of one audit."""
    run = open_store(path).run()
    logits, gold = run.logits(), run.column("gold").astype(np.int64)
    rows = np.flatnonzero((gold >= 0) & ~np.isnan(logits).any(1))
    probabilities = softmax(logits[rows].astype(float), 1).astype(np.float32)
    truth, classes = gold[rows], logits.shape[1]
    clean = label_issues(run)
    wrong = np.mean(probabilities.argmax(1) != truth)
    yield (
        f"{run.dataset.name} ({len(rows):,} rows, {wrong:.1%} of answers wrong): as it is "
        f"{clean.estimated} label issues ({clean.low:.0f} to {clean.high:.0f})"
    )
    for rate in RATES:
        for kind in KINDS:
            yield from _one_noise(run, rows, probabilities, truth, classes, rate, kind)


def _one_noise(
    run: Run,
    rows: np.ndarray,
    probabilities: np.ndarray,
    truth: np.ndarray,
    classes: int,
    rate: float,
    kind: str,
) -> Iterator[str]:
    found: dict[str, list[tuple[float, float, float]]] = {}
    issues = []
    for seed in range(SEEDS):
        labels, changed = planted(truth, classes, rate, kind, seed)
        k = int(changed.sum())
        for name, score in ranks(run, rows, probabilities, labels).items():
            found.setdefault(name, []).append(
                (
                    average_precision(score, changed),
                    precision_at(score, changed, k),
                    precision_at(score, changed, 10),
                )
            )
        confident = confident_labels(probabilities, thresholds(probabilities, labels))
        issue = (confident >= 0) & (confident != labels)
        issues.append((k, issue.sum(), changed[issue].mean(), issue[changed].mean()))
    k, count, precision, recall = np.mean(issues, 0)
    yield (
        f"  {rate:.0%} {kind}: planted {k:.0f}, label issues {count:.0f}, precision "
        f"{precision:.2f}, recall {recall:.2f}"
    )
    for name, values in found.items():
        mean = np.mean(values, 0)
        yield f"    {mean[0]:.3f} {mean[1]:.2f} {mean[2]:.2f}  {name}"


def demo_table(path: str, key: str) -> Iterator[str]:
    """Yield how many of the demonstration's wrong labels are found."""
    run = open_store(path).run()
    wrong = {
        row["id"]
        for row in map(json.loads, Path(key).read_text().splitlines())
        if row.get("label_is_wrong")
    }
    found = label_issues(run)
    ids = run.filter().examples()["id"].to_numpy()
    planted_here = np.isin(ids, list(wrong))
    issue = found.likely >= 0
    order = np.argsort(found.quality, kind="stable")
    k = int(planted_here.sum())
    yield (
        f"{k} wrong labels of {len(ids)}; {found.estimated} label issues ({found.low:.0f} to "
        f"{found.high:.0f}), precision {planted_here[issue].mean():.2f}, recall "
        f"{issue[planted_here].mean():.2f}; precision at 10 {planted_here[order[:10]].mean():.2f}, "
        f"at {k} {planted_here[order[:k]].mean():.2f}"
    )


# Duplicates


def read_texts(path: str) -> list[str]:
    """Return the distinct texts of a JSON Lines file."""
    opener: Callable = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        return list(dict.fromkeys(json.loads(line)["text"] for line in file))


def edit_words(text: str, share: float, vocabulary: list[str], draw: np.random.Generator) -> str:
    """Return a text in which a share of the words, one at least, is another, gone, or moved."""
    words = text.split()
    for _ in range(max(1, round(share * len(words)))):
        place, kind = int(draw.integers(len(words))), draw.random()
        if kind < 0.6 or len(words) < 3:
            words[place] = vocabulary[int(draw.integers(len(vocabulary)))]
        elif kind < 0.8:
            del words[place]
        else:
            words.insert(place, vocabulary[int(draw.integers(len(vocabulary)))])
    return " ".join(words)


class TextsOnly:
    """Stands for `duplicates.Texts` where there is no run: folded texts in memory."""

    def __init__(self, texts: list[str]) -> None:
        """Take folded texts."""
        self.texts = texts

    def __len__(self) -> int:
        """Return how many."""
        return len(self.texts)

    def blocks(self, rows: np.ndarray) -> Iterator[tuple[int, list[str]]]:
        """Yield rows read, and the next texts."""
        for start in range(0, len(rows), checks.BLOCK):
            part = rows[start : start + checks.BLOCK]
            yield start + len(part), [self.texts[row] for row in part]

    def alike(self, first: np.ndarray, second: np.ndarray, threshold: float) -> np.ndarray:
        """Return whether pairs are as similar as the threshold."""
        pairs = zip(first.tolist(), second.tolist(), strict=True)
        return np.array(
            [jaccard(self.texts[a], self.texts[b]) >= threshold for a, b in pairs], bool
        )


def duplicates_table(path: str) -> Iterator[str]:
    """Yield recall of planted edits and what is grouped in the file as it is, by threshold."""
    originals = read_texts(path)
    vocabulary = [word for text in originals[:2000] for word in text.split()]
    draw = np.random.default_rng(0)
    n = min(1000, len(originals) // 2)
    for threshold in (0.4, 0.5, 0.6, 0.7, 0.8):
        said = []
        for share in (0.0, 0.05, 0.1, 0.2):
            copies = [
                edit_words(text, share, vocabulary, draw) if share else text.upper()
                for text in originals[:n]
            ]
            texts = [fold(text) for text in (*originals, *copies)]
            roots = checks._near(
                TextsOnly(texts), np.arange(len(texts)), threshold, lambda *_: None
            )
            hit = roots[len(originals) :] == roots[:n]
            own = roots[: len(originals)]
            same = np.bincount(own, minlength=len(own))[own] > 1
            said.append(f"{hit.mean():.3f}")
        yield (
            f"  {threshold:.1f}: "
            + " ".join(said)
            + f"; grouped as it is {same.sum()} of {len(originals)}"
        )


def million(path: str, n: int) -> Iterator[str]:
    """Yield time and memory of the duplicates of n texts of a made-up run."""
    originals = read_texts(path)
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "a.sqlite"
        _write_run(database, originals, n)
        run = open_store(database).run()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        start, cpu = time.perf_counter(), time.process_time()
        found = checks.find_duplicates(run)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        yield (
            f"{n:,} texts: {wall:.0f} s, {cpu:.0f} s of processor, {peak:.0f} MB at most "
            f"({before:.0f} before); {found.examples:,} in {found.groups:,} groups"
        )


def _write_run(database: Path, originals: list[str], n: int) -> None:
    """Write a run of n made-up texts: a tenth repeats another one with few edits."""
    from saliency_core.store import open_writer
    from saliency_core.store.format import codec

    draw = np.random.default_rng(0)
    words = [text.split() for text in originals]
    with open_writer(database) as writer:
        connection = writer.connection
        connection.execute("PRAGMA foreign_keys = 0")
        connection.execute("DROP TRIGGER texts_ai")
        connection.execute(
            "INSERT INTO runs (run, key, content, model, dataset, model_info, dataset_info,"
            " settings, label_names, targets, versions, created, status) VALUES"
            " (1, 'k', 'c', 'm', 'd', ?, ?, '{}', ?, '[]', '{}', '2026-11-27', 'finished')",
            (_MODEL, _DATASET, '["a", "b"]'),
        )
        previous = ""
        connection.execute("BEGIN")
        for position in range(n):
            if position % 10 == 9 and previous:
                part = previous.split()
                part[int(draw.integers(len(part)))] = "edited"
                text = " ".join(part)
            else:
                # Halves of three texts: no two alike, all of real words in their order.
                a, b, c = (words[int(at)] for at in draw.integers(len(words), size=3))
                text = " ".join([*a[: len(a) // 2], *b[len(b) // 2 :], *c[: len(c) // 3]])
            previous = text
            connection.execute("INSERT INTO texts VALUES (?, ?, NULL)", (position, text))
            connection.execute(
                "INSERT INTO examples (run, position, id, text_id) VALUES (1, ?, ?, ?)",
                (position, str(position), position),
            )
        for name, values in {
            "position": np.arange(n),
            "gold": draw.integers(0, 2, n),
            "predicted": draw.integers(0, 2, n),
        }.items():
            connection.execute(
                "INSERT INTO columns VALUES (1, ?, 0, ?)",
                (name, codec.pack(values.astype(np.int32))),
            )
        connection.execute(
            "INSERT INTO chunks (run, chunk, examples, n_tokens, n_words, first, target,"
            " token_starts, token_lengths, sides, word_before, word_after, token_ids, completeness)"
            " VALUES (1, 0, ?, '', '', '', '', '', '', '', '', '', '', '')".replace("''", "x''"),
            (n,),
        )
        connection.execute("COMMIT")


_MODEL = json.dumps(
    {
        "name": "m", "revision": None, "architecture": "Bert", "label_names": ["a", "b"],
        "task": "single-label", "layers": 1, "lm_head": "h", "lm_head_is_fallback": False,
        "causal": False, "reference": "[MASK]", "model_digest": "", "tokenizer_digest": "",
        "lm_head_digest": "",
    }
)  # fmt: skip
_DATASET = json.dumps(
    {
        "name": "d", "source": "d", "split": None, "revision": None, "columns": {"text": "text"},
        "metadata_columns": [], "label_names": None,
    }
)  # fmt: skip


def main() -> None:
    """Print the table that was asked for."""
    what, *rest = sys.argv[1:]
    if what == "labels":
        lines = (line for path in rest for line in labels_table(path))
    elif what == "demo":
        lines = demo_table(*rest)
    elif what == "duplicates":
        lines = (line for path in rest for line in (path, *duplicates_table(path)))
    else:
        lines = million(rest[0], int(rest[1]))
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
