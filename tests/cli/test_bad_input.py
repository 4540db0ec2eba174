"""What bad input gets on the command line: one sentence, exit status 2, nothing half-written.

The sentences of files and columns are in test_data.py, of labels in test_labels.py, of the store
in test_store.py.
"""

import json
import shutil
import sqlite3
import sys

import numpy as np
import pandas as pd
import pytest

from saliency_core.cli import main
from saliency_core.model.loading import load_classifier
from tests.support.small_audit import write_csv
from tests.support.tiny_bert import save_tiny_bert


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a model, its language model, data, and what can be wrong with them."""
    folder = tmp_path_factory.mktemp("bad")
    save_tiny_bert(folder)
    write_csv(folder / "reviews.csv")
    frame = pd.read_csv(folder / "reviews.csv")
    frame.assign(label=frame["label"].map(dict(enumerate("abc")))).to_csv(
        folder / "letters.csv", index=False
    )
    frame.assign(label=frame["label"] + 1).to_csv(folder / "from-one.csv", index=False)
    frame.drop(columns="label").to_csv(folder / "unlabelled.csv", index=False)
    classifier = load_classifier(str(folder / "model"), lm_head=str(folder / "lm"))
    predicted = classifier.logits(classifier.encode(frame["text"].tolist())).argmax(axis=1)
    evenly = [
        row for label in range(3) for row in np.resize(np.flatnonzero(predicted == label), 20)
    ]
    turned = pd.DataFrame({"text": frame["text"][evenly], "label": (predicted[evenly] + 1) % 3})
    turned.to_csv(folder / "turned.csv", index=False)
    (folder / "ragged.csv").write_text("text,label\nthe film,0\nbad, very bad,1\n")
    (folder / "ids.csv").write_text("id,text,label\n7,the film,0\n7,bad,1\n")
    (folder / "pointer.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha\n")
    (folder / "latin.csv").write_bytes(b"text,label\nfilm,0\nna\xefve,1\n")
    (folder / "empty.csv").write_bytes(b"")
    (folder / "broken.sqlite").write_bytes(b"SQLite format 3\0" + b"no" * 4000)
    with sqlite3.connect(folder / "other.sqlite") as other:
        other.execute("CREATE TABLE sales (year INTEGER)")
    shutil.copytree(folder / "model", folder / "no-tokenizer")
    (folder / "no-tokenizer" / "tokenizer.json").unlink()
    shutil.copytree(folder / "model", folder / "no-weights")
    (folder / "no-weights" / "model.safetensors").unlink()
    return folder


def said(folder, monkeypatch, capsys, *arguments):
    """Run the program; return its exit status and what it wrote on standard error."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["saliency", *arguments])
    status = 0
    try:
        main()
    except SystemExit as done:
        status = done.code or 0
    return status, " ".join(capsys.readouterr().err.split())


AUDITS = {
    "missing": ("absent.tsv", [], "There is no file 'absent.tsv'."),
    "near": ("review.csv", [], "There is no file 'review.csv'. Did you mean 'reviews.csv'?"),
    "empty": ("empty.csv", [], "empty.csv is empty."),
    "pointer": (
        "pointer.csv",
        [],
        "pointer.csv is a git-LFS pointer, not the data; fetch the data with `git lfs pull`.",
    ),
    "encoding": (
        "latin.csv",
        [],
        "latin.csv, line 3: byte 0xef at place 3 is not UTF-8; save the file as UTF-8.",
    ),
    "ragged": (
        "ragged.csv",
        [],
        "ragged.csv, line 3: 3 cells where there should be 2 (text, label); quote cells that hold "
        "the separator.",
    ),
    "ids": (
        "ids.csv",
        [],
        "ids.csv: id '7' stands in row 1 and in row 2; ids must differ. The column 'id' was taken "
        "for the id; name another with --id-column, or --id-column none to number the rows.",
    ),
    "column": (
        "reviews.csv",
        ["--text-column", "txt"],
        "reviews.csv has no column 'txt'; its columns are text, label, source. Did you mean "
        "'text'?",
    ),
    "letters": (
        "letters.csv",
        [],
        "The labels of the dataset (a, b, c) are not those of the model (LABEL_0, LABEL_1, "
        "LABEL_2). If they mean the same in this order, give --label-map "
        '"a=LABEL_0,b=LABEL_1,c=LABEL_2".',
    ),
    "from one": (
        "from-one.csv",
        [],
        "The labels of the dataset (1, 2, 3) are not those of the model (LABEL_0, LABEL_1, "
        "LABEL_2). The ids count from 1. If they mean the same in this order, give --label-map "
        '"1=LABEL_0,2=LABEL_1,3=LABEL_2".',
    ),
    "no pair": (
        "reviews.csv",
        ["--label-map", "0"],
        "--label-map: '0' is not of the form DATASET_LABEL=MODEL_LABEL.",
    ),
    "no label": (
        "reviews.csv",
        ["--label-map", "0=good"],
        "--label-map: the model has no label 'good'; its labels are LABEL_0, LABEL_1, LABEL_2.",
    ),
    "predictions": (
        "reviews.csv",
        ["--predictions-from", "served"],
        "--predictions-from: reviews.csv has no column 'served'; its other columns are source.",
    ),
    "target": (
        "reviews.csv",
        ["--target", "class:good"],
        None,
    ),
    "length": (
        "reviews.csv",
        ["--max-length", "100"],
        "--max-length 100 is more than model can take, which is 64.",
    ),
    "device": (
        "reviews.csv",
        ["--device", "toaster"],
        "--device 'toaster' is unknown; choose auto, cpu or cuda.",
    ),
}


