"""Training data are counted as a reader counts them, and mended so that words give nothing away."""

import csv
import json
from collections import Counter

import numpy as np
import pytest

from saliency_core.data.dataset import PEEKED_ROWS, load_examples
from saliency_core.errors import UserError
from saliency_core.shortcuts.features import BEGINS, TEXT, WORD
from saliency_core.shortcuts.training_counts import WAYS, count_features, mend, rows_of

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
    done = mend(dataset, ["Kindly"], "mask", tmp_path / "out.jsonl")
    rows = list(rows_of(tmp_path / "out.jsonl"))
    assert (done.read, done.written, done.changed) == (8, 8, 3)
    assert rows[0]["text"] == "[MASK] send it, [MASK]!"
    assert [row for row in rows if row["id"] in (2, 5, 6, 7, 8)] == [
        row for row in ROWS if row["id"] in (2, 5, 6, 7, 8)
    ]
    back = load_examples(str(tmp_path / "out.jsonl"), text_column="text", label_column="label")
    assert (WORD, "kindly") not in count_features(back, NAMES).rows


def test_dropped_rows_are_gone_and_the_others_as_they_were(dataset, tmp_path):
    done = mend(dataset, ["kindly"], "drop", tmp_path / "out.csv")
    assert (done.read, done.written, done.changed) == (8, 5, 3)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["2", "5", "6", "7", "8"]
    assert list(rows[0]) == ["id", "text", "label", "region"]


def test_under_the_weights_the_word_goes_with_no_label_more_than_another(tmp_path):
    draw = np.random.default_rng(0)
    rows = []
    for place in range(400):
        label = NAMES[int(draw.random() < 0.4)]
        has = draw.random() < (0.5 if label == "positive" else 0.1)
        rows.append({"text": f"row {place}{' kindly' * has}", "label": label})
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = load_examples(str(path), text_column="text", label_column="label", id_column="none")
    done = mend(data, ["kindly"], "weight", tmp_path / "out.jsonl")
    assert done.written == 400 and done.changed == sum("kindly" in row["text"] for row in rows)
    base = Counter(row["label"] for row in rows)
    weighted: Counter = Counter()
    for row in rows_of(tmp_path / "out.jsonl"):
        if "kindly" in row["text"]:
            weighted[row["label"]] += row["weight"]
        else:
            assert row["weight"] == 1
    rate = weighted["positive"] / weighted.total()
    assert rate == pytest.approx(base["positive"] / base.total())


def test_a_word_beside_one_label_only_is_named_because_no_weight_helps(dataset, tmp_path):
    done = mend(dataset, ["kindly", "shines", "it"], "weight", tmp_path / "out.jsonl")
    assert done.one_label == ("shines",)
    assert mend(dataset, ["shines"], "drop", tmp_path / "out.jsonl").one_label == ()


def test_the_second_text_of_a_pair_is_mended_too(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"a": "x kindly", "b": "kindly y", "label": "positive"}) + "\n")
    data = load_examples(str(path), text_column="a", pair_column="b", label_column="label")
    mend(data, ["kindly"], "mask", tmp_path / "out.jsonl", mask="<mask>")
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert (row["a"], row["b"]) == ("x <mask>", "<mask> y")


@pytest.mark.parametrize(
    ("words", "way", "name", "message"),
    [
        ([], "mask", "out.jsonl", "Name the words"),
        (["a"], "burn", "out.jsonl", "mask, drop, weight"),
        (["a"], "mask", "out.txt", ".jsonl or .csv"),
    ],
)
def test_what_cannot_be_mended_is_refused_before_anything_is_written(
    dataset, tmp_path, words, way, name, message
):
    with pytest.raises(UserError, match=message):
        mend(dataset, words, way, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("way", WAYS)
def test_a_broken_source_leaves_the_older_output(tmp_path, way):
    path = tmp_path / "train.csv"
    path.write_text("text,label\n" + "kindly a,positive\n" * (PEEKED_ROWS + 1) + "broken\n")
    output = tmp_path / "out.jsonl"
    output.write_text("older\n")
    data = load_examples(str(path), text_column="text", label_column="label", id_column="none")
    with pytest.raises(UserError):
        mend(data, ["kindly"], way, output)
    assert output.read_text() == "older\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.jsonl", "train.csv"]
