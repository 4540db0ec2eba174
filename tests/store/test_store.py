import dataclasses
import random
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency_core.errors import UserError
from saliency_core.records import Example, Saliency
from saliency_core.store import (
    delete_slice,
    open_store,
    open_writer,
    save_slice,
    set_verdict,
)
from saliency_core.store.format import codec
from tests.support.notes import set_note
from tests.support.paths import ROOT
from tests.support.store_made_up import (
    DATASET,
    LABELS,
    LAYERS,
    MODEL,
    SETTINGS,
    audit,
    coherence_of,
    content,
    example,
    gold_of,
    summaries,
    write_all,
)
from tests.support.stored_content import blobs, check_same


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a b?#%.sqlite"


def rows(n: int) -> list[Example]:
    return [example(position) for position in range(n)]


# Round trip


@pytest.mark.parametrize("finish", [False, True])
def test_everything_written_is_read_back(path, finish):
    given_rows = [
        *rows(30),
        dataclasses.replace(example(30), text=""),
        dataclasses.replace(example(31), text="one", pair="and the people's other"),
        dataclasses.replace(example(32), label=None),
        dataclasses.replace(example(33), text="東京 <script>alert(1)</script> \u202e é"),
    ]
    with open_writer(path) as writer:
        run, _ = write_all(writer, given_rows, finish=finish)
    store = open_store(path)
    for row in given_rows:
        check_same(store.run().example(row.position), audit(row, gold_of(row)))
    assert store.run().example("id-31")["example"] == 31
    assert store.run().filter().count() == 34 and store.run().number == run
    assert store.run().filter("failed").count() == 1
    known, failed, pair, unlabelled = store.run().examples_at([0, 30, 31, 32]).to_dict("records")
    assert known["pair"] is failed["predicted"] is unlabelled["gold"] is pair["failure"] is None
    assert isinstance(known["predicted"], str) and isinstance(failed["failure"], str)


def test_contrast_is_stored_for_the_misclassified_only(path):
    with open_writer(path) as writer:
        write_all(writer, rows(40))
    store = open_store(path)
    wrong = set(store.run().filter("wrong").positions().tolist())
    assert 0 < len(wrong) < 40
    for position in range(40):
        assert ("contrast" in store.run().example(position)["saliency"]) == (position in wrong)


def test_targets_may_differ_by_example(path):
    batch = [audit(example(position), None) for position in range(6)]
    for position, audited in enumerate(batch):
        first = audited.saliency[0]
        names = [f"label:{position % 2}", f"label:{1 - position % 2}"]
        both = tuple(dataclasses.replace(first, target=name) for name in names[: 1 + position % 3])
        batch[position] = dataclasses.replace(audited, saliency=both)
    with open_writer(path) as writer:
        run = writer.begin_run(DATASET, MODEL, SETTINGS)
        writer.write_batch(run, batch[:2])
        writer.write_batch(run, batch[2:])
        writer.finish_run(run, summaries(), 0, [], 1.0, [])
    store = open_store(path)
    for audited in batch:
        check_same(store.run().example(audited.example.position), audited)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_any_text_survives(tmp_path_factory, texts):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    path = tmp_path_factory.mktemp("any") / "x.sqlite"
    given_rows = [dataclasses.replace(example(n), text=text) for n, text in enumerate(texts)]
    with open_writer(path) as writer:
        write_all(writer, given_rows, batch=2, block=3)
    store = open_store(path)
    assert store.run().filter().examples()["text"].tolist() == texts
    for row in given_rows:
        check_same(store.run().example(row.position), audit(row, gold_of(row)))


def test_words_of_a_page_sum_their_pieces_and_shares(path):
    with open_writer(path) as writer:
        write_all(writer, rows(30))
    store = open_store(path)
    for position, words in zip([7, 3], store.run().top_words([7, 3], 1), strict=True):
        audited = audit(example(position), 0)
        scores = audited.saliency[0].scores[1].astype(float)
        expected = np.bincount(audited.word_of_token, scores)
        assert [word["word"] for word in words] == list(audited.words)
        np.testing.assert_allclose([word["score"] for word in words], expected, rtol=1e-3)
        positive = np.maximum(expected, 0)
        np.testing.assert_allclose(
            [word["share"] for word in words], positive / positive.sum(), atol=1e-3
        )
        text = audited.example.text
        assert all(text[word["start"] : word["end"]] == word["word"] for word in words)


