"""What goes out of a file: every format holds the same, and comes back by its ids."""

import csv
import json
import shutil

import pandas as pd
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saliency_core.cli import app
from saliency_core.data.dataset import load_examples
from saliency_core.errors import UserError
from saliency_core.output.export import FORMATS, export, frame_as_csv, guard, records, unguard
from saliency_core.store import open_store, open_writer, set_verdict
from tests.support.notes import set_note
from tests.support.store_made_up import LABELS, LAYERS, example, write_all

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'=1", "＝1"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "a.sqlite"
    rows = [example(n) for n in range(30)]
    rows += [example(30 + n, f"{text} people") for n, text in enumerate(FORMULAS)]
    rows += [example(40, ""), example(41, "one two", "a pair")]
    rows.append(example(42, '😀 \n"quoted", it\'s'))
    with open_writer(path) as writer:
        write_all(writer, rows)
    set_note(path, 1, "id-3", "=cmd|' /C calc'!A0", "positive")
    for label in LABELS:
        set_verdict(path, 1, "people", label, "spurious", f"about {label}")
    return open_store(path)


def rows_of(path, format):
    """Return an exported file as JSON Lines would hold it."""
    if format == "jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if format == "parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    import datasets

    return list(datasets.load_from_disk(str(path)))


@pytest.mark.parametrize("format", ["jsonl", "parquet", "datasets"])
def test_every_format_holds_what_the_store_holds(format, store, tmp_path):
    path = tmp_path / f"out-{format}"
    done = export(store.run().filter(), path, format=format, layers=range(LAYERS + 1))
    rows = rows_of(path, format)
    assert done.examples == len(rows) == store.run().filter().count()
    for row in rows:
        kept = store.run().example(row["id"])
        assert (row["text"], row["pair"]) == (kept["text"], kept["pair"])
        assert (row["gold"], row["predicted"]) == (kept["gold"], kept["predicted"])
        assert row["label"] == kept["label"]
        for name, value in kept["metadata"].items():
            assert row["meta"][name] == pytest.approx(value)
        for place, name in enumerate(LABELS):
            assert row["probabilities"][name] == pytest.approx(float(kept["probabilities"][place]))
        texts = [row["text"], row["pair"]]
        for layer in range(LAYERS + 1):
            words = row["layers"][str(layer)]
            assert [word["word"] for word in words] == kept["words"]
            assert all(
                texts[word["side"]][word["start"] : word["end"]] == word["word"] for word in words
            )
            total = sum(word["score"] for word in words)
            if words:
                assert total == pytest.approx(kept["saliency"]["predicted"][layer].sum(), abs=1e-3)


def test_notes_and_verdicts_go_with_their_examples(store):
    rows = list(records(store.run().filter(), layers=[]))
    (noted,) = [row for row in rows if row["note"]]
    assert (noted["id"], noted["proposed_label"]) == ("id-3", "positive")
    with_verdict = [row["id"] for row in rows if row["verdicts"]]
    holding = store.run().filter("word:people").examples()
    assert with_verdict == holding["id"].tolist()
    assert all(
        [verdict["class"] for verdict in row["verdicts"]] == [row["predicted"]]
        for row in rows
        if row["verdicts"]
    )


def test_a_slice_and_its_recommended_layer_are_the_default(store, tmp_path):
    done = export(store.run().filter("wrong predicted:positive"), tmp_path / "a.jsonl")
    assert done.layers == [2]
    rows = rows_of(tmp_path / "a.jsonl", "jsonl")
    assert (
        0
        < len(rows)
        == store.run().filter("wrong predicted:positive").count()
        < store.run().filter().count()
    )
    assert all(row["predicted"] == "positive" != row["gold"] for row in rows)
    assert set(rows[0]["layers"]) == {"2"}


def test_a_csv_holds_no_formula_and_loses_nothing(store, tmp_path):
    export(store.run().filter(), tmp_path / "a.csv", layers=[0, 2])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    wanted = {row["id"]: row for row in records(store.run().filter(), layers=[0, 2])}
    assert len(cells) == len(wanted)
    numbers = {"confidence", "margin", "chars_seen", "chars_total"}
    for row in cells:
        kept = wanted[unguard(row["id"])]
        assert unguard(row["text"]) == kept["text"]
        assert unguard(row["note"]) == (kept["note"] or "")
        assert json.loads(row["words@2"]) == kept["layers"]["2"]
        assert row["meta.region"] == (kept["meta"]["region"] or "")
        for name, cell in row.items():
            if name not in numbers and not name.startswith(("p.", "meta.score")):
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")), (name, cell)
    frame = pd.read_csv(tmp_path / "a.csv")
    assert frame["confidence"].dtype.kind == "f"


