"""Audits killed, side by side and on a full disk; what a changed model hits and misses."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from saliency_core.pipeline.run_audit import audit
from saliency_core.store import open_store
from tests.support.paths import ROOT
from tests.support.small_audit import contents, options, write_csv
from tests.support.tiny_bert import save_tiny_bert


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_bert(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def reviews(tmp_path):
    return write_csv(tmp_path / "reviews.csv", rows=240)


SCRIPT = """
import os, resource, signal, sys
sys.path.insert(0, {root!r})
from saliency_core.pipeline import batching
from tests.support.killing import kill_again_and_again, statements_of
from tests.support.small_audit import options
from saliency_core.saliency import attributor
from saliency_core.pipeline.run_audit import audit
from saliency_core.errors import UserError
from saliency_core.store import open_store

model, head, reviews = sys.argv[1:4]
original = attributor.Attributor.compute

def work(database):
    def counted(self, encodings, gold):
        computed = original(self, encodings, gold)
        texts = [",".join(map(str, encoding.input_ids)) for encoding in encodings]
        with open(database + ".log", "a") as file:
            file.write(" ".join(texts) + chr(10))
        return computed

    attributor.Attributor.compute = counted
    try:
        audit(model, reviews, db=database, options=options(head))
    except UserError as error:
        print(error, file=sys.stderr)
        os._exit(2)