def test_pieces_out_of_word_order_are_grouped(path):
    row = example(0, text="abc def")
    audited = dataclasses.replace(
        audit(row),
        token_ids=np.array([1, 2, 3], np.int32),
        spans=np.array([[0, 1], [4, 7], [1, 3]], np.int32),
        sides=np.zeros(3, np.int8),
        word_of_token=np.array([0, 1, 0], np.int32),
        saliency=(
            Saliency(
                np.arange(12).reshape(4, 3).astype(np.float16), np.ones(4, np.float32), "predicted"
            ),
        ),
    )
    with open_writer(path) as writer:
        run = writer.begin_run(DATASET, MODEL, SETTINGS)
        writer.write_batch(run, [audited])
    words = open_store(path).run().top_words([0], 0)[0]
    assert [(word["word"], word["score"]) for word in words] == [("abc", 2.0), ("def", 1.0)]


@given(
    st.lists(st.integers(-(2**62), 2**62)),
    st.booleans(),
)
def test_pack_keeps_integers(values, compress):
    array = np.array(values, np.int64)
    assert codec.unpack(codec.pack(array, compress=compress)).tolist() == values


# What is computed, and what is not


def test_second_run_of_the_same_computes_nothing(path):
    with open_writer(path) as writer:
        first = write_all(writer, rows(30))
    before = content(path)
    with open_writer(path) as writer:
        second = write_all(writer, rows(30))
    assert first[1] > 0 and second == (first[0], 0)
    assert content(path) == before


def test_duplicates_are_computed_once(path):
    same = [
        dataclasses.replace(example(n), text="the same text", label="positive") for n in range(9)
    ]
    with open_writer(path) as writer:
        _, computed = write_all(writer, same, block=4)
    assert computed == 1
    store = open_store(path)
    for row in same:
        check_same(store.run().example(row.position), audit(row, 1))


def test_duplicates_with_another_gold_label_get_their_own_contrast(path):
    same = [dataclasses.replace(example(n), text="the same text") for n in range(6)]
    with open_writer(path) as writer:
        write_all(writer, same)
    store = open_store(path)
    for row in same:
        check_same(store.run().example(row.position), audit(row, gold_of(row)))


MISSES = {
    "weights": {"model": dataclasses.replace(MODEL, model_digest="other")},
    "tokenizer": {"model": dataclasses.replace(MODEL, tokenizer_digest="other")},
    "head": {"model": dataclasses.replace(MODEL, lm_head_digest="other")},
    "target": {"settings": dataclasses.replace(SETTINGS, target="gold")},
    "steps": {"settings": dataclasses.replace(SETTINGS, steps=1)},
    "max length": {"settings": dataclasses.replace(SETTINGS, max_length=64)},
    "dtype": {"settings": dataclasses.replace(SETTINGS, dtype="bfloat16")},
}
HITS = {
    "renamed": {"model": dataclasses.replace(MODEL, name="/moved/folder", revision="x")},
    "other dataset": {"dataset": dataclasses.replace(DATASET, source="copy.csv")},
}


@pytest.mark.parametrize("name", MISSES)
def test_what_changes_a_number_misses(path, name):
    with open_writer(path) as writer:
        run, first = write_all(writer, rows(12))
        other, second = write_all(writer, rows(12), **MISSES[name])
    assert second == first and other != run


@pytest.mark.parametrize("name", HITS)
def test_what_only_has_another_name_hits(path, name):
    with open_writer(path) as writer:
        _, first = write_all(writer, rows(12))
        other, second = write_all(writer, rows(12), **HITS[name])
    assert first and not second
    store = open_store(path)
    for row in rows(12):
        check_same(store.run(other).example(row.position), audit(row, gold_of(row)))


