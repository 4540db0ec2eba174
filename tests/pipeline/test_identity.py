"""Which run an audit goes on with: files, frames and datasets, from the file to the sentence."""

import os

import pandas as pd
import pytest

from saliency_core.data.dataset import load_examples
from saliency_core.pipeline.run_audit import audit
from saliency_core.store import open_store
from tests.support.notes import set_note
from tests.support.small_audit import contents, options
from tests.support.tiny_bert import save_tiny_bert


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_bert(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def database(tmp_path):
    return tmp_path / "x.sqlite"


def texts(database, run=None):
    return open_store(database).run(run).filter().examples()["text"].tolist()


def csv(path, *rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


LONG = [f"film {n} was good,{n % 3}" for n in range(8)]


def test_a_file_that_changed_is_one_run_of_its_rows(model, tmp_path, database):
    path, alone = csv(tmp_path / "reviews.csv", *LONG), tmp_path / "alone.sqlite"
    first = audit(model[0], path, db=database, options=options(model[1]))
    assert (first.changes, first.orphans) == (None, 0)
    set_note(database, 1, "2", "the label is wrong here", "LABEL_0")
    set_note(database, 1, "7", "soon gone")
    csv(path, "a brand new first row,1", *LONG[:5])
    result = audit(model[0], path, db=database, options=options(model[1]))
    assert (result.run, result.computed, result.orphans) == (1, 1, 1)
    assert "3 earlier rows are gone" in result.sentence()
    assert "1 note belongs to rows that are gone" in result.sentence()
    audit(model[0], path, db=alone, options=options(model[1]))
    assert texts(database) == texts(alone) and len(texts(database)) == 6
    plain = ["example", "id", "text", "gold", "predicted"]
    assert (
        open_store(database)
        .run()
        .filter()
        .examples()[plain]
        .equals(open_store(alone).run().filter().examples()[plain])
    )
    notes = open_store(database).run().notes()
    assert notes[["id", "note"]].values.tolist() == [["3", "the label is wrong here"]]
    again = audit(model[0], path, db=database, options=options(model[1]))
    assert (again.computed, again.changes, again.orphans) == (0, None, 1)


def test_one_file_by_any_path_is_one_run_and_two_files_are_two(
    model, tmp_path, database, monkeypatch
):
    one = csv(tmp_path / "one" / "d.csv", *LONG[:2])
    two = csv(tmp_path / "two" / "d.csv", *LONG[5:])
    (tmp_path / "link").symlink_to(one.parent)
    monkeypatch.chdir(two.parent)
    paths = ["d.csv", "../one/d.csv", two, one, os.path.relpath(two), tmp_path / "link" / "d.csv"]
    results = [audit(model[0], path, db=database, options=options(model[1])) for path in paths]
    assert [result.run for result in results] == [1, 2, 1, 2, 1, 2]
    assert [result.computed for result in results] == [3, 2, 0, 0, 0, 0]
    assert (len(texts(database, 1)), len(texts(database, 2))) == (3, 2)


def test_frames_and_datasets_are_known_by_their_rows_or_their_name(model, database):
    datasets = pytest.importorskip("datasets")
    train = pd.DataFrame({"text": ["train film", "a film"], "label": [0, 1]})
    test = pd.DataFrame({"text": ["test plot"], "label": [2]})

    def run(data, **choices):
        return audit(model[0], data, db=database, options=options(model[1], **choices)).run

    assert [run(train), run(test), run(train.copy())] == [1, 2, 1]
    assert run(datasets.Dataset.from_pandas(test)) == 2, "the same rows"
    assert [run(train, name="mine"), run(test, name="other"), run(test, name="mine")] == [3, 4, 3]
    assert (texts(database, 1), texts(database, 3)) == (train["text"].tolist(), ["test plot"])
    assert open_store(database).run(3).dataset.name == "mine"


def test_class_names_are_part_of_a_dataset():
    datasets = pytest.importorskip("datasets")
    rows = {"text": ["a"], "label": [0]}

    def identity(*names):
        features = datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(names))}
        )
        return load_examples(datasets.Dataset.from_dict(rows, features)).identified().identity

    assert identity("no", "yes") == identity("no", "yes") != identity("yes", "no")


def test_an_audit_stopped_while_its_file_changed_goes_on(model, tmp_path, database):
    path, alone = csv(tmp_path / "reviews.csv", *LONG), tmp_path / "alone.sqlite"
    audit(model[0], path, db=database, options=options(model[1]))
    csv(path, *LONG[4:], "one more,1", "and another,0", *LONG[:2])

    def stop(stage, done, total):
        if stage == "auditing" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(model[0], path, db=database, options=options(model[1]), progress=stop)
    store = open_store(database)
    assert set(texts(database)) <= {line.rsplit(",", 1)[0] for line in path.open()}
    assert store.run().status == "running" and store.run().layers().empty
    result = audit(model[0], path, db=database, options=options(model[1]))
    assert result.changes["gone"] == 2 and result.computed == 2
    audit(model[0], path, db=alone, options=options(model[1]))
    assert texts(database) == texts(alone)
    assert (
        open_store(database).run().layers().notna().equals(open_store(alone).run().layers().notna())
    )


def test_splits_and_limits(model, tmp_path, database):
    csv(tmp_path / "data" / "train.csv", *LONG[:5])
    csv(tmp_path / "data" / "test.csv", *LONG[4:])
    runs = [
        audit(model[0], tmp_path / "data", db=database, options=options(model[1], split=split)).run
        for split in ("train", "test", "train")
    ]
    assert runs == [1, 2, 1]
    csv(tmp_path / "data" / "train.csv", *LONG[1:])
    few = options(model[1], split="train", limit=2)
    assert audit(model[0], tmp_path / "data", db=database, options=few).computed == 0
    assert texts(database, 1) == ["film 1 was good", "film 2 was good"]
    assert texts(database, 2) == [f"film {n} was good" for n in range(4, 8)]
    whole = options(model[1], split="train")
    assert audit(model[0], tmp_path / "data", db=database, options=whole).computed == 0
    assert len(texts(database, 1)) == 7
    assert contents(database)
