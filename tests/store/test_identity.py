"""Whose rows are these: a run holds the rows of its dataset as it is, and of no other."""

import pickle
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from saliency_core.analysis.word_tables import word_table
from saliency_core.errors import UserError
from saliency_core.pipeline.ray.changed_blocks import content_of, follow
from saliency_core.pipeline.ray.engine import kept_rows
from saliency_core.records import Example
from saliency_core.store import (
    export_annotations,
    merge,
    open_store,
    open_writer,
    prune,
    set_verdict,
)
from saliency_core.store.format.block_folder import BlockFolder
from saliency_core.store.format.wire import pack_results, unpack_results
from tests.support.notes import set_note
from tests.support.paths import ROOT
from tests.support.store_made_up import DATASET, LABELS, MODEL, SETTINGS, audit, conduct, gold_of
from tests.support.stored_content import blobs, is_sound

TEXTS = ["good", "nice people", "bad movie", "terribly bad", "people are good", "东京", ""]
# Each example writes files, so that making it smaller would take minutes.
LAW = settings(max_examples=12, deadline=None, phases=(Phase.explicit, Phase.generate))
IDS = replace(DATASET, columns={"text": "text", "id": "key"})

cells = st.tuples(
    st.sampled_from(TEXTS),
    st.sampled_from([*LABELS, None]),
    st.dictionaries(st.sampled_from(["region", "k"]), st.sampled_from(["EU", 1, None])),
)
files = st.lists(cells, min_size=1, max_size=14)


@cache
def empty() -> bytes:
    """Return a file of the current format: to make one takes longer than an audit here."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.sqlite"
        with open_writer(path):
            pass
        return path.read_bytes()


@contextmanager
def databases(count: int):
    """Yield paths of new files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{n}.sqlite" for n in range(count)]
        for path in paths:
            path.write_bytes(empty())
        yield paths


def rows_of(file, ids: bool = False) -> list[Example]:
    """Return rows; ids are row numbers, or stand for one text and number of its kind each."""
    rows, count = [], {}
    for position, (text, label, metadata) in enumerate(file):
        count[text] = count.get(text, 0) + 1
        id = f"{TEXTS.index(text)}-{count[text]}" if ids else str(position)
        rows.append(Example(position, id, text, None, label, metadata))
    return rows


def told(path) -> dict:
    """Return everything a reader is told of the newest run but what a person wrote."""
    store = open_store(path)
    run = store.run()
    frame = store.run().filter().examples()
    filters = ["wrong", "failed", "word:bad", "gold:positive", "length>2", '"people"', "id:3"]
    filters += [f"meta.{name}:EU" for name in store.run().metadata_columns()]
    found = {
        "rows": frame.to_dict("list"),
        "details": [store.run().example(int(position)) for position in frame["example"]],
        "filters": {line: store.run().filter(line).positions().tolist() for line in filters},
        "words": word_table(store.run().filter(), minimum=1)
        .sort_values(["word", "class"])
        .round(5)
        .to_dict("list"),
        "layers": store.run().layers().to_dict("list"),
        "columns": store.run().metadata_columns(),
        "run": [run.recommended, run.warnings, run.extra, run.status],
        "counts": store.runs()[["run", "examples", "failed", "accuracy", "status"]].to_dict("list"),
        "evaluations": store.run().evaluations().to_dict("list"),
    }
    for row in found["details"]:
        row.pop("note")
    texts = store.connection.execute("SELECT text FROM texts ORDER BY text").fetchall()
    former = store.connection.execute("SELECT count(*) FROM former_examples").fetchall()
    return found | {"texts": texts, "former": former}


def same(one: dict, other: dict) -> None:
    for part, values in one.items():
        np.testing.assert_equal(values, other[part], err_msg=part)


FEW = [("good", "negative", {"region": "EU"}), ("bad movie", None, {"k": 1})]


@given(files, files, st.booleans())
@example(FEW, [(text, label, {"k": "EU"}) for text, label, _ in FEW], False)
@example([*FEW, FEW[0]], FEW, False)
@LAW
def test_a_second_audit_leaves_what_it_alone_would(first, second, ids):
    dataset = IDS if ids else DATASET
    with databases(2) as (path, alone):
        conduct(path, rows_of(first, ids), dataset=dataset)
        run, computed, _ = conduct(path, rows_of(second, ids), dataset=dataset)
        conduct(alone, rows_of(second, ids), dataset=dataset)
        assert run == 1
        same(told(path), told(alone))
        known = {(text, label) for text, label, _ in first}
        assert computed <= len({(text, label) for text, label, _ in second} - known)
        assert is_sound(path)
        assert conduct(path, rows_of(second, ids), dataset=dataset)[1:] == (0, None)


def homes(first: list[Example], second: list[Example], noted: list[int], ids: bool) -> dict:
    """Return id of the second file -> row of the first whose note belongs there."""
    found: dict[str, int] = {}
    known = {row.id for row in second}
    if ids:
        found = {first[n].id: n for n in noted if first[n].id in known}
    for n in noted:
        nth = sum(row.text == first[n].text for row in first[:n])
        same = [row.id for row in second if row.text == first[n].text][nth : nth + 1]
        if same and n not in found.values() and same[0] not in found:
            found[same[0]] = n
    return found