def test_method_version_changes_the_key(path, monkeypatch):
    from saliency_core.store.format import keys

    before = keys.content_key(MODEL, SETTINGS)
    monkeypatch.setattr(keys, "METHOD_VERSION", keys.METHOD_VERSION + 1)
    assert keys.content_key(MODEL, SETTINGS) != before


def test_labels_added_later_only_cost_the_contrasts(path):
    plain = [dataclasses.replace(row, label=None) for row in rows(30)]
    with open_writer(path) as writer:
        write_all(writer, plain, dataset=dataclasses.replace(DATASET, source="unlabelled"))
        _, computed = write_all(writer, rows(30))
    store = open_store(path)
    wrong = {
        (row, gold)
        for row, gold in store.run()
        .filter("wrong")
        .examples()[["text", "gold"]]
        .itertuples(index=False)
    }
    assert computed == len(wrong)
    for row in rows(30):
        check_same(store.run().example(row.position), audit(row, gold_of(row)))


def test_an_edited_text_is_audited_again_and_only_it(path):
    with open_writer(path) as writer:
        run, _ = write_all(writer, rows(30))
        edited = rows(30)
        edited[7] = dataclasses.replace(edited[7], text="an entirely new text")
        run_again = writer.begin_run(DATASET, MODEL, SETTINGS)
        writer.add_examples(run, edited, [gold_of(row) for row in edited])
        between = open_store(path)
        assert between.run().filter().count() == 29
        assert between.run().filter("id:id-7").count() == 0
        again, computed = write_all(writer, edited)
    assert (run_again, again, computed) == (run, run, 1)
    store = open_store(path)
    for row in edited:
        check_same(store.run().example(row.position), audit(row, gold_of(row)))
    assert store.run().filter("word:entirely").count() == 1


# Interruptions


def test_content_does_not_tell_of_interruptions(path, tmp_path, monkeypatch):
    monkeypatch.setattr("saliency_core.store.write.compaction.CHUNK_TOKENS", 60)
    monkeypatch.setattr("saliency_core.store.write.writer.JOIN_TOKENS", 40)
    with open_writer(path) as writer:
        write_all(writer, rows(100))
    draw = random.Random(1)
    for attempt in range(6):
        other = tmp_path / f"{attempt}.sqlite"
        stops = 0
        while True:
            with open_writer(other) as writer:
                left = draw.randrange(2, 14)
                execute_limited(writer, left)
                try:
                    write_all(writer, rows(100))
                    break
                except Stopped:
                    stops += 1
        assert stops > 1
        assert blobs(other) == blobs(path)


class Stopped(BaseException):
    """Stands for a kill between two transactions or within one."""


def execute_limited(writer, transactions: int) -> None:
    """Make a writer stop in the middle of its n-th transaction."""
    original = writer.write_chunk
    left = [transactions]

    def limited(*args):
        original(*args)
        left[0] -= 1
        if left[0] < 0:
            raise Stopped

    writer.write_chunk = limited


def test_an_error_in_a_batch_leaves_nothing_half_written(path):
    with open_writer(path) as writer:
        run, _ = write_all(writer, rows(20), finish=False)
        before = content(path)
        execute_limited(writer, 0)
        with pytest.raises(Stopped):
            writer.write_batch(run, [audit(example(n)) for n in range(20, 25)])
    assert content(path) == before
    with open_writer(path) as writer:
        writer.write_batch(run, [audit(example(n)) for n in range(20, 25)])
    assert open_store(path).run().filter().count() == 25


KILLS = """
import sys
sys.path.insert(0, {root!r})
from tests.support.killing import kill_again_and_again, statements_of
from tests.support.store_made_up import *
from saliency_core.store import open_writer
import saliency_core.store.write.writer as w, saliency_core.store.write.compaction as c
c.CHUNK_TOKENS, w.JOIN_TOKENS = 200, 200

def work(path):
    with open_writer(path) as writer:
        write_all(writer, [example(n) for n in range(400)], batch=4, block=16)

statements = statements_of(lambda: work({whole!r}))
print(kill_again_and_again(lambda: work({killed!r}), statements, seed=3))
"""


