"""Confident learning against its published formulas, recomputed here example by example."""

import dataclasses

import numpy as np
import pytest

from saliency_core.errors import UserError
from saliency_core.quality.label_issues import (
    calibrated_joint,
    confident_joint,
    confident_labels,
    label_issues,
    normalised_margin,
    self_confidence,
    thresholds,
    trained_on,
)
from saliency_core.store import open_store, open_writer, save_quality
from tests.support.store_made_up import LABELS, MODEL, audit, example, gold_of, write_all


def made_up(n=400, classes=3, noise=0.1, seed=0):
    """Return probabilities, the labels as given and which of them were changed."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, classes, n)
    logits = draw.normal(0, 1, (n, classes)) + 7 * np.eye(classes)[truth]
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(1, keepdims=True)
    changed = draw.random(n) < noise
    labels = np.where(changed, (truth + draw.integers(1, classes, n)) % classes, truth)
    return probabilities.astype(np.float32), labels, changed


def test_the_joint_is_the_published_one():
    probabilities, labels, _ = made_up()
    classes = probabilities.shape[1]
    limits = [
        np.mean([p[j] for p, y in zip(probabilities, labels, strict=True) if y == j])
        for j in range(classes)
    ]
    assert np.allclose(thresholds(probabilities, labels), limits, rtol=1e-6)
    counts = np.zeros((classes, classes))
    for p, y in zip(probabilities, labels, strict=True):
        able = [j for j in range(classes) if p[j] >= limits[j]]
        if able:
            counts[y, max(able, key=lambda j: p[j])] += 1
    found = confident_labels(probabilities, thresholds(probabilities, labels))
    joint = confident_joint(labels, found, classes)
    assert np.array_equal(joint, counts)
    by_hand = np.zeros_like(counts)
    for i in range(classes):
        for j in range(classes):
            by_hand[i, j] = counts[i, j] / counts[i].sum() * np.sum(labels == i)
    by_hand /= by_hand.sum()
    assert np.allclose(calibrated_joint(joint, labels), by_hand)


def test_ranks_are_the_published_ones():
    probabilities, labels, _ = made_up(50)
    for at, (p, y) in enumerate(zip(probabilities, labels, strict=True)):
        other = max(p[j] for j in range(len(p)) if j != y)
        assert self_confidence(probabilities, labels)[at] == p[y]
        assert normalised_margin(probabilities, labels)[at] == pytest.approx((p[y] - other + 1) / 2)


def test_a_class_without_examples_is_nobodys_likely_label():
    probabilities, labels, _ = made_up(classes=3)
    labels = labels % 2
    found = confident_labels(probabilities, thresholds(probabilities, labels))
    assert set(found) <= {-1, 0, 1}


def run_of(tmp_path, probabilities, labels, model=None):
    """Return a run whose answers have these probabilities; -1 is no label."""
    model = model or MODEL
    path = tmp_path / "audit.sqlite"
    rows = [
        dataclasses.replace(example(n), label=None if y < 0 else LABELS[y])
        for n, y in enumerate(labels)
    ]
    with open_writer(path) as writer:
        run, _ = write_all(writer, [], finish=False, model=model)
        writer.add_examples(run, rows, [gold_of(row) for row in rows])
        audited = []
        for row, p in zip(rows, probabilities, strict=True):
            made = audit(row, gold_of(row))
            gives = {"logits": np.log(p).astype(np.float32), "probabilities": p}
            if made.predicted is not None:
                gives["predicted"] = int(p.argmax())
            audited.append(dataclasses.replace(made, **gives))
        writer.write_batch(run, audited)
    return open_store(path).run(run)


def test_planted_noise_is_found_and_its_number_lies_in_the_interval(tmp_path):
    probabilities, labels, changed = made_up()
    found = label_issues(run_of(tmp_path, probabilities, labels))
    issues = found.likely >= 0
    assert np.mean(changed[issues]) > 0.9
    assert np.mean(issues[changed]) > 0.9
    assert found.low <= changed.sum() <= found.high
    assert found.low < found.estimated == issues.sum() < found.high
    worst = np.argsort(found.quality)[: changed.sum()]
    assert np.mean(changed[worst]) > 0.9
    noise = found.noise(list(LABELS))
    assert noise["examples"].sum() == found.estimated
    assert (noise["rate"] < 0.2).all()


def test_clean_labels_raise_next_to_no_alarm(tmp_path):
    probabilities, labels, _ = made_up(noise=0.0)
    assert label_issues(run_of(tmp_path, probabilities, labels)).estimated <= 0.01 * len(labels)


def test_examples_without_label_have_no_quality(tmp_path):
    probabilities, labels, _ = made_up(30)
    labels[:5] = -1
    found = label_issues(run_of(tmp_path, probabilities, labels))
    assert np.isnan(found.quality[:5]).all() and not np.isnan(found.quality[5:]).any()
    assert found.judged == 25 and (found.likely[:5] == -1).all()


def test_without_labels_or_with_several_the_sentence_says_so(tmp_path):
    probabilities, labels, _ = made_up(6)
    with pytest.raises(UserError, match="no label to compare"):
        label_issues(run_of(tmp_path, probabilities, np.full(6, -1)))
    (tmp_path / "audit.sqlite").unlink()
    many = dataclasses.replace(MODEL, task="multi-label")
    with pytest.raises(UserError, match="multi-label; label issues need one label"):
        label_issues(run_of(tmp_path, probabilities, labels, many))


def test_rows_that_were_trained_on_are_told(tmp_path):
    probabilities, labels, _ = made_up(20, noise=0.3)
    run = run_of(tmp_path, probabilities, labels)
    assert trained_on(run) is None
    save_quality(run.store.path, run.number, {"in_train": np.arange(20) % 4 == 0})
    assert "25% of the audited texts also occur in the training data" in trained_on(run)