def notes_of(path) -> dict[str, str]:
    notes = open_store(path).run().notes()
    return dict(zip(notes["id"], notes["note"], strict=True))


@given(files, files, st.booleans(), st.sets(st.integers(0, 13)))
@LAW
def test_a_note_stays_at_its_id_or_text_or_is_an_orphan(first, second, ids, noted):
    dataset = IDS if ids else DATASET
    first, second = rows_of(first, ids), rows_of(second, ids)
    noted = sorted(n for n in noted if n < len(first))
    with databases(1) as (path,):
        conduct(path, first, dataset=dataset)
        for n in noted:
            set_note(path, 1, first[n].id, f"on row {n}", "positive")
        before = notes_of(path)
        set_verdict(path, 1, "bad", "negative", "genuine")
        conduct(path, second, dataset=dataset)
        expected = homes(first, second, noted, ids)
        assert notes_of(path) == {id: f"on row {n}" for id, n in expected.items()}
        orphans = export_annotations(path)["orphans"]
        gone = {(first[n].id, first[n].text) for n in noted if n not in expected.values()}
        assert {(row["id"], row["text"]) for row in orphans} == gone
        assert len(orphans) == len(open_store(path).run().orphaned_notes()) == len(gone)
        assert len(open_store(path).run().verdicts()) == 1
        conduct(path, first, dataset=dataset)
        assert notes_of(path) == before, "what came back has its note again"
        assert is_sound(path)


@pytest.mark.slow
@given(files, files, st.integers(1, 15), st.integers(1, 15))
@LAW
def test_a_limit_takes_rows_of_the_file_as_it_is(first, second, some, more):
    first, second = rows_of(first), rows_of(second)
    with databases(3) as (path, alone, whole):
        conduct(path, first)
        conduct(path, second, limit=some)
        conduct(alone, second if first == second else second[:some])
        one, other = told(path), told(alone)
        same(*({part: found[part] for part in ("rows", "counts")} for found in (one, other)))
        conduct(path, second, limit=more)
        assert open_store(path).run().filter().count() == len(
            second if first == second else second[: max(some, more)]
        )
        computed = conduct(path, second)[1]
        conduct(whole, second)
        same(told(path), told(whole))
        known = {(row.text, row.label) for row in first + second[: max(some, more)]}
        assert computed == 0 or {(row.text, row.label) for row in second} - known


A = rows_of(
    [(text, label, {"region": "EU"}) for text in TEXTS for label in ("negative", "positive")] * 2
)
B = rows_of(
    [("new", "positive", {}), *((row.text, row.label, {"year": 1}) for row in A[3:20:2])]
    + [(row.text, "negative", row.metadata) for row in reversed(A[20:])]
)


def test_what_only_moved_or_was_inserted_is_not_computed(tmp_path):
    path = tmp_path / "a.sqlite"
    conduct(path, A)
    assert conduct(path, renumbered(reversed(A)))[1] == 0
    assert conduct(path, renumbered([replace(A[0], text="first"), *A]))[1] == 1
    assert conduct(path, renumbered(A[1:]))[1] == 0
    assert conduct(path, renumbered(replace(row, metadata={"k": 1}) for row in A))[1] == 0
    assert open_store(path).run().metadata_columns()[-1] == "k"
    assert open_store(path).run().filter("meta.k:1").count() == len(A)


def test_rows_behind_the_last_one_go_also_where_nothing_else_tells_of_a_change(tmp_path):
    path, dataset = tmp_path / "a.sqlite", replace(DATASET, identity="/made/up.csv")
    for rows in (A, A[:3]):
        with open_writer(path) as writer:
            run = writer.begin_run(dataset, MODEL, SETTINGS)
            writer.write_batch(run, [audit(row, gold_of(row)) for row in rows])
            changes = writer.settle(run, dataset, len(rows), whole=True)
    assert open_store(path).run().filter().examples()["id"].tolist() == ["0", "1", "2"]
    assert changes.gone and not open_store(path).run().is_complete()


def renumbered(rows) -> list[Example]:
    return [replace(row, position=n, id=str(n)) for n, row in enumerate(rows)]


KILLED = """
import os, pickle, shutil, sys
sys.path.insert(0, {root!r})
from tests.support.killing import Statements, statements_of
from tests.support.store_made_up import conduct

audited, folder = sys.argv[1:]
B = pickle.load(open(folder + "/rows", "rb"))
whole = folder + "/whole.sqlite"
shutil.copy(audited, whole)
statements = statements_of(lambda: conduct(whole, B))
for number in range({kills}):
    path = folder + f"/killed-{{number}}.sqlite"
    shutil.copy(audited, path)
    for last in (1 + number * (statements - 1) // {kills}, statements // (3 + number)):
        child = os.fork()
        if not child:
            Statements(last)
            conduct(path, B)
            os._exit(0)
        os.waitpid(child, 0)
    conduct(path, B)
"""