@pytest.mark.slow
def test_kill_at_twenty_random_instants(path, tmp_path):
    whole = tmp_path / "whole.sqlite"
    places = {"root": ROOT, "whole": whole, "killed": path}
    code = KILLS.format(**{name: str(place) for name, place in places.items()})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 20
    assert blobs(path) == blobs(whole)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def test_two_writers_and_a_reader_at_once(path, tmp_path):
    with open_writer(path) as writer:
        write_all(writer, rows(10))
    errors, counts = [], []

    def write(source: str) -> None:
        try:
            with open_writer(path) as writer:
                write_all(
                    writer,
                    rows(80),
                    batch=3,
                    dataset=dataclasses.replace(DATASET, source=source),
                    settings=dataclasses.replace(SETTINGS, steps=len(source)),
                )
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("one", "three")]
    for thread in threads:
        thread.start()
    store = open_store(path)
    while any(thread.is_alive() for thread in threads):
        counts.append(len(store.run(1).filter("right").examples(limit=5)))
        store.runs()
    assert (not errors and set(counts) == {5}) or set(counts) == {counts[0]}
    assert [store.run(run).filter().count() for run in (1, 2, 3)] == [10, 80, 80]


def test_a_full_disk_is_a_sentence_and_the_run_goes_on_later(path):
    with open_writer(path) as writer:
        write_all(writer, rows(20), finish=False)
        pages = writer.connection.execute("PRAGMA page_count").fetchone()[0]
        writer.connection.execute(f"PRAGMA max_page_count = {pages + 3}")
        with pytest.raises(UserError, match=r"is full, or .* What was stored is kept"):
            write_all(writer, rows(400))
    with open_writer(path) as writer:
        write_all(writer, rows(400))
    assert open_store(path).run().filter().count() == 400


def test_a_locked_file_is_a_sentence(path, monkeypatch):
    with open_writer(path) as writer:
        write_all(writer, rows(5))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("saliency_core.store.connection.BUSY_SECONDS", 0.1)
    with pytest.raises(UserError, match="in use by another program"):
        save_slice(path, "name", "wrong")
    other.execute("ROLLBACK")
    other.close()


# Files that are not as they should be


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no database at"):
        open_store(tmp_path / "none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()
    with pytest.raises(UserError, match="no database at"):
        save_slice(tmp_path / "none.sqlite", "a", "wrong")


@pytest.mark.parametrize("opener", [open_store, lambda path: open_writer(path).__enter__()])
def test_a_newer_file_is_refused(path, opener):
    with open_writer(path) as writer:
        write_all(writer, rows(5))
        writer.connection.execute("UPDATE meta SET value = 99 WHERE key = 'format'")
    with pytest.raises(UserError, match="format 99, written by a newer version"):
        opener(path)


@pytest.mark.parametrize("opener", [open_store, lambda path: open_writer(path).__enter__()])
def test_random_bytes(path, opener):
    path.write_bytes(random.Random(0).randbytes(20_000))
    with pytest.raises(UserError, match="is not an SQLite file"):
        opener(path)


@pytest.mark.parametrize("opener", [open_store, lambda path: open_writer(path).__enter__()])
def test_somebody_elses_file(path, opener):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(UserError, match="no audit wrote it"):
        opener(path)


def test_empty_file(path):
    path.touch()
    with pytest.raises(UserError, match="is empty"):
        open_store(path)


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9])
def test_truncated_file(path, part):
    with open_writer(path) as writer:
        write_all(writer, rows(200))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(UserError, match=r"damaged or cut short|is not an SQLite file"):
        store = open_store(path)
        store.run().filter().examples()
        for layer in range(LAYERS + 1):
            store.run().filter().occurrences(layer)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"), open_writer(tmp_path / "file" / "db"):
        pass


# The reader


