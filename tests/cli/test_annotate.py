"""`annotate` over a filter, its undo and its history."""

import json

import pytest
from typer.testing import CliRunner

from saliency_core.cli import app
from saliency_core.store import open_store, open_writer
from tests.support.store_made_up import LABELS, example, write_all


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(number) for number in range(30)])
    return path


@pytest.fixture
def call(path):
    def run(*arguments, status=0):
        command = [*map(str, arguments), "--db", str(path)]
        done = CliRunner().invoke(app, command)
        if status:
            assert done.exception is not None
            return str(done.exception)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout) if "--json" in command else done.stdout

    return run


def test_a_filter_is_labelled_and_tagged_in_one_action_that_is_undone(call, path):
    run = open_store(path).run()
    wrong = run.filter("wrong").count()
    done = call("annotate", "wrong", "--label", LABELS[1], "--tag", "odd", "--json")
    assert done == {
        "run": 1,
        "action": 1,
        "did": f"label {LABELS[1]}, tag odd",
        "examples": wrong,
        "chosen": wrong,
    }
    assert run.filter("tag:odd reviewed").count() == wrong
    assert "Nothing to change" in call("annotate", "wrong", "--reviewed")
    assert "Undo it with --undo --action 2" in call("annotate", "right", "--reviewed")
    history = call("annotate", "--history", "--json")["history"]
    assert [(row["action"], row["where"]) for row in history] == [(2, "right"), (1, "wrong")]
    assert call("annotate", "--undo", "--action", 1, "--json")["examples"] == wrong
    assert run.filter("wrong reviewed").count() == 0
    assert run.filter("right -reviewed").count() == 0
    assert "Undid action 2" in call("annotate", "--undo")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["wrong"], "Say what to do"),
        (["wrong", "--label", "sad"], "'sad' names no label; choose from negative"),
        (["wrong", "--label", "positive", "--right"], "Decide one thing"),
        (["--tag", "odd"], 'Name the examples with a filter; "" means all'),
        (["wrong", "--tag", "odd", "--undo"], "a filter and what to do with it, or --undo"),
        ([], "or --history"),
        (["--undo"], "nothing to undo"),
        (["wrnog", "--reviewed"], "wrnog"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(call, path, arguments, sentence):
    assert sentence in call("annotate", *arguments, status=2)
    assert open_store(path).run().actions().empty
