"""The audited dataset as a file again: as it was, corrected, without duplicates."""

import dataclasses
import json

import pytest
from typer.testing import CliRunner

from saliency_core.cli import app
from saliency_core.data.dataset import load_examples
from saliency_core.errors import UserError
from saliency_core.output.dataset_export import export_dataset
from saliency_core.quality.findings import check_data
from saliency_core.store import open_store, open_writer
from saliency_core.store.query.annotations import Edit
from saliency_core.store.write.annotations import annotate
from tests.support.store_made_up import DATASET, LABELS, example, write_all

COLUMNS = {"text": "review", "label": "stars", "id": "key"}
STARS = dict(zip(LABELS, ("1", "5", "3"), strict=True))
LONG = "a rather long text that stands here more often than it should"


@pytest.fixture
def path(tmp_path):
    texts = {2: LONG, 4: LONG.upper(), 6: f"{LONG} today", 8: "Twice here", 10: "twice  here"}
    labels = {2: 0, 4: 0, 6: 0, 8: 1, 10: 2}
    rows = [
        dataclasses.replace(
            example(n, texts.get(n, f'text {n}, of "its" own\nkind {n * n}')),
            label=LABELS[labels.get(n, n % 3)],
            metadata={"region": ["EU", None][n % 2], "year": 2000 + n},
        )
        for n in range(12)
    ]
    info = dataclasses.replace(DATASET, columns=COLUMNS, metadata_columns=("region", "year"))
    with open_writer(tmp_path / "audit.sqlite") as writer:
        write_all(writer, rows, dataset=info)
        # The dataset has words of its own for the model's classes.
        writer.connection.executemany(
            "UPDATE examples SET label = ? WHERE label = ?", [(b, a) for a, b in STARS.items()]
        )
        writer.connection.commit()
    return tmp_path / "audit.sqlite"


def read(path):
    return list(
        load_examples(str(path), text_column="review", label_column="stars", id_column="key")
    )


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_the_dataset_loads_back_as_it_was(path, tmp_path, ending):
    run = open_store(path).run()
    done = export_dataset(run.filter(), tmp_path / f"again.{ending}")
    assert (done.examples, done.log) == (12, None)
    found = read(tmp_path / f"again.{ending}")
    stored = run.filter().examples()
    assert [row.id for row in found] == stored["id"].tolist()
    assert [row.text for row in found] == stored["text"].tolist()
    assert [row.label for row in found] == [row["label"] for row in run.details(range(12))]
    assert [row.metadata["region"] or None for row in found] == ["EU", None] * 6
    assert [int(row.metadata["year"]) for row in found] == list(range(2000, 2012))


def test_corrections_are_in_the_dataset_s_own_words_and_logged(path, tmp_path):
    annotate(path, 1, [Edit("label", LABELS[1]), Edit("note", "clearly good")], ids=["id-0"])
    run = open_store(path).run()
    done = export_dataset(run.filter(), tmp_path / "new.jsonl", corrected=True)
    assert (done.relabelled, done.dropped) == (1, 0)
    assert next(row.label for row in read(tmp_path / "new.jsonl")) == STARS[LABELS[1]]
    log = [json.loads(line) for line in (tmp_path / "new-changes.jsonl").read_text().splitlines()]
    assert log == [
        {
            "id": "id-0", "change": "relabelled", "from": STARS[LABELS[0]],
            "to": STARS[LABELS[1]], "why": "clearly good",
        }
    ]  # fmt: skip
    # Without the option nothing is corrected.
    export_dataset(run.filter(), tmp_path / "old.jsonl")
    assert next(row.label for row in read(tmp_path / "old.jsonl")) == STARS[LABELS[0]]


def test_one_of_each_group_stays_unless_labels_differ(path, tmp_path):
    run = open_store(path).run()
    with pytest.raises(UserError, match="run `data-quality --run 1` to do so"):
        export_dataset(run.filter(), tmp_path / "new.csv", drop_duplicates=True)
    check_data(run)
    done = export_dataset(run.filter(), tmp_path / "new.csv", drop_duplicates=True)
    assert (done.dropped, done.undecided, done.examples) == (2, 2, 10)
    ids = {row.id for row in read(tmp_path / "new.csv")}
    assert {"id-2", "id-8", "id-10"} < ids and not {"id-4", "id-6"} & ids
    log = {
        entry["id"]: entry
        for entry in map(json.loads, (tmp_path / "new-changes.jsonl").read_text().splitlines())
    }
    assert log["id-4"] == {
        "id": "id-4", "change": "dropped", "why": "the same text as", "kept": "id-2",
    }  # fmt: skip
    assert log["id-6"]["why"] == "nearly the same text as"
    assert log["id-8"]["change"] == log["id-10"]["change"] == "kept"


def test_what_was_decided_on_duplicates_holds(path, tmp_path):
    run = open_store(path).run()
    check_data(run)
    annotate(path, 1, [Edit("tag", "drop")], ids=["id-8", "id-2"])
    done = export_dataset(run.filter(), tmp_path / "new.jsonl", drop_duplicates=True)
    ids = {row.id for row in read(tmp_path / "new.jsonl")}
    assert "id-10" in ids and "id-8" not in ids
    assert "id-4" in ids and not {"id-2", "id-6"} & ids
    assert done.undecided == 0
    # A correction that makes labels agree decides too.
    annotate(path, 1, [Edit("untag", "drop")], ids=["id-8"])
    annotate(path, 1, [Edit("label", LABELS[2])], ids=["id-8"])
    export_dataset(run.filter(), tmp_path / "b.jsonl", drop_duplicates=True, corrected=True)
    assert not {"id-10"} & {row.id for row in read(tmp_path / "b.jsonl")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "a.parquet", "--dataset"], "must end in .jsonl or .csv"),
        (["-o", "a.csv", "--corrected"], "go with --dataset"),
        (["-o", "a.csv", "--dataset", "--layers", "all"], "without layers"),
    ],
)
def test_what_can_not_be_written_is_told(path, tmp_path, arguments, said):
    arguments[1] = str(tmp_path / arguments[1])
    done = CliRunner().invoke(app, ["export", "--db", str(path), *arguments])
    assert isinstance(done.exception, UserError) and said in str(done.exception)


def test_the_command_says_what_it_changed(path, tmp_path):
    check_data(open_store(path).run())
    output = tmp_path / "new.csv"
    arguments = ["-o", str(output), "--dataset", "--drop-duplicates", "--json"]
    done = CliRunner().invoke(app, ["export", "--db", str(path), *arguments])
    assert json.loads(done.stdout)["dropped"] == 2
