"""What the browser sends is stored once, in its order, and said as the file holds it."""

import json
import shutil
import threading

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from app_components import review, review_panel
from saliency_core.errors import UserError
from saliency_core.store import open_store, open_writer, undo
from tests.support.notes import set_note
from tests.support.paths import DASHBOARD
from tests.support.store_made_up import example, write_all


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    path = tmp_path_factory.mktemp("review") / "a.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(number) for number in range(12)])
    return path


@pytest.fixture
def run(empty, tmp_path, monkeypatch):
    monkeypatch.setattr(st, "session_state", {})
    return open_store(shutil.copy(empty, tmp_path / "a.sqlite")).run()


@pytest.fixture
def send(run):
    state = review_panel.Panel(run)

    def sent(*edits, turn=1, at="id-9"):
        review_panel._receive(state, {"turn": turn, "at": at, "edits": list(edits)})
        return state

    return sent


def edit(uid, id, *edits, **more):
    return {"uid": uid, "id": id, "edits": [list(one) for one in edits], **more}


def test_an_edit_that_is_sent_again_is_stored_once(run, send):
    one = edit("a", "id-1", ("label", "positive"))
    send(one)
    send(one, edit("b", "id-2", ("right", "")), turn=2, at="id-3")
    assert run.actions()["did"].tolist() == ["label is right", "label positive"]
    assert st.session_state["id"] == "id-3"
    assert review.review_of(run).said == "Saved for id-2: label is right."
    send(turn=1, at="id-9")
    assert st.session_state["id"] == "id-3", "what was sent before leads nowhere any more"


def test_undo_takes_back_the_edit_that_it_names_and_leads_to_it(run, send):
    send(edit("a", "id-1", ("label", "positive")), edit("b", "id-2", ("skipped", "")))
    send({"uid": "c", "undo": "a", "id": "id-1"}, turn=2, at="id-1")
    assert run.note("id-1") is None and run.filter("reviewed").count() == 0
    assert review.review_of(run).said == "Undone for id-1."
    send({"uid": "d", "undo": None}, turn=3)
    assert st.session_state["id"] == "id-2"
    assert run.actions()["undone"].notna().all()
    send({"uid": "e", "undo": None}, turn=4)
    assert review.review_of(run).said.startswith("Nothing to undo")


def test_a_session_that_began_anew_undoes_the_last_action_on_the_example(run, send):
    send(edit("a", "id-1", ("label", "positive")), edit("b", "id-2", ("right", "")))
    fresh = review_panel.Panel(run)
    lost = {"uid": "c", "undo": "a", "id": "id-1"}
    review_panel._receive(fresh, {"turn": 1, "at": "id-1", "edits": [lost]})
    assert run.note("id-1") is None and run.filter("reviewed").count() == 1


def test_a_rerun_that_overtakes_the_one_before_undoes_nothing_twice(run, send, monkeypatch):
    decisions = [edit("a", "id-1", ("right", "")), edit("b", "id-2", ("right", ""))]
    state = send(*decisions)
    undos = [
        {"uid": f"undo {uid}", "undo": uid, "id": id} for uid, id in (("b", "id-2"), ("a", "id-1"))
    ]
    is_begun, may_end = threading.Event(), threading.Event()

    def slowly(*arguments):
        is_begun.set()
        assert may_end.wait(30)
        return undo(*arguments)

    def receive(*edits):
        review_panel._receive(state, {"turn": 2, "at": "id-1", "edits": list(edits)})

    monkeypatch.setattr(review, "undo", slowly)
    first = threading.Thread(target=receive, args=undos[:1])
    second = threading.Thread(target=receive, args=undos)
    first.start()
    assert is_begun.wait(30)
    second.start()
    second.join(0.2)
    may_end.set()
    first.join(30)
    second.join(30)
    assert not review.review_of(run).failed
    assert run.actions()["undone"].notna().all() and run.filter("reviewed").count() == 0
    assert {"undo a", "undo b"} <= set(state.stored)


def test_what_was_undone_in_another_tab_is_said_and_holds_nothing_up(run, send):
    state = send(edit("a", "id-1", ("right", "")), edit("b", "id-2", ("right", "")))
    undo(run.store.path, run.number, state.stored["a"])
    send({"uid": "c", "undo": "a", "id": "id-1"}, turn=2)
    said = "Already undone for id-1, in another tab or from the history."
    assert review.review_of(run).said == said and "c" in state.stored
    send(edit("d", "id-3", ("right", "")), turn=3)
    assert run.filter("reviewed").count() == 2 and not review.review_of(run).failed


def test_a_note_says_what_it_replaced_that_was_written_elsewhere(run, send):
    set_note(run.store.path, run.number, "id-1", "theirs")
    send(edit("a", "id-1", ("note", "mine"), was=""))
    assert run.note("id-1")["note"] == "mine"
    said = review.review_of(run).said
    assert said == (
        "Saved for id-1: note “mine”. This replaced what had meanwhile been saved elsewhere: "
        "“theirs”."
    )
    send(edit("b", "id-1", ("note", "again"), was="mine"), turn=2)
    assert review.review_of(run).said == "Saved for id-1: note “again”."


def test_what_cannot_be_stored_is_said_and_not_acknowledged(run, send, monkeypatch):
    def full(path):
        raise UserError("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr("saliency_core.store.write.annotations.writing", full)
        state = send(edit("a", "id-1", ("right", "")))
    assert not state.stored and review.review_of(run).failed == "Not saved: The disk is full."
    send(edit("a", "id-1", ("right", "")))
    assert run.filter("reviewed").count() == 1 and not review.review_of(run).failed


def test_the_panel_shows_what_the_file_holds_and_the_examples_beside(run, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("SALIENCY_DB", str(run.store.path))
    rows = run.filter("wrong").examples(sort="confidence", descending=True)
    set_note(run.store.path, 1, rows["id"].iloc[1], "look", "positive")
    app = AppTest.from_file(DASHBOARD, default_timeout=60)
    app.query_params["id"] = rows["id"].iloc[2]
    app.run().switch_page("app_pages/example.py").run()
    assert not app.exception
    sent = [json.loads(one.proto.json) for one in app.get("bidi_component")]
    (data,) = [one for one in sent if "acked" in one]
    assert data["at"] == rows["id"].iloc[2]
    assert [row["id"] for row in data["rows"]] == rows["id"].tolist()
    assert (data["first"], data["total"]) == (0, len(rows))
    noted = data["rows"][1]
    assert (noted["decision"], noted["label"], noted["note"]) == ("label", "positive", "look")
    relabelled = int(rows["gold"].iloc[1] != "positive")
    assert data["progress"]["text"] == (f"1 of {len(rows)} reviewed · {relabelled} relabelled")
