"""The queries of docs/file-format.md give rows, and the document names every table."""

import re
import sqlite3
import subprocess
import sys

import pytest

from saliency_core.store import open_store, open_writer, save_evaluation
from tests.support.notes import set_note
from tests.support.paths import ROOT
from tests.support.store_made_up import LABELS, audit, example, gold_of, write_all

TEXT = (ROOT / "docs" / "file-format.md").read_text("utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("format") / "a.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(n) for n in range(80)])
    save_evaluation(path, 1, [{"method": "ours", "layer": 1, "comprehensiveness": 0.5}])
    set_note(path, 1, "id-2", "look", "positive")
    return path


@pytest.fixture
def connection(path):
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    yield connection
    connection.close()


def test_there_are_queries():
    assert len(QUERIES) >= 8


@pytest.mark.parametrize("query", QUERIES)
def test_a_documented_query_gives_rows(connection, query):
    rows = connection.execute(query).fetchall()
    assert rows
    assert all(any(value is not None for value in row) for row in rows)


def test_every_table_is_documented(connection):
    names = {
        row[0]
        for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not row[0].startswith(("texts_fts_", "sqlite_", "_sqlite"))
    }
    assert {name for name in names if f"`{name}`" not in TEXT} == set()


def test_views_say_what_the_reader_says(path, connection):
    store = open_store(path)
    wrong = connection.execute(
        "SELECT id, gold, predicted, confidence FROM misclassified WHERE run = 1 ORDER BY position"
    ).fetchall()
    frame = store.run().filter("wrong").examples()
    assert wrong == list(
        frame[["id", "gold", "predicted", "confidence"]].itertuples(index=False, name=None)
    )
    recommended = connection.execute(
        "SELECT layer FROM layer_summary WHERE run = 1 AND recommended"
    ).fetchall()
    assert recommended == [(store.run().recommended,)]


def test_token_summary_is_the_plain_mean_over_examples(connection):
    shares: dict = {}
    for row in (example(n) for n in range(80)):
        audited = audit(row, gold_of(row))
        if not audited.saliency:
            continue
        scores = [0.0] * len(audited.words)
        for token, word in enumerate(audited.word_of_token):
            scores[word] += float(audited.saliency[0].scores[2][token])
        total = sum(max(score, 0) for score in scores)
        own: dict = {}
        for word, score in zip(audited.words, scores, strict=True):
            own[word.lower()] = own.get(word.lower(), 0) + (max(score, 0) / total if total else 0)
        for word, share in own.items():
            shares.setdefault((LABELS[audited.predicted], word), []).append(share)
    rows = connection.execute(
        "SELECT class, word, examples, mean_share FROM token_summary WHERE run = 1"
    ).fetchall()
    expected = {key: found for key, found in shares.items() if len(found) >= 5}
    assert {(row[0], row[1]): row[2] for row in rows} == {k: len(v) for k, v in expected.items()}
    for label, word, examples, mean in rows:
        assert mean == pytest.approx(sum(expected[label, word]) / examples, rel=1e-3)


def test_sqlite_utils_opens_the_file(path):
    command = [sys.executable, "-m", "sqlite_utils", "rows", str(path), "misclassified"]
    done = subprocess.run([*command, "--limit", "2"], capture_output=True, text=True, check=True)
    assert '"confidence"' in done.stdout