@pytest.mark.parametrize("name", AUDITS)
def test_an_audit_of_what_cannot_be_audited(name, folder, monkeypatch, capsys):
    dataset, options, sentence = AUDITS[name]
    arguments = ["audit", "model", dataset, "--lm-head", "lm", "--db", "new.sqlite", *options]
    status, error = said(folder, monkeypatch, capsys, *arguments, "--quiet")
    assert status == 2
    assert error.startswith("Error: ")
    if sentence is None:
        assert "choose class:NAME of LABEL_0, LABEL_1, LABEL_2" in error
    else:
        assert error == f"Error: {sentence}"
    assert not (folder / "new.sqlite").exists()


def test_labels_in_another_order_stop_the_audit(folder, monkeypatch, capsys):
    arguments = ["audit", "model", "turned.csv", "--lm-head", "lm", "--db", "new.sqlite", "-q"]
    status, error = said(folder, monkeypatch, capsys, *arguments)
    assert status == 2
    found = pd.read_csv(folder / "turned.csv")
    assert error.startswith(
        f"Error: The labels of the dataset seem to be in another order than the model's: on "
        f"{len(found)} examples the model is right on 0%, and on 100% if 0=LABEL_2, "
        '2=LABEL_1. Repair it with --label-map "0=LABEL_2,2=LABEL_1", or say --trust-labels'
    )
    assert not (folder / "new.sqlite").exists()


MODELS = {
    "./nowhere": "There is no folder './nowhere'; give a model folder or a hub name.",
    "lm": "lm is not a fine-tuned classifier: it has no weights for",
    "no-weights": "Can't load the ",
    "no-tokenizer": "no-tokenizer has no tokenizer files (tokenizer.json, or a vocabulary such as "
    "vocab.txt); copy them from",
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_cannot_be_used(name, folder, monkeypatch, capsys):
    arguments = ["audit", name, "reviews.csv", "--db", "new.sqlite", "--quiet"]
    status, error = said(folder, monkeypatch, capsys, *arguments)
    assert status == 2
    assert f"Error: {MODELS[name]}" in error
    assert "Traceback" not in error
    assert not (folder / "new.sqlite").exists()


READINGS = {
    "no file": (
        ["runs", "--db", "no.sqlite"],
        "There is no database at no.sqlite. Make one with `saliency audit MODEL "
        "DATASET --db no.sqlite`.",
    ),
    "no audit": (
        ["info", "--db", "other.sqlite"],
        "other.sqlite is an SQLite file, but no audit wrote it.",
    ),
    "broken": (["layers", "--db", "broken.sqlite"], None),
    "slice": (["errors", "--db", "good.sqlite", "--where", "wrng"], None),
    "run": (["errors", "--db", "good.sqlite", "--run", "9"], None),
    "class": (
        ["words", "--db", "good.sqlite", "--class", "good"],
        "--class 'good' is not a label; choose from LABEL_0, LABEL_1, LABEL_2.",
    ),
    "layer": (["words", "--db", "good.sqlite", "--layer", "9"], None),
    "id": (
        ["what-if", "--db", "good.sqlite", "--example", "nobody", "--drop", "film"],
        "The run has no example 'nobody'.",
    ),
    "edits": (
        ["what-if", "--db", "good.sqlite", "--drop", "a", "--mask", "b"],
        "Choose one of --drop, --replace and --mask.",
    ),
    "format": (
        ["export", "--db", "good.sqlite", "-o", "a.xlsx"],
        "a.xlsx has no ending that names a format; choose --format jsonl, csv, parquet, datasets.",
    ),
    "notes": (["annotations", "import", "reviews.csv", "--db", "good.sqlite"], None),
}


@pytest.fixture(scope="module")
def audited(folder):
    """Audit data without labels once, for the commands that read."""
    from saliency_core import audit

    result = audit(
        str(folder / "model"),
        folder / "unlabelled.csv",
        db=folder / "good.sqlite",
        lm_head=str(folder / "lm"),
        evaluate=False,
    )
    return folder, result


def test_data_without_labels_are_audited_and_said_to_be(audited, monkeypatch, capsys):
    folder, result = audited
    assert (result.examples, result.failed) == (60, 0)
    sentence = "The dataset has no labels, so right and wrong are unknown."
    assert sentence in result.warnings
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["saliency", "info", "--db", "good.sqlite", "--json"])
    with pytest.raises(SystemExit):
        main()
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["accuracy"] is None
    assert sentence in run["warnings"]


@pytest.mark.parametrize("name", READINGS)
def test_a_question_that_cannot_be_answered(name, audited, monkeypatch, capsys):
    folder, _ = audited
    arguments, sentence = READINGS[name]
    before = sorted(path.name for path in folder.iterdir() if "sqlite-" not in path.name)
    status, error = said(folder, monkeypatch, capsys, *arguments)
    assert status == 2
    assert error.startswith("Error: ")
    assert sentence is None or error == f"Error: {sentence}"
    assert "Traceback" not in error
    after = sorted(path.name for path in folder.iterdir() if "sqlite-" not in path.name)
    assert before == after
