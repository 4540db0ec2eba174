"""Invariance checks: written from an audit, run on any model."""

import json

import pytest

from saliency_core.errors import UserError
from saliency_core.shortcuts.invariance_checks import (
    KIND,
    rows_of,
    run_checks,
    spurious_words,
    write_checks,
)
from saliency_core.stats import wilson
from saliency_core.store import set_verdict
from tests.support.word_model import BIASED_TO, LABELS, SHORTCUT, WordModel, audited_store, examples


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rows = examples(300, dict.fromkeys(LABELS, 0.3))
    return audited_store(tmp_path_factory.mktemp("checks") / "a.sqlite", WordModel(4.0), rows)


@pytest.fixture(scope="module")
def written(store, tmp_path_factory):
    path = tmp_path_factory.mktemp("checks") / "checks.jsonl"
    assert write_checks(store.run().filter(), path, [SHORTCUT.upper(), "ban"], per_word=30) == 60
    return path


def test_a_pair_is_an_example_and_the_same_without_the_word(store, written):
    rows = list(rows_of(written))
    assert {row["word"] for row in rows} == {SHORTCUT, "ban"}
    for row in rows:
        assert row["check"] == KIND
        assert row["text"] == store.run().example(row["id"])["text"]
        assert row["word"] in row["text"].lower().rstrip(".").split()
        left = row["edited"].lower().rstrip(".").split()
        assert left == [w for w in row["text"].lower().rstrip(".").split() if w != row["word"]]


def test_the_biased_model_fails_and_the_one_that_never_saw_the_word_passes(written):
    biased = {one.word: one for one in run_checks(WordModel(4.0), written)}
    one = biased[SHORTCUT]
    assert one.pairs == 30 and one.failed > 10
    assert (one.low, one.high) == pytest.approx(wilson(one.failed, 30))
    assert len(one.examples) == one.failed
    assert all(found["before"] == BIASED_TO != found["after"] for found in one.examples)
    assert biased["ban"].failed < 5
    assert all(one.failed == 0 for one in run_checks(WordModel(0.0), written) if one.word != "ban")


def test_where_chooses_the_examples(store, tmp_path):
    write_checks(store.run().filter("wrong"), tmp_path / "c.jsonl", [SHORTCUT], per_word=1000)
    assert (
        len(list(rows_of(tmp_path / "c.jsonl")))
        == store.run().filter(f"wrong word:{SHORTCUT}").count()
    )


def test_words_judged_spurious_are_the_default(tmp_path):
    store = audited_store(
        tmp_path / "a.sqlite", WordModel(4.0), examples(30, dict.fromkeys(LABELS, 0.5))
    )
    with pytest.raises(UserError, match="--word"):
        spurious_words(store.run(1))
    set_verdict(store.path, 1, SHORTCUT, BIASED_TO, "spurious")
    set_verdict(store.path, 1, "bright", BIASED_TO, "genuine")
    assert spurious_words(store.run(1)) == [SHORTCUT]
    assert spurious_words(store.run(1), [" Dull ", "dull"]) == ["dull"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "contains no line"),
        ('{"check": "other"}\n', "contains no line"),
        ('{"check": "invariance", "word": "a", "text": "a b"}\n', "needs text, edited and word"),
        ("[1]\n", "line 1 is not a JSON object"),
        ('{"check":\n', "line 1 is not JSON"),
    ],
)
def test_a_file_that_holds_no_checks_is_named(tmp_path, content, message):
    path = tmp_path / "checks.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        run_checks(WordModel(0.0), path)
    with pytest.raises(UserError, match="no file"):
        run_checks(WordModel(0.0), tmp_path / "missing.jsonl")


def test_a_check_of_a_pair_runs_both_texts(tmp_path):
    row = {"check": KIND, "word": SHORTCUT, "text": "a", "pair": f"{SHORTCUT} b", "edited": "a"}
    path = tmp_path / "checks.jsonl"
    path.write_text(json.dumps(row | {"edited_pair": "b dull"}) + "\n")
    (one,) = run_checks(WordModel(4.0), path)
    assert one.failed == 1
    assert one.examples[0]["after"] == "negative"
