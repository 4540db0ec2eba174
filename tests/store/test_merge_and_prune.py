import json
import sqlite3
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from saliency_core.cli import app
from saliency_core.errors import UserError
from saliency_core.store import (
    export_annotations,
    import_annotations,
    merge,
    open_store,
    open_writer,
    prune,
    save_evaluation,
    save_slice,
    set_verdict,
)
from tests.support.notes import set_note
from tests.support.store_made_up import DATASET, MODEL, SETTINGS, audit, example, gold_of, write_all
from tests.support.stored_content import blobs, check_same, is_sound


def rows(*positions):
    return [example(n) for n in positions]


def write(path, examples, **choices):
    with open_writer(path) as writer:
        return write_all(writer, examples, **choices)


# Merge


def test_shards_of_one_run_become_what_one_audit_writes(tmp_path):
    whole, a, b, out = (tmp_path / f"{name}.sqlite" for name in ("whole", "a", "b", "out"))
    write(whole, rows(*range(50)))
    write(a, rows(*range(0, 50, 2)))
    write(b, rows(*range(1, 50, 2), 4, 6))
    report = merge(out, [a, b])
    assert [(row["examples"], row["added"], row["finished"]) for row in report["runs"]] == [
        (50, 50, False)
    ]
    assert open_store(out).run().layers().empty
    run, computed = write(out, rows(*range(50)))
    assert (run, computed) == (1, 0)
    left, right = blobs(whole), blobs(out)
    # Only the numbers of texts tell of the order in which they came.
    for name in ("texts", "texts_fts_docsize", "digests", "examples"):
        del left[name], right[name]
    assert left == right
    assert (
        open_store(out)
        .run()
        .filter()
        .examples()
        .equals(open_store(whole).run().filter().examples())
    )
    assert is_sound(out)


def test_one_finished_file_comes_out_the_same_with_its_summaries(tmp_path):
    a, out = tmp_path / "a.sqlite", tmp_path / "out.sqlite"
    write(a, rows(*range(30)))
    write(a, rows(*range(30)), settings=replace(SETTINGS, steps=1))
    save_evaluation(a, 1, [{"method": "ours", "layer": 1, "sufficiency": 0.5}])
    save_slice(a, "hard", "wrong", "why")
    set_note(a, 2, "id-3", "look", "positive")
    set_verdict(a, 1, "people", "positive", "spurious")
    merge(out, [a])
    left, right = open_store(a), open_store(out)
    assert blobs(out) == blobs(a)
    for run in (1, 2):
        assert right.facts(run) == left.facts(run)
        assert right.run(run).layers().equals(left.run(run).layers())
        assert right.run(run).evaluations().equals(left.run(run).evaluations())
        assert right.run(run).notes().equals(left.run(run).notes())
        assert right.run(run).verdicts().equals(left.run(run).verdicts())
        assert right.run(run).filter().examples().equals(left.run(run).filter().examples())
    assert right.slices().equals(left.slices())


def test_merging_again_adds_nothing(tmp_path):
    a, b, out = (tmp_path / f"{name}.sqlite" for name in "abo")
    write(a, rows(*range(20)))
    write(b, rows(*range(10, 30)))
    first = merge(out, [a, b])
    before = blobs(out)
    second = merge(out, [b, a])
    assert [row["added"] for row in first["runs"] + second["runs"]] == [30, 0]
    assert blobs(out) == before


def test_runs_of_different_models_stay_apart(tmp_path):
    a, b, out = (tmp_path / f"{name}.sqlite" for name in "abo")
    write(a, rows(*range(20)))
    write(b, rows(*range(20)), model=replace(MODEL, model_digest="other", name="other"))
    report = merge(out, [a, b])
    assert [(row["examples"], row["finished"]) for row in report["runs"]] == [(20, True)] * 2
    assert open_store(out).runs()["model"].tolist() == ["some/model", "other"]
    for row in rows(*range(20)):
        check_same(open_store(out).run(2).example(row.position), audit(row, gold_of(row)))


def test_shards_audited_as_files_of_their_own_serve_an_audit_of_the_whole(tmp_path):
    a, b, out = (tmp_path / f"{name}.sqlite" for name in "abo")
    write(a, rows(*range(20)), dataset=replace(DATASET, source="part-0.csv"))
    second = [replace(row, position=n) for n, row in enumerate(rows(*range(20, 40)))]
    write(b, second, dataset=replace(DATASET, source="part-1.csv"))
    merge(out, [a, b])
    run, computed = write(out, rows(*range(40)))
    assert computed == 0
    for row in rows(*range(40)):
        check_same(open_store(out).run(run).example(row.position), audit(row, gold_of(row)))