@pytest.mark.slow
def test_an_audit_of_a_changed_file_killed_anywhere_ends_the_same(tmp_path):
    audited = tmp_path / "a.sqlite"
    conduct(audited, A)
    for row in A[::3]:
        set_note(audited, 1, row.id, f"on {row.id}")
    (tmp_path / "rows").write_bytes(pickle.dumps(B))
    code = KILLED.format(root=str(ROOT), kills=6)
    done = subprocess.run(
        [sys.executable, "-c", code, audited, tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    whole = tmp_path / "whole.sqlite"
    killed = sorted(tmp_path.glob("killed-*"))
    assert len(killed) == 6 and len(notes_of(whole)) > 5
    left = blobs(whole)
    for path in killed:
        assert blobs(path) == left
        assert is_sound(path)


def test_of_two_audits_of_two_states_the_later_begun_holds(tmp_path):
    states = [replace(DATASET, digest=digest, identity="/made/up.csv") for digest in "ab"]
    with open_writer(tmp_path / "a.sqlite") as one, open_writer(tmp_path / "a.sqlite") as other:
        run = one.begin_run(states[0], MODEL, SETTINGS)
        one.add_examples(run, A, [gold_of(row) for row in A])
        assert other.begin_run(states[1], MODEL, SETTINGS) == run
        with pytest.raises(UserError, match="began meanwhile with another state"):
            one.settle(run, states[0], len(A), whole=True)
        other.add_examples(run, B, [gold_of(row) for row in B])
        assert other.settle(run, states[1], len(B), whole=True).gone == 0


# Merge, folders of blocks, older files


def test_states_of_a_dataset_are_not_merged(tmp_path):
    a, b, out = (tmp_path / f"{name}.sqlite" for name in "abo")
    conduct(a, A)
    conduct(b, A[:5])
    with pytest.raises(UserError, match=r"when it held other rows .* not parts of one run"):
        merge(out, [a, b])


def test_orphans_are_merged_once(tmp_path):
    path, out = tmp_path / "a.sqlite", tmp_path / "out.sqlite"
    conduct(path, A)
    set_note(path, 1, A[5].id, "soon gone")
    conduct(path, B[:1])
    merge(out, [path])
    merge(out, [path])
    assert open_store(out).run().orphaned_notes().equals(open_store(path).run().orphaned_notes())
    assert open_store(out).run().filter().examples()["text"].tolist() == ["new"]
    assert is_sound(out)


def test_a_merge_of_a_file_in_the_middle_of_a_change(tmp_path):
    path, out = tmp_path / "a.sqlite", tmp_path / "out.sqlite"
    conduct(path, A)
    with open_writer(path) as writer:
        changed = replace(DATASET, digest="another", identity="/made/up.csv")
        writer.begin_run(changed, MODEL, SETTINGS)
        writer.add_examples(1, B[:9], [gold_of(row) for row in B[:9]])
    merge(out, [path])
    kept = [row.text for row in open_store(path).run().filter().examples().itertuples()]
    assert open_store(out).run().filter().examples()["text"].tolist() == kept and 0 < len(kept) < 9
    assert is_sound(out) and is_sound(path)
    prune(path, [1])
    assert is_sound(path)


FIVE = [(text, "negative", {}) for text in "abcde"]
CROSSED = [(text, "negative", {}) for text in "xyzec"]
"""The first block keeps the row that goes where the second block's row was, and that one moves."""


@given(files, files)
@example(FIVE, CROSSED)
@LAW
def test_blocks_follow_a_changed_dataset(first, second):
    first, second = rows_of(first), rows_of(second)
    golds = [gold_of(row) for row in second]
    contents = np.array(
        [content_of(row.text, row.pair, gold) for row, gold in zip(second, golds, strict=True)]
    )
    with tempfile.TemporaryDirectory() as name:
        folder = BlockFolder.begin(Path(name) / "b", DATASET, MODEL, SETTINGS)
        once = list({(row.text, gold_of(row)): row for row in first}.values())
        for start in range(0, len(once), 4):
            part = [audit(row, gold_of(row)) for row in once[start : start + 4]]
            folder.write(pack_results(part), 1.0)
        again = BlockFolder.begin(folder.path, replace(DATASET, digest="another"), MODEL, SETTINGS)
        assert again.holds_changed
        follow(again, contents, second)
        again.describe()
        kept = kept_rows(again, contents)
        for file in again.files():
            for record in unpack_results(again.read(file)):
                row = second[record.example.position]
                assert record.example == row and record.gold == gold_of(row)
                np.testing.assert_equal(record.logits, audit(row, gold_of(row)).logits)
        known = {(row.text, gold_of(row)) for row in first}
        wanted = {(row.text, gold_of(row)) for row in second}
        assert {(second[n].text, golds[n]) for n in kept} == known & wanted
        assert not BlockFolder.begin(
            folder.path, replace(DATASET, digest="another"), MODEL, SETTINGS
        ).holds_changed
