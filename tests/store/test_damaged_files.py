"""Files that can't be written, are damaged, or hold words that errors use too."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from saliency_core.errors import UserError
from saliency_core.store import open_store, open_writer
from tests.support.command_line import ended
from tests.support.odd_runs import rows, write

READING = (["info"], ["errors"], ["words"], ["slices", "list"], ["layers"])


def test_an_error_that_quotes_a_text_is_not_told_by_its_words(tmp_path):
    path = tmp_path / "x.sqlite"
    write(path, rows(3, lambda n: "the disk is full and locked, not a database"))
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER texts_au")
        connection.execute("UPDATE texts SET text = CAST(x'ff' || CAST(text AS BLOB) AS TEXT)")
    with pytest.raises(UserError, match="is damaged or cut short"):
        open_store(path).run().filter().examples()
    assert "damaged" in ended("errors", "--db", path)


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_page_ends_in_a_sentence_or_in_an_answer(seed, tmp_path):
    path = tmp_path / "x.sqlite"
    write(path, rows(40))
    draw, data = np.random.default_rng(seed), bytearray(path.read_bytes())
    at = int(draw.integers(len(data) // 8192)) * 8192
    half = at + 4096 if seed % 2 else at
    data[half : at + 8192] = draw.bytes(at + 8192 - half)
    path.write_bytes(data)
    for command in READING:
        assert ended(*command, "--db", path)


def test_a_block_that_does_not_fit_is_never_summed(tmp_path):
    path = tmp_path / "x.sqlite"
    write(path, rows(40))
    from saliency_core.store.format.codec import pack

    with sqlite3.connect(path) as connection:
        size = connection.execute("SELECT length(occurrences) FROM postings").fetchone()[0]
        wrong = pack(np.full(size, 60_000, np.uint16), compress=False)
        connection.execute("UPDATE postings SET occurrences = ?", (wrong,))
    with pytest.raises(UserError, match="is damaged or cut short"):
        open_store(path).run().filter().word_sums(2)


def test_a_closed_writer_leaves_no_log_that_another_file_would_inherit(tmp_path):
    path = tmp_path / "x.sqlite"
    write(path, rows(5))
    store = open_store(path)
    assert store.run().filter().count() == 5
    write(path, rows(9))
    assert store.run().filter().count() == 9
    log = path.with_name("x.sqlite-wal")
    assert not log.exists() or not log.stat().st_size


ANOTHER_USER = "setpriv --reuid=65534 --regid=65534 --clear-groups".split()
PROGRAM = """
import sys
from typer.testing import CliRunner
from saliency_core.cli import app
for line in sys.stdin.read().splitlines():
    done = CliRunner().invoke(app, line.split())
    kind = type(done.exception).__name__ if done.exception else ""
    print(kind, str(done.exception or done.output).replace(chr(10), " "))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("setpriv") is None,
    reason="takes the right to become another user",
)
def test_a_folder_that_cannot_be_written_is_read_and_said():
    folder = Path(tempfile.mkdtemp())
    try:
        path, logged = folder / "ro" / "x.sqlite", folder / "log" / "x.sqlite"
        for place in (path, logged):
            place.parent.mkdir()
        with open_writer(folder / "x.sqlite") as writer:
            write(path, rows(5))
            writer.connection.execute("CREATE TABLE more (x)")
            for name in ("x.sqlite", "x.sqlite-wal"):
                shutil.copy(folder / name, logged.parent)
        for place in (folder, path.parent, logged.parent):
            for file in place.iterdir():
                file.chmod(0o755 if file.is_dir() else 0o444)
        for place in (path.parent, logged.parent, folder):
            place.chmod(0o555)
        lines = [" ".join([*command, "--db", str(path)]) for command in READING]
        lines += [f"slices save x wrong --db {path}", f"export -o {path}.jsonl --db {path}"]
        lines += [f"info --db {logged}"]
        done = subprocess.run(
            [*ANOTHER_USER, sys.executable, "-c", PROGRAM],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            env={**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(Path.cwd())},
        )
        if done.returncode in (126, 127):
            pytest.skip("the interpreter is not for other users")
        said = done.stdout.splitlines()
        assert len(said) == len(lines), done.stderr
        assert all(one.startswith(" ") for one in said[: len(READING)]), said
        saving, exporting, log = said[len(READING) :]
        assert saving.startswith("UserError") and "cannot be written" in saving
        assert exporting.startswith("UserError") and "can't be written: Permission" in exporting
        assert log.startswith("UserError") and "x.sqlite-wal" in log
    finally:
        for place in (folder, *folder.iterdir()):
            place.chmod(0o755)
        shutil.rmtree(folder)