def test_a_merge_that_was_stopped_goes_on(tmp_path, monkeypatch):
    from saliency_core.store.write.writer import StoreWriter

    whole, a, out = (tmp_path / f"{name}.sqlite" for name in ("whole", "a", "out"))
    write(a, rows(*range(60)), finish=False, batch=4)
    write(whole, rows(*range(60)))
    original, left = StoreWriter.insert_chunk, [5]

    def limited(self, *arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        original(self, *arguments)

    monkeypatch.setattr(StoreWriter, "insert_chunk", limited)
    with pytest.raises(KeyboardInterrupt):
        merge(out, [a])
    monkeypatch.undo()
    assert 0 < open_store(out).run().filter().count() < 60
    assert merge(out, [a])["runs"][0]["examples"] == 60
    write(out, rows(*range(60)))
    assert blobs(out) == blobs(whole)


def test_files_of_different_data_are_not_parts_of_one_run(tmp_path):
    a, b, out = (tmp_path / f"{name}.sqlite" for name in "abo")
    write(a, rows(*range(10)))
    write(b, [replace(row, text=row.text + " edited") for row in rows(*range(10))])
    with pytest.raises(UserError, match="another example at position 0"):
        merge(out, [a, b])
    with pytest.raises(UserError, match="cannot be both"):
        merge(a, [a])


def test_slices_of_one_name_are_not_mixed_up(tmp_path):
    a, b, out = (tmp_path / f"{name}.sqlite" for name in "abo")
    write(a, rows(*range(10)))
    write(b, rows(*range(10, 20)))
    save_slice(a, "hard", "wrong")
    save_slice(b, "hard", "right")
    save_slice(b, "long", "length>5")
    assert merge(out, [a, b])["slices_kept"] == ["hard"]
    assert open_store(out).slices()[["name", "where"]].values.tolist() == [
        ["hard", "wrong"],
        ["long", "length>5"],
    ]


# Prune


def test_prune_leaves_the_other_runs_as_they_were(tmp_path):
    path, alone = tmp_path / "a.sqlite", tmp_path / "alone.sqlite"
    write(path, rows(*range(40)))
    other = replace(DATASET, source="other.csv")
    texts = [replace(row, text=f"only here {row.position}") for row in rows(*range(40))]
    write(path, [*rows(*range(5)), *texts[5:]], dataset=other)
    set_note(path, 1, "id-1", "kept")
    set_note(path, 2, "id-1", "gone")
    write(alone, rows(*range(40)))
    set_note(alone, 1, "id-1", "kept")
    store = open_store(path)
    assert store.run(2).filter('"only here"').count() == 35
    prune(path, [2])
    assert blobs(path) == blobs(alone)
    assert is_sound(path)
    assert store.runs()["run"].tolist() == [1]
    with pytest.raises(UserError, match="has no run 2"):
        store.run(2).filter().count()
    # Ids of pruned words are given anew; a reader that was open meanwhile must notice.
    write(path, [replace(example(0), text="zebra yak")], dataset=other)
    assert store.run().filter("word:zebra").count() == 1
    ids = store.run().filter().word_sums(1).word
    assert sorted(store.words_of(ids)) == ["yak", "zebra"]


def test_prune_gives_the_space_back(tmp_path):
    path = tmp_path / "a.sqlite"
    write(path, rows(*range(10)))
    small = path.stat().st_size
    draw = np.random.default_rng(0)
    many = [
        replace(example(n), text=" ".join(f"w{k}" for k in draw.integers(0, 5000, 30)))
        for n in range(600)
    ]
    write(path, many, dataset=replace(DATASET, source="big"), batch=100, block=600)
    report = prune(path, [2])
    assert report["bytes_before"] > 3 * small
    assert report["bytes_after"] == path.stat().st_size < 1.2 * small
    with pytest.raises(UserError, match="has no run 2; it has: 1"):
        prune(path, [2])


def test_prune_of_everything_leaves_a_file_that_can_be_written(tmp_path):
    path = tmp_path / "a.sqlite"
    write(path, rows(*range(20)))
    prune(path, [1])
    connection = sqlite3.connect(path)
    for table in ("texts", "digests", "vocabulary", "examples", "scores", "columns", "notes"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    connection.close()
    assert write(path, rows(*range(20)))[1] > 0
    assert open_store(path).run().filter().count() == 20


# Annotations


def test_annotations_follow_their_ids_into_a_changed_dataset(tmp_path):
    old, new = tmp_path / "old.sqlite", tmp_path / "new.sqlite"
    write(old, rows(*range(20)))
    for id in ("id-1", "id-2", "id-3"):
        set_note(old, 1, id, f"note of {id}", "positive")
    set_verdict(old, 1, "people", "positive", "spurious", "why")
    save_slice(old, "hard", "wrong", "note")
    # The first three rows went away, the rest moved up, one text was edited.
    moved = [replace(row, position=n) for n, row in enumerate(rows(*range(2, 20)))]
    moved[0] = replace(moved[0], text="edited")
    write(new, moved, dataset=replace(DATASET, source="new.csv"))
    exported = json.loads(json.dumps(export_annotations(old)))
    report = import_annotations(new, exported)
    assert report == {
        "run": 1,
        "slices": 1,
        "notes": 2,
        "verdicts": 1,
        "unknown_ids": ["id-1"],
        "changed_ids": ["id-2"],
        "kept_slices": [],
    }
    store = open_store(new)
    assert store.run().note("id-3") == {"note": "note of id-3", "proposed_label": "positive"}
    assert store.run().example("id-3")["text"] == example(3).text
    assert (
        store.run()
        .verdicts()
        .drop(columns="updated")
        .equals(open_store(old).run().verdicts().drop(columns="updated"))
    )
    assert store.slices().equals(open_store(old).slices())
    assert import_annotations(new, exported)["notes"] == 2
    assert len(store.run().notes()) == 2


def test_a_round_trip_changes_nothing(tmp_path):
    path = tmp_path / "a.sqlite"
    write(path, rows(*range(8)))
    set_note(path, 1, "id-1", "one", None)
    set_verdict(path, 1, "nice", "negative", "unsure")
    save_slice(path, "a", "wrong")
    first = export_annotations(path)
    import_annotations(path, first)
    second = export_annotations(path)
    for name in ("slices", "notes", "verdicts"):
        assert second[name] == first[name]


def test_the_newer_of_two_annotations_holds(tmp_path):
    path = tmp_path / "a.sqlite"
    write(path, rows(*range(8)))
    set_note(path, 1, "id-1", "mine")
    exported = export_annotations(path)
    exported["notes"][0] |= {"note": "older", "updated": "2001-01-01T00:00:00+00:00"}
    import_annotations(path, exported)
    assert open_store(path).run().note("id-1")["note"] == "mine"
    exported["notes"][0] |= {"note": "newer", "updated": "2999-01-01T00:00:00+00:00"}
    exported["slices"] = [{"name": "a", "where": "wrong"}]
    import_annotations(path, exported)
    assert open_store(path).run().note("id-1")["note"] == "newer"
    exported["slices"] = [{"name": "a", "where": "right"}]
    assert import_annotations(path, exported)["kept_slices"] == ["a"]
    assert open_store(path).slices()["where"].tolist() == ["wrong"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "else"}, "not an export of annotations"),
        ({"version": 9}, "have version 9"),
        ({"notes": [{"note": "x"}]}, "not complete: 'id' is missing"),
        ({"verdicts": [{"word": "a", "class": "b", "verdict": "bad"}]}, "'bad' .* not a verdict"),
        ({"slices": [{"name": "a", "where": "wrnog:1"}]}, "is not a filter term"),
    ],
)
def test_what_is_no_export_is_one_sentence(tmp_path, change, sentence):
    path = tmp_path / "a.sqlite"
    write(path, rows(*range(3)))
    before = export_annotations(path) | {"exported": ""}
    with pytest.raises(UserError, match=sentence):
        import_annotations(path, before | change)
    assert export_annotations(path) | {"exported": ""} == before


