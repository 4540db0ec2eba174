"""The audit from a CSV and a model folder to the file, as a user runs it."""

import json
import os
import signal
import subprocess
import sys

import pytest

from saliency_core.errors import UserError
from saliency_core.pipeline.run_audit import audit
from saliency_core.store import open_store
from tests.support.small_audit import contents, options, write_csv
from tests.support.tiny_bert import save_tiny_bert


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_bert(tmp_path_factory.mktemp("tiny"))


def test_choices_beside_options_are_refused_by_name(model, tmp_path):
    choices = {"limit": 3, "seed": 1}
    with pytest.raises(UserError, match="not both; limit, seed would be ignored"):
        audit(model[0], "a.csv", db=tmp_path / "a.sqlite", options=options(model[1]), **choices)


def test_audit_stores_every_example_with_all_layers(model, tmp_path):
    path = write_csv(tmp_path / "reviews.csv")
    result = audit(model[0], path, db=tmp_path / "a.sqlite", options=options(model[1]))
    assert (result.examples, result.failed) == (60, 0)
    store = open_store(tmp_path / "a.sqlite")
    assert store.run().filter().count() == 60
    example = store.run().example(3)
    assert example["saliency"]["predicted"].shape == (4, len(example["tokens"]))
    assert example["metadata"] == {"source": "site 1"}


def test_a_second_audit_computes_nothing(model, tmp_path):
    path = write_csv(tmp_path / "reviews.csv")
    first = audit(model[0], path, db=tmp_path / "a.sqlite", options=options(model[1]))
    assert first.computed == len({line.rsplit(",", 2)[0] for line in path.open()}) - 1
    before = contents(tmp_path / "a.sqlite")
    second = audit(model[0], path, db=tmp_path / "a.sqlite", options=options(model[1]))
    assert (second.computed, second.reused) == (0, 60)
    assert "Nothing to compute" in second.sentence()
    assert contents(tmp_path / "a.sqlite") == before


def test_a_limit_is_lifted_and_set_again(model, tmp_path):
    path, database = write_csv(tmp_path / "reviews.csv"), tmp_path / "a.sqlite"
    first, whole, again = (
        audit(model[0], path, db=database, options=options(model[1], limit=limit))
        for limit in (20, None, 20)
    )
    assert first.run == whole.run == again.run == 1
    assert (first.examples, whole.examples, again.examples) == (20, 60, 20)
    assert 0 < whole.computed < 41 and again.computed == 0
    assert (
        open_store(database).run().is_complete()
        and open_store(database).run().filter().count() == 60
    )


KILLED_WITHIN_THE_FIFTH_BATCH = """
import os, runpy, signal
from saliency_core.store.write.writer import StoreWriter

insert, batches = StoreWriter.insert_chunk, []

def fatal(self, *arguments):
    insert(self, *arguments)
    batches.append(arguments)
    if len(batches) == 5:
        os.kill(os.getpid(), signal.SIGKILL)

StoreWriter.insert_chunk = fatal
runpy.run_module("saliency_core", run_name="__main__")
"""


@pytest.mark.slow
def test_killed_and_started_again_ends_the_same(model, tmp_path):
    path = write_csv(tmp_path / "reviews.csv", rows=400)

    def start(database, *program):
        command = [
            sys.executable, *program, "audit", model[0], str(path),
            "--lm-head", model[1], "--trust-labels", "--no-evaluate", "--batch-tokens", "64",
            "--db", str(tmp_path / database), "--quiet",
        ]  # fmt: skip
        # Sums depend on the number of threads in their last bit, so all runs use one.
        return subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode

    assert start("whole.sqlite", "-m", "saliency_core") == 0
    killed = start("killed.sqlite", "-c", KILLED_WITHIN_THE_FIFTH_BATCH)
    assert killed == -signal.SIGKILL
    assert 4 < open_store(tmp_path / "killed.sqlite").run().filter().count() < 400, (
        "four batches are stored"
    )
    assert start("killed.sqlite", "-m", "saliency_core") == 0
    again = audit(model[0], path, db=tmp_path / "killed.sqlite", options=options(model[1]))
    assert again.computed == 0
    assert contents(tmp_path / "killed.sqlite") == contents(tmp_path / "whole.sqlite")


def test_unknown_labels_name_the_map_that_repairs_them(model, tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\nthe film,cat\na plot,dog\n")
    with pytest.raises(UserError, match=r'--label-map "cat=LABEL_0,dog=LABEL_1"'):
        audit(model[0], path, db=tmp_path / "a.sqlite")
    assert not (tmp_path / "a.sqlite").exists()


def test_without_language_model_the_fallback_is_said(model, tmp_path):
    path = write_csv(tmp_path / "reviews.csv", rows=10)
    result = audit(model[0], path, db=tmp_path / "a.sqlite", options=options(None))
    assert any("tied input embeddings" in warning for warning in result.warnings)
    assert open_store(tmp_path / "a.sqlite").run().warnings == list(result.warnings)


def test_empty_texts_fail_alone(model, tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text('text,label\nthe film,0\n"  ",1\na plot,2\n')
    result = audit(model[0], path, db=tmp_path / "a.sqlite", options=options(model[1]))
    assert result.failed == 1
    assert open_store(tmp_path / "a.sqlite").run().filter("failed").count() == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["MODEL", "nowhere.csv"], "There is no file 'nowhere.csv'"),
        (["MODEL", "reviews.csv", "--text-column", "txt"], "Did you mean 'text'?"),
        (["./no-model", "reviews.csv"], "There is no folder './no-model'"),
        (["MODEL", "pointer.csv"], "git-LFS pointer"),
        (["MODEL", "reviews.csv", "--target", "class:x"], "choose class:NAME of LABEL_0"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(model, tmp_path, arguments, sentence):
    write_csv(tmp_path / "reviews.csv", rows=6)
    (tmp_path / "pointer.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha\n")
    arguments = [model[0] if argument == "MODEL" else argument for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "saliency_core", "audit", *arguments, "--db", "a.sqlite"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a.sqlite").exists()


@pytest.mark.slow
def test_reading_commands_print_the_documented_json(model, tmp_path):
    database = tmp_path / "a.sqlite"
    path = write_csv(tmp_path / "reviews.csv")
    audit(model[0], path, db=database, options=options(model[1]))

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "saliency_core", *arguments, "--db", str(database), "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    assert {"database", "version", "runs"} <= run("info").keys()
    layers = run("layers")
    assert {"run", "layers", "recommended", "most_readable", "tied"} <= layers.keys()
    assert [row["layer"] for row in layers["layers"]] == [0, 1, 2, 3]
    errors = run("errors", "--limit", "2")
    assert errors["total"] == open_store(database).run().filter("wrong").count()
    word = errors["rows"][0]["words"][0]
    assert errors["rows"][0]["text"][word["start"] : word["end"]] == word["word"]
    tokens = run("words", "--minimum", "1")
    assert {"word", "class", "examples", "mean_share", "low", "high"} <= tokens["words"][0].keys()