"""

# Small blocks: a kill undoes a transaction, so the largest must be a small part of the work.
KILLS = """
batching.BLOCK = 16
whole, killed = sys.argv[4:]
statements = statements_of(lambda: work(whole))
print(kill_again_and_again(lambda: work(killed), statements, seed=5))
"""

ONCE = """
work(sys.argv[4])
"""


def script(body, model, *paths, **values):
    """Return the command that runs a script on a model, a CSV and databases."""
    code = SCRIPT.format(root=str(ROOT)) + body.format(**values)
    return [sys.executable, "-c", code, *model[:2], *map(str, paths)]


def run(command, **choices):
    # Sums depend on the number of threads in their last bit, so all audits use one.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, **choices)


def batches(database):
    """Return the batches the model computed for a file."""
    log = Path(f"{database}.log")
    return [tuple(line.split()) for line in log.read_text().splitlines()]


@pytest.mark.slow
def test_twenty_kills_leave_what_one_audit_leaves(model, tmp_path):
    reviews = write_csv(tmp_path / "reviews.csv", rows=120)
    whole, killed = tmp_path / "whole.sqlite", tmp_path / "killed.sqlite"
    done = run(script(KILLS, model, reviews, whole, killed))
    assert done.returncode == 0, done.stderr
    kills = int(done.stdout)
    assert kills >= 20
    assert contents(killed) == contents(whole)
    again = Counter(batches(killed))
    # A kill costs the batch whose results were on their way into the file, never more.
    assert set(again) == set(batches(whole))
    assert sum(again.values()) - len(again) <= kills
    connection = sqlite3.connect(killed)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


@pytest.mark.slow
def test_two_audits_write_one_file_while_a_reader_pages(model, tmp_path):
    database = tmp_path / "both.sqlite"
    first = write_csv(tmp_path / "first.csv", rows=150)
    second = write_csv(tmp_path / "second.csv", rows=150, labels=2)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    audits = [
        subprocess.Popen(
            script(ONCE, model, source, database),
            env=environment,
            stderr=subprocess.PIPE,
        )
        for source in (first, second)
    ]
    pages = 0
    while any(process.poll() is None for process in audits):
        if not database.exists() or not database.stat().st_size:
            continue
        pages += page(database)
    errors = [process.communicate()[1].decode() for process in audits]
    assert [process.returncode for process in audits] == [0, 0], errors
    assert not any("locked" in error for error in errors)
    assert pages > 0
    store = open_store(database)
    assert [store.run(run).filter().count() for run in (1, 2)] == [150, 150]
    assert store.run(1).is_complete() and store.run(2).is_complete()


def page(database) -> int:
    """Read what a page of the dashboard reads; return the pages seen."""
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        begun = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE name = 'token_summary'"
        ).fetchone()[0]
        connection.close()
    except sqlite3.OperationalError:
        return 0  # The very first moments, before the file is one of ours.
    if not begun:
        return 0
    store = open_store(database)
    runs = store.runs()
    if runs.empty:
        return 0
    for number in runs["run"]:
        frame = store.run(number).filter().examples(limit=20, sort="confidence")
        store.run(number).top_words(frame["example"].tolist(), 1)
        assert len(frame) == min(20, len(frame))
    return 1


FULL = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
work(sys.argv[4])
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [200_000, 450_000])
def test_a_file_that_may_not_grow_is_one_sentence_and_loses_nothing(
    model, reviews, tmp_path, limit
):
    database = tmp_path / "full.sqlite"
    done = run(script(FULL, model, reviews, database, limit=limit))
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "full" in done.stderr and "What was stored is kept" in done.stderr
    held = 0
    if database.stat().st_size:
        connection = sqlite3.connect(database)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        if "examples" in tables:
            held = connection.execute("SELECT count(chunk) FROM examples").fetchone()[0]
        connection.close()
    if limit >= 450_000:
        assert held > 0
    result = audit(model[0], reviews, db=database, options=options(model[1]))
    assert result.computed <= len(set(reviews.read_text().splitlines())) - held // 2
    assert open_store(database).run().filter().count() == 240


# Content keys of real models


def computed(model, reviews, database, **choices) -> int:
    return audit(model[0], reviews, db=database, options=options(model[1], **choices)).computed


@pytest.fixture
def audited(model, tmp_path):
    """Return a copy of the model, a CSV and a file that holds its audit."""
    folder = tmp_path / "mine"
    shutil.copytree(model[0], folder)
    reviews = write_csv(tmp_path / "few.csv", rows=30)
    database = tmp_path / "a.sqlite"
    assert computed((str(folder), model[1]), reviews, database) > 0
    return folder, reviews, database


def change_one_weight(folder, end="query.weight") -> None:
    path = Path(folder) / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in sorted(weights) if name.endswith(end))
    weights[name] = weights[name].clone()
    weights[name][0, 0] += 1e-3
    save_file(weights, path, {"format": "pt"})


def test_a_weight_changed_in_place_hits_nothing(model, audited):
    folder, reviews, database = audited
    before = computed((str(folder), model[1]), reviews, database)
    change_one_weight(folder)
    after = computed((str(folder), model[1]), reviews, database)
    texts = {line.rsplit(",", 2)[0] for line in reviews.read_text().splitlines()[1:]}
    assert (before, after) == (0, len(texts))


def test_a_renamed_and_a_copied_folder_hit_everything(model, audited, tmp_path):
    folder, reviews, database = audited
    shutil.copytree(folder, tmp_path / "copy")
    assert computed((str(tmp_path / "copy"), model[1]), reviews, database) == 0
    folder.rename(tmp_path / "renamed")
    assert computed((str(tmp_path / "renamed"), model[1]), reviews, database) == 0


@pytest.mark.parametrize("what", ["head", "tokenizer", "max length", "target", "steps"])
def test_what_changes_a_score_misses(model, audited, tmp_path, what):
    folder, reviews, database = audited
    head, choices = model[1], {}
    if what == "head":
        shutil.copytree(head, tmp_path / "head")
        head = str(tmp_path / "head")
        change_one_weight(head, "transform.dense.weight")
    elif what == "tokenizer":
        shutil.copytree(head, tmp_path / "head")
        head = str(tmp_path / "head")
        for place in (folder, head):
            swap_words(place)
    else:
        choices = {
            "max length": {"max_length": 7},
            "target": {"target": "gold"},
            "steps": {"steps": 1},
        }[what]
    texts = {line.rsplit(",", 2)[0] for line in reviews.read_text().splitlines()[1:]}
    found = computed((str(folder), head), reviews, database, **choices)
    assert found >= len(texts)


def swap_words(folder) -> None:
    """Give two words of a tokenizer each other's ids."""
    path = Path(folder) / "tokenizer.json"
    stored = json.loads(path.read_text())
    words = stored["model"]["vocab"]
    words["good"], words["bad"] = words["bad"], words["good"]
    path.write_text(json.dumps(stored))