# Commands


def call(*arguments, code=0):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if "--json" in arguments else done.output


def test_commands_print_one_object(tmp_path):
    a, b, out = (tmp_path / f"{name}.sqlite" for name in "abo")
    write(a, rows(*range(10)))
    write(b, rows(*range(10, 20)))
    merged = call("merge", a, b, "--output", out, "--json")
    assert merged["runs"][0]["examples"] == 20
    assert "no example is computed again" in call("merge", a, b, "-o", out)
    saved = call("slices", "save", "hard", "wrong", "--db", out, "--note", "n", "--json")
    assert saved["examples"] == open_store(out).run().filter("wrong").count()
    listed = call("slices", "list", "--db", out, "--json")["slices"]
    assert [row["name"] for row in listed] == ["hard"]
    assert listed[0]["examples"] == saved["examples"]
    file = tmp_path / "notes.json"
    set_note(out, 1, "id-3", "look")
    counts = call("annotations", "export", "--db", out, "--output", file, "--json")
    assert (counts["slices"], counts["notes"], counts["verdicts"]) == (1, 1, 0)
    assert call("annotations", "export", "--db", out, "--json")["notes"][0]["id"] == "id-3"
    assert call("annotations", "import", file, "--db", b, "--json")["unknown_ids"] == ["id-3"]
    assert "Not in this run, left out: id-3." in call("annotations", "import", file, "--db", b)
    assert call("slices", "delete", "hard", "--db", out, "--json") == {"deleted": "hard"}
    assert "Abort" in call("prune", 1, "--db", out, code=1)
    pruned = call("prune", 1, "--db", out, "--json")
    assert pruned["runs"] == [1] and open_store(out).runs().empty