def test_reading_loads_neither_torch_nor_transformers(path):
    with open_writer(path) as writer:
        write_all(writer, rows(10))
    code = (
        "import sys; from saliency_core.store import open_store;"
        "from saliency_core.analysis.word_tables import word_table;"
        f"s = open_store({str(path)!r}); part = s.run().filter('wrong'); part.examples(); s.info();"
        "word_table(part, 1);"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_reader_cannot_write(path):
    with open_writer(path) as writer:
        write_all(writer, rows(5))
    with pytest.raises(sqlite3.OperationalError):
        open_store(path).connection.execute("DELETE FROM runs")


def test_every_write_raises_the_version(path):
    with open_writer(path) as writer:
        run, _ = write_all(writer, rows(5))
    store = open_store(path)
    seen = [store.version()]
    save_slice(path, "a", "wrong")
    seen.append(store.version())
    set_note(path, run, "id-1", "look", "positive")
    seen.append(store.version())
    set_verdict(path, run, "People", "negative", "spurious", "why")
    seen.append(store.version())
    delete_slice(path, "a")
    seen.append(store.version())
    assert seen == sorted(set(seen))
    assert store.slices().empty
    assert store.run().example(1)["note"] == {"note": "look", "proposed_label": "positive"}
    assert store.run().verdicts()[["word", "verdict"]].values.tolist() == [["people", "spurious"]]


def test_what_analysts_add_is_checked(path):
    with open_writer(path) as writer:
        run, _ = write_all(writer, rows(5))
    with pytest.raises(UserError, match="no example with id 'nope'"):
        set_note(path, run, "nope", "x")
    with pytest.raises(UserError, match="'maybe' is not a verdict"):
        set_verdict(path, run, "a", "negative", "maybe")
    with pytest.raises(UserError, match="character 1"):
        save_slice(path, "a", "(wrong")
    with pytest.raises(UserError, match="no saved slice 'b'"):
        delete_slice(path, "b")


def test_threads_share_a_store(path):
    with open_writer(path) as writer:
        write_all(writer, rows(60))
    store, expected = open_store(path), open_store(path).run().filter("right").examples()
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(store.run().filter("right").examples()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all(frame.equals(expected) for frame in found)


def test_sorting_and_paging_meet_every_example_once(path):
    with open_writer(path) as writer:
        write_all(writer, rows(50))
    store = open_store(path)
    for sort in ("position", "confidence", "margin", "coherence", "length"):
        for descending in (False, True):
            pages = [
                store.run().filter().examples(sort, descending, limit=7, offset=offset)
                for offset in range(0, 56, 7)
            ]
            positions = [p for page in pages for p in page["example"]]
            assert sorted(positions) == list(range(50))
            column = "example" if sort == "position" else sort
            values = [v for page in pages for v in page[column] if v == v]
            assert values == sorted(values, reverse=descending)
    with pytest.raises(UserError, match="Cannot sort by 'text'"):
        store.run().filter().positions(sort="text")


def test_numbers_over_slices(path):
    with open_writer(path) as writer:
        write_all(writer, [*rows(40), dataclasses.replace(example(40), label=None)])
    store = open_store(path)
    audited = [audit(row, gold_of(row)) for row in rows(40)]
    confusion = store.run().filter().confusion().set_index(["gold", "predicted"])["count"].to_dict()
    expected: dict = {}
    for a in audited:
        key = (LABELS[a.gold], LABELS[a.predicted])
        expected[key] = expected.get(key, 0) + 1
    assert confusion == expected
    confidence, right = store.run().filter().confidence()
    assert len(confidence) == 40
    assert right.tolist() == [a.gold == a.predicted for a in audited]
    np.testing.assert_allclose(
        confidence, [a.probabilities[a.predicted] for a in audited], rtol=1e-6
    )
    metrics = store.run().filter().class_metrics().set_index("class")
    for label, name in enumerate(LABELS):
        hits = sum(a.gold == a.predicted == label for a in audited)
        assert metrics.loc[name, "support"] == sum(a.gold == label for a in audited)
        assert metrics.loc[name, "recall"] == pytest.approx(
            hits / sum(a.gold == label for a in audited)
        )
    accuracy = sum(a.gold == a.predicted for a in audited) / 40
    assert store.info()["runs"][0]["accuracy"] == pytest.approx(accuracy)


def test_coherence_is_that_of_the_recommended_layer(path):
    with open_writer(path) as writer:
        write_all(writer, rows(30))
    store = open_store(path)
    expected = coherence_of(np.arange(30))[2]
    np.testing.assert_allclose(store.run().filter().examples()["coherence"], expected, atol=1e-3)
    assert store.run().layers()["layer"].tolist() == [0, 1, 2, 3]
    assert store.run().recommended == 2 and store.run().warnings == ["a warning"]


def test_unknown_runs_layers_and_examples_are_named(path):
    with open_writer(path) as writer:
        write_all(writer, rows(5))
    store = open_store(path)
    with pytest.raises(UserError, match="has no run 9; it has: 1"):
        store.run(9).filter().count()
    with pytest.raises(UserError, match="no layer 7; it has 0 to 3"):
        store.run().top_words([0], 7)
    with pytest.raises(UserError, match="no audited example 77"):
        store.run().example(77)


def test_a_file_without_runs(path):
    with open_writer(path):
        pass
    store = open_store(path)
    assert store.info()["runs"] == [] and store.runs().empty
    with pytest.raises(UserError, match="holds no run yet"):
        store.run().filter().count()


def test_untrusted_names_do_nothing(path):
    evil = "x'; DROP TABLE runs; --"
    labels = (evil, 'b"; DROP TABLE runs; --', "c")
    model = dataclasses.replace(MODEL, label_names=labels, name=evil)
    row = dataclasses.replace(
        example(0), text=evil, id=evil, label=evil, metadata={evil: evil, "meta'--": 1}
    )
    with open_writer(path) as writer:
        run = writer.begin_run(dataclasses.replace(DATASET, metadata_columns=()), model, SETTINGS)
        writer.write_batch(run, [audit(row, 0)])
        writer.finish_run(run, summaries(), 0, [], 1.0, [evil])
    from saliency_core.store.query.terms import quote

    save_slice(path, evil, f"gold:{quote(evil)}", evil)
    set_note(path, run, evil, evil, evil)
    set_verdict(path, run, evil, evil, "unsure", evil)
    store = open_store(path)
    name = quote(evil)
    for where in (
        f"gold:{name}",
        f"slice:{name}",
        f"id:{name}",
        f"meta.{name}:{name}",
        name,
        f"-word:{name}",
        f"-salient:{name}",
        'meta."meta\'--":1',
        f"-meta.{name}>0",
    ):
        assert store.run().filter(where).count() == 1, where
    assert store.runs()["model"].tolist() == [evil]
    assert store.run().notes()["note"].tolist() == [evil]


def test_steady_answers_speak_of_one_state_of_the_file(tmp_path):
    path = tmp_path / "a.sqlite"
    rows = [example(position) for position in range(40)]
    with open_writer(path) as writer:
        run, _ = write_all(writer, rows[:20], finish=False)
        store = open_store(path)
        with store.steady():
            before, version = store.run(run).filter("wrong").mask(), store.version()
            write_all(writer, rows, finish=False)
            assert store.version() == version
            np.testing.assert_array_equal(store.run(run).filter("wrong").mask(), before)
            assert len(store.run(run).column("confidence")) == len(before) == 20
        assert store.run(run).filter().count() == 40


def test_confusions_of_many_classes_keep_their_names(tmp_path):
    labels = tuple(f"class {number}" for number in range(200))
    rows = [
        dataclasses.replace(example(position), label=labels[199 - position])
        for position in range(60)
    ]
    with open_writer(tmp_path / "a.sqlite") as writer:
        run = writer.begin_run(DATASET, dataclasses.replace(MODEL, label_names=labels), SETTINGS)
        gold = [labels.index(row.label) for row in rows]
        writer.add_examples(run, rows, gold)
        writer.write_batch(run, [audit(row, g) for row, g in zip(rows, gold, strict=True)])
    store = open_store(tmp_path / "a.sqlite")
    frame = store.run().filter("-failed").examples()
    expected = frame.groupby(["gold", "predicted"]).size()
    found = store.run().filter().confusion().set_index(["gold", "predicted"])["count"]
    assert found.to_dict() == expected.to_dict()
