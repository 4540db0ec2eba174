"""A run and its slices: what the file says of a run, and laws of sets."""

from dataclasses import replace

import numpy as np
import pytest

from app_components import session
from saliency_core.errors import UserError
from saliency_core.store import Run, Slice, open_store, open_writer, prune, set_layer_choice
from saliency_core.store.read.results import set_warning
from tests.support.store_made_up import (
    DATASET,
    LABELS,
    LAYERS,
    MODEL,
    SETTINGS,
    example,
    summaries,
    write_all,
)

ROWS = [example(n) for n in range(60)]
SECOND = replace(MODEL, name="second", model_digest="other")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "a.sqlite"
    with open_writer(path) as writer:
        write_all(writer, ROWS)
        write_all(writer, ROWS[:20], model=SECOND, finish=False)
    return path


def test_facts_are_the_records_that_were_written(path):
    run = open_store(path).run(1)
    assert (run.model, run.dataset, run.settings) == (MODEL, DATASET, SETTINGS)
    assert run.label_names == list(LABELS) and run.is_finished
    gold, predicted = run.column("gold"), run.column("predicted")
    judged = (gold >= 0) & (predicted >= 0)
    assert run.accuracy == np.mean((gold == predicted)[judged])


def test_the_newest_run_is_the_one_read_by_default(path):
    store = open_store(path)
    assert store.run().number == 2 and [run.number for run in store.all_runs()] == [1, 2]
    with pytest.raises(UserError, match="no run 7; it has: 1, 2"):
        store.run(7)


def test_one_rule_names_the_layer_to_read(path):
    finished, running = open_store(path).run(1), open_store(path).run(2)
    assert finished.layer_to_read() == finished.recommended
    assert running.recommended is None and running.layer_to_read() == LAYERS - 1
    assert finished.layer_to_read(0) == 0
    for layer in (-1, LAYERS + 1):
        with pytest.raises(UserError, match=f"no layer {layer}; it has 0 to {LAYERS}"):
            finished.layer_to_read(layer)


@pytest.mark.parametrize(
    ("one", "other"), [("wrong", "confidence>0.5"), ("", "word:the"), ("", "")]
)
def test_a_slice_of_a_slice_holds_what_both_hold(path, one, other):
    run = open_store(path).run(1)
    both = run.filter(one).filter(other)
    assert np.array_equal(both.mask(), run.filter(one).mask() & run.filter(other).mask())
    assert both.count() == len(both.positions()) == len(both.examples()) == both.mask().sum()
    assert np.array_equal(both.column("position"), both.positions())


def test_what_a_run_says_follows_the_file(tmp_path):
    path = tmp_path / "a.sqlite"
    with open_writer(path) as writer:
        write_all(writer, ROWS[:5])
    run = open_store(path).run()
    set_layer_choice(path, 1, summaries(), 0, None, [1])
    assert (run.recommended, run.tied, run.layer_to_read()) == (0, [1], 0)
    with open_writer(path) as writer:
        write_all(writer, ROWS[:5], model=SECOND)
    prune(path, [1])
    with pytest.raises(UserError, match="no run 1; it has: 2"):
        run.model  # noqa: B018
    for ask in (run.notes, run.layers, run.filter().count, run.filter("wrong").examples):
        with pytest.raises(UserError, match="no run 1"):
            ask()


def test_what_pages_remember_is_kept_by_run_and_filter(path):
    store = open_store(path)
    first, second = store.run(1), store.run(2)
    assert session.ask(Slice.count, first.filter()) == len(ROWS)
    assert session.ask(Slice.count, second.filter()) == 20
    wrong = first.filter("wrong").count()
    assert session.ask(Slice.count, first.filter("wrong")) == wrong != len(ROWS)
    assert session.ask(Run.metadata_columns, first) == first.metadata_columns()
    assert {id(session.ask(Slice.count, first.filter("wrong"))) for _ in range(2)} == {id(wrong)}


@pytest.mark.parametrize(
    "sentence",
    [
        "The tokenizer of m does not know 30% of the tokens of the first 100 texts; the model "
        "cannot tell such words apart.",
        "Lines 3 to 90 of a.csv are one quoted cell; if they are rows of their own, close the "
        "quote.",
        "The predictions in column 'p' differ. So many are no rounding: was it another model, "
        "label order or text length?",
        "Information flows around some layers, so their scores account for a part of the answer "
        "only: 2 (40%). They are never recommended.",
    ],
)
def test_what_casts_doubt_does_so_in_a_file_of_an_earlier_version(tmp_path, sentence):
    path = tmp_path / "a.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(0)])
    set_warning(path, 1, sentence, sentence)
    assert open_store(path).run().doubts == [sentence]