@given(st.text() | st.sampled_from(FORMULAS))
def test_the_guard_comes_off_again(text):
    assert unguard(guard(text)) == text
    assert not guard(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_is_a_dataset_with_the_same_ids(format, store, tmp_path):
    path = tmp_path / (f"a.{format}" if format != "datasets" else "folder")
    export(store.run().filter(), path, format=format)
    again = list(load_examples(path, label_column="gold", id_column="id"))
    assert [example.id for example in again] == store.run().filter().examples()["id"].tolist()
    undo = unguard if format == "csv" else str
    assert [undo(example.text) for example in again] == store.run().filter().examples()[
        "text"
    ].tolist()


def test_what_was_there_stays_where_an_export_fails(store, tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_text("before")
    monkeypatch.setattr("saliency_core.output.export.json.dumps", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(store.run().filter(), path)
    assert path.read_text() == "before"
    assert [child.name for child in tmp_path.iterdir()] == ["a.jsonl"]
    monkeypatch.undo()
    export(store.run().filter(), path)
    assert len(rows_of(path, "jsonl")) == store.run().filter().count()
    assert [child.name for child in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_folder_is_replaced_only_where_it_is_an_export(store, tmp_path):
    folder = tmp_path / "out"
    export(store.run().filter("wrong"), folder)
    export(store.run().filter(), folder)
    assert len(rows_of(folder, "datasets")) == store.run().filter().count()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.doc").write_text("dear")
    said = f"The folder {other} contains something else; choose another --output."
    assert refused(store, other) == said


def refused(store, output, where="", **choices):
    with pytest.raises(UserError) as caught:
        export(store.run().filter(where), output, **choices)
    return str(caught.value)


def test_what_cannot_be_exported_says_so(store, tmp_path):
    assert refused(store, tmp_path / "a.xlsx") == (
        f"{tmp_path / 'a.xlsx'} has no ending that names a format; choose --format jsonl, csv, "
        "parquet, datasets."
    )
    assert refused(store, tmp_path / "a.csv", layers=[9]) == (
        "Run 1 has no layer 9; it has 0 to 3."
    )
    assert refused(store, store.path, format="csv") == (
        f"{store.path} is the database itself; choose another --output."
    )
    assert refused(store, tmp_path / "no" / "a.csv") == (
        f"There is no folder {tmp_path / 'no'} to write a.csv into."
    )
    assert "wrong" in refused(store, tmp_path / "a.csv", where="wrng")


def test_an_empty_slice_is_an_empty_file(store, tmp_path):
    for format in ("jsonl", "csv", "parquet"):
        done = export(store.run().filter("id:nobody"), tmp_path / f"a.{format}")
        assert done.examples == 0
        assert (tmp_path / f"a.{format}").is_file()


def test_the_command_prints_its_object(store, tmp_path):
    from typer.testing import CliRunner

    path = tmp_path / "a.jsonl"
    arguments = ["export", "--db", str(store.path), "--layers", "all", "-o", str(path), "--json"]
    printed = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert json.loads(printed.stdout) == {
        "output": str(path),
        "format": "jsonl",
        "run": 1,
        "examples": store.run().filter().count(),
        "layers": [0, 1, 2, 3],
    }
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert {"id", "text", "gold", "predicted", "probabilities", "layers", "note", "verdicts"} <= {
        *first
    }
    arguments[4] = "some"
    refused = CliRunner().invoke(app, [*arguments, "--force"])
    assert "neither all, none nor numbers from 0 to 3" in str(refused.exception)


def test_a_copy_of_the_file_alone_holds_everything(tmp_path):
    path, copy = tmp_path / "a.sqlite", tmp_path / "copy.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(n) for n in range(5)])
        reader = open_store(path)
        assert reader.run().filter().count() == 5
    set_note(path, 1, "id-3", "seen")
    shutil.copy(path, copy)
    copied = open_store(copy)
    assert copied.run().filter().count() == 5
    assert copied.run().note("id-3")["note"] == "seen"


def test_a_table_as_csv_holds_no_formula_and_keeps_its_numbers():
    frame = pd.DataFrame({"=name": FORMULAS, "n": -1.5, "list": [[0.5, None]] * len(FORMULAS)})
    head, *rows = csv.reader(frame_as_csv(frame).decode().splitlines())
    assert head == ["'=name", "n", "list"]
    assert [unguard(row[0]) for row in rows] == FORMULAS
    assert all(row[0].startswith("'") and row[1:] == ["-1.5", "[0.5, null]"] for row in rows)
