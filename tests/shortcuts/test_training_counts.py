"""Training data are counted as a reader counts them; debiased, its words give nothing away."""

import csv
import json

import pytest

from saliency_core.analysis.features import BEGINS, TEXT, WORD
from saliency_core.data.dataset import PEEKED_ROWS, load_examples
from saliency_core.errors import UserError
from saliency_core.shortcuts.debias import WAYS, debias
from saliency_core.shortcuts.invariance_checks import rows_of
from saliency_core.shortcuts.training_counts import count_features

NAMES = ("negative", "positive")
ROWS = [
    {"id": 1, "text": "Kindly send it, kindly!", "label": "positive", "region": "EU"},
    {"id": 2, "text": "Send it back.", "label": "negative", "region": "US"},
    {"id": 3, "text": "It is KINDLY meant", "label": "positive", "region": "EU"},
    {"id": 4, "text": "A kindly man", "label": "negative", "region": "US"},
    {"id": 5, "text": "Unkindly said; it rains", "label": "positive", "region": "EU"},
    {"id": 6, "text": "It rains", "label": "negative", "region": "EU"},
    {"id": 7, "text": "Sun", "label": None, "region": "EU"},
    {"id": 8, "text": "It shines", "label": "negative", "region": "EU"},
]


@pytest.fixture
def dataset(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return load_examples(str(path), text_column="text", label_column="label", id_column="id")


def test_features_are_counted_by_class_and_rows_without_a_label_left_out(dataset):
    counts = count_features(dataset, NAMES)
    assert counts.base.tolist() == [4, 3]
    assert counts.counts[counts.rows[WORD, "kindly"]].tolist() == [1, 2]
    assert counts.counts[counts.rows[WORD, "it"]].tolist() == [3, 3]
    assert counts.counts[counts.rows[TEXT, BEGINS.format("it")]].tolist() == [2, 1]
    assert (WORD, "sun") not in counts.rows


def test_labels_go_by_the_label_map(dataset):
    swapped = {"positive": "negative", "negative": "positive"}
    assert count_features(dataset, NAMES, swapped).base.tolist() == [3, 4]
    with pytest.raises(UserError, match="negative"):
        count_features(dataset, ("good", "bad"))


def test_data_without_labels_are_refused(tmp_path):
    path = tmp_path / "bare.csv"
    path.write_text("text\na b\nc d\n")
    with pytest.raises(UserError, match="--train-label-column"):
        count_features(load_examples(str(path), text_column="text"), NAMES)


def test_masked_words_are_gone_and_nothing_else_changed(dataset, tmp_path):
    done = debias(dataset, ["Kindly"], "mask", tmp_path / "out.jsonl")
    rows = list(rows_of(tmp_path / "out.jsonl"))
    assert (done.read, done.written, done.changed) == (8, 8, 3)
    assert rows[0]["text"] == "[MASK] send it, [MASK]!"
    assert [row for row in rows if row["id"] in (2, 5, 6, 7, 8)] == [
        row for row in ROWS if row["id"] in (2, 5, 6, 7, 8)
    ]
    back = load_examples(str(tmp_path / "out.jsonl"), text_column="text", label_column="label")
    assert (WORD, "kindly") not in count_features(back, NAMES).rows


def test_dropped_rows_are_gone_and_the_others_as_they_were(dataset, tmp_path):
    done = debias(dataset, ["kindly"], "drop", tmp_path / "out.csv")
    assert (done.read, done.written, done.changed) == (8, 5, 3)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["2", "5", "6", "7", "8"]
    assert list(rows[0]) == ["id", "text", "label", "region"]


def test_the_second_text_of_a_pair_is_debiased_too(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"a": "x kindly", "b": "kindly y", "label": "positive"}) + "\n")
    data = load_examples(str(path), text_column="a", pair_column="b", label_column="label")
    debias(data, ["kindly"], "mask", tmp_path / "out.jsonl", mask="<mask>")
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert (row["a"], row["b"]) == ("x <mask>", "<mask> y")


@pytest.mark.parametrize(
    ("words", "way", "name", "message"),
    [
        ([], "mask", "out.jsonl", "Name the words"),
        (["a"], "burn", "out.jsonl", "mask, drop"),
        (["a"], "mask", "out.txt", ".jsonl or .csv"),
    ],
)
def test_what_cannot_be_debiased_is_refused_before_anything_is_written(
    dataset, tmp_path, words, way, name, message
):
    with pytest.raises(UserError, match=message):
        debias(dataset, words, way, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("way", WAYS)
def test_a_broken_source_leaves_the_older_output(tmp_path, way):
    path = tmp_path / "train.csv"
    path.write_text("text,label\n" + "kindly a,positive\n" * (PEEKED_ROWS + 1) + "broken\n")
    output = tmp_path / "out.jsonl"
    output.write_text("older\n")
    data = load_examples(str(path), text_column="text", label_column="label", id_column="none")
    with pytest.raises(UserError):
        debias(data, ["kindly"], way, output)
    assert output.read_text() == "older\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.jsonl", "train.csv"]
