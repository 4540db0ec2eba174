"""Decisions, notes and tags: what holds after any actions, and after some of them are undone."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency_core.errors import UserError
from saliency_core.store import (
    Edit,
    annotate,
    export_annotations,
    import_annotations,
    merge,
    open_store,
    open_writer,
    redo,
    undo,
)
from tests.support.store_made_up import example, write_all

N = 12
EDITS = [
    Edit("label", "positive"),
    Edit("label", "negative"),
    Edit("right"),
    Edit("reviewed"),
    Edit("skipped"),
    Edit("open"),
    Edit("note", "why?"),
    Edit("note"),
    Edit("tag", "odd"),
    Edit("tag", "rude"),
    Edit("untag", "odd"),
]


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """Return a finished file that nobody has annotated."""
    path = tmp_path_factory.mktemp("annotations") / "empty.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(number) for number in range(N)])
    return path


@pytest.fixture(scope="module")
def shared_file(empty):
    return shutil.copy(empty, empty.with_name("shared.sqlite"))


@pytest.fixture
def file(empty, tmp_path):
    return shutil.copy(empty, tmp_path / "a.sqlite")


def done_to(held: dict, edit: Edit) -> None:
    """Do one edit to one example, one field after the other."""
    what, value = edit
    if what == "note":
        held["note"] = value
    elif what == "tag":
        held["tags"] |= {value}
    elif what == "untag":
        held["tags"] -= {value}
    elif what == "open":
        held["decision"] = None
    elif what == "reviewed":
        if held["decision"] in (None, ("skipped", "")):
            held["decision"] = (what, value)
    elif what == "skipped":
        held["decision"] = held["decision"] or (what, value)
    else:
        held["decision"] = (what, value)


def expected(actions) -> list[dict]:
    held = [{"decision": None, "note": "", "tags": set()} for _ in range(N)]
    for edit, chosen in actions:
        for number in chosen:
            done_to(held[number], edit)
    return held


def found(path) -> list[dict]:
    rows = open_store(path).run().annotations_at(range(N))
    return [
        {
            "decision": row["decision"] and (row["decision"], row["label"] or ""),
            "note": row["note"],
            "tags": set(row["tags"]),
        }
        for row in rows
    ]


@settings(max_examples=10)
@given(
    st.lists(
        st.tuples(st.sampled_from(EDITS), st.sets(st.integers(0, N - 1), min_size=1)), max_size=5
    ),
    st.integers(0, 5),
)
def test_what_holds_is_what_the_edits_say_and_what_is_undone_never_was(
    shared_file, actions, undone
):
    with closing(sqlite3.connect(shared_file)) as connection:
        connection.execute("DELETE FROM edits")
        connection.commit()
    numbers = {}
    for at, (edit, chosen) in enumerate(actions):
        ids = [f"id-{number}" for number in sorted(chosen)]
        numbers[at] = annotate(shared_file, 1, [edit], ids=ids).number
    assert found(shared_file) == expected(actions)
    changing = [at for at, number in numbers.items() if number is not None]
    gone = changing[len(changing) - min(undone, len(changing)) :]
    for at in reversed(gone):
        assert undo(shared_file, 1) == numbers[at]
    assert found(shared_file) == expected(actions[: gone[0]] if gone else actions)
    for at in gone:
        redo(shared_file, 1, numbers[at])
    assert found(shared_file) == expected(actions)


def test_one_action_over_a_filter_is_undone_whole_and_an_earlier_one_too(file):
    store = open_store(file)
    wrong = store.run().filter("wrong").count()
    one = annotate(file, 1, [Edit("reviewed"), Edit("tag", "odd")], where="wrong")
    assert (one.examples, one.chosen) == (wrong, wrong)
    id = store.run().filter("wrong").examples()["id"].iloc[0]
    two = annotate(file, 1, [Edit("label", "positive"), Edit("note", "look")], ids=[id])
    assert store.run().filter("reviewed tag:odd").count() == wrong
    again = annotate(file, 1, [Edit("reviewed"), Edit("tag", "odd")], where="wrong")
    assert (again.number, again.examples, again.chosen) == (None, 0, wrong)
    history = store.run().actions()
    assert history["did"].tolist() == ["label positive, note “look”", "reviewed, tag odd"]
    assert history["where"].tolist() == [None, "wrong"]
    assert history["examples"].tolist() == [1, wrong]
    assert history["id"].tolist() == [id, None]
    undo(file, 1, one.number)
    assert store.run().filter("reviewed").count() == 1, "what was done since stays"
    assert store.run().note(id) == {"note": "look", "proposed_label": "positive"}
    with pytest.raises(UserError, match="Action 1 is undone already"):
        undo(file, 1, one.number)
    assert undo(file, 1) == two.number
    with pytest.raises(UserError, match="nothing to undo in run 1"):
        undo(file, 1)
    with pytest.raises(UserError, match="Run 1 has no action 9"):
        undo(file, 1, 9)


def test_progress_counts_decisions_and_labels_that_differ_from_the_gold_one(file):
    run = open_store(file).run()
    part = run.filter("wrong")
    rows = part.examples()
    annotate(file, 1, [Edit("label", rows["gold"].iloc[0])], ids=[rows["id"].iloc[0]])
    annotate(file, 1, [Edit("label", rows["predicted"].iloc[1])], ids=[rows["id"].iloc[1]])
    annotate(file, 1, [Edit("skipped")], ids=[rows["id"].iloc[2]])
    expected = {"examples": len(rows), "reviewed": 2, "relabelled": 1}
    assert part.progress() == expected
    assert part.corrections()["id"].tolist() == rows["id"].tolist()[:3]
    assert run.filter("right").progress()["reviewed"] == 0


def test_an_export_goes_into_another_file_by_id_or_by_row(file, empty, tmp_path):
    other = shutil.copy(empty, tmp_path / "b.sqlite")
    annotate(file, 1, [Edit("right"), Edit("tag", "odd")], ids=["id-1", "id-2"])
    annotate(file, 1, [Edit("label", "positive"), Edit("note", "so")], ids=["id-3"])
    exported = json.loads(json.dumps(export_annotations(file)))
    renamed = exported | {"notes": [row | {"id": f"new {row['id']}"} for row in exported["notes"]]}
    assert import_annotations(other, renamed)["unknown_ids"] == ["new id-1", "new id-2", "new id-3"]
    assert import_annotations(other, renamed, by="row")["notes"] == 3
    assert found(other) == found(file)
    assert import_annotations(other, exported)["notes"] == 3
    assert len(open_store(other).run().actions()) == 1, "nothing was newer"
    undo(other, 1)
    assert not any(row["decision"] for row in found(other))


def test_a_merge_takes_edits_once(file, tmp_path):
    annotate(file, 1, [Edit("tag", "odd")], where="wrong")
    annotate(file, 1, [Edit("right")], ids=["id-1"])
    undo(file, 1)
    out = tmp_path / "out.sqlite"
    for _ in range(2):
        merge(out, [file])
        assert found(out) == found(file)
        assert len(open_store(out).run().actions()) == 2


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (Edit("like"), "'like' is not an edit"),
        (Edit("tag", "  "), "name of the tag"),
        (Edit("label"), "name of the label"),
    ],
)
def test_what_is_no_edit_is_refused(file, edit, sentence):
    with pytest.raises(UserError, match=sentence):
        annotate(file, 1, [edit], where="")
    assert open_store(file).run().actions().empty


def test_the_view_of_notes_says_what_the_reader_says(file):
    for edit, part in ((EDITS[0], "wrong"), (EDITS[2], "right"), (EDITS[6], "-right")):
        annotate(file, 1, [edit], where=part)
    annotate(file, 1, [Edit("open"), Edit("note")], ids=["id-1", "id-2"])
    with closing(sqlite3.connect(file)) as connection:
        view = connection.execute(
            "SELECT id, note, decision, proposed_label FROM notes WHERE run = 1 ORDER BY id"
        ).fetchall()
    frame = open_store(file).run().notes()[["id", "note", "decision", "proposed_label"]]
    frame = frame.astype(object).where(frame.notna(), None)
    assert view == [tuple(row) for row in frame.itertuples(index=False)]
    assert len(view) == N - 2
