"""A folder of blocks holds one run, whole; anything else in it is one sentence."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from saliency_core.cli import app
from saliency_core.errors import UserError
from saliency_core.pipeline.ray.engine import kept_rows
from saliency_core.store import merge, open_store, open_writer
from saliency_core.store.format.block_folder import ROWS, RUN, BlockFolder
from saliency_core.store.format.wire import pack_results
from saliency_core.store.write.writer import StoreWriter
from tests.support.store_made_up import DATASET, MODEL, SETTINGS, audit, example, gold_of, write_all

COUNT = 30


def records(*positions):
    rows = [example(n) for n in positions]
    return [audit(row, gold_of(row)) for row in rows]


@pytest.fixture
def folder(tmp_path):
    """Two blocks of one run."""
    found = BlockFolder.begin(tmp_path / "blocks", DATASET, MODEL, SETTINGS)
    for part in (range(0, COUNT, 2), range(1, COUNT, 2)):
        with found.writer() as write:
            write(pack_results(records(*part)))
    assert len(found.files()) == 2
    return found


def test_blocks_become_the_file_that_the_same_results_make(folder, tmp_path):
    direct, merged = tmp_path / "direct.sqlite", tmp_path / "merged.sqlite"
    report = merge(merged, [folder.path])
    assert [(row["examples"], row["finished"]) for row in report["runs"]] == [(COUNT, False)]
    assert merge(merged, [folder.path])["runs"][0]["added"] == 0
    rows = [example(n) for n in range(COUNT)]
    with open_writer(direct) as writer:
        write_all(writer, rows)
    with open_writer(merged) as writer:
        assert write_all(writer, rows) == (1, 0), "nothing is left to compute"
    one, other = open_store(direct), open_store(merged)
    assert one.run().filter().examples().equals(other.run().filter().examples())
    assert one.run().layers().equals(other.run().layers())
    for position in range(COUNT):
        np.testing.assert_equal(other.run().example(position), one.run().example(position))


def test_files_and_folders_merge_into_one_run(folder, tmp_path):
    part, merged = tmp_path / "part.sqlite", tmp_path / "merged.sqlite"
    with open_writer(part) as writer:
        write_all(writer, [example(n) for n in range(COUNT - 5, COUNT + 10)])
    report = merge(merged, [part, folder.path])
    assert [(row["examples"], row["sources"]) for row in report["runs"]] == [(COUNT + 10, 2)]


def test_a_merge_that_was_stopped_goes_on(folder, tmp_path, monkeypatch):
    written = []

    def once(self, run, batch, original=StoreWriter.write_batch):
        if written:
            raise KeyboardInterrupt
        written.append(original(self, run, batch))

    monkeypatch.setattr(StoreWriter, "write_batch", once)
    with pytest.raises(KeyboardInterrupt):
        merge(tmp_path / "m.sqlite", [folder.path])
    monkeypatch.undo()
    assert merge(tmp_path / "m.sqlite", [folder.path])["runs"][0]["added"] == COUNT // 2


def test_many_tables_make_few_blocks_and_an_error_loses_none(tmp_path):
    found = BlockFolder.begin(tmp_path / "blocks", DATASET, MODEL, SETTINGS)
    tables = [pack_results(records(*range(start, start + 100))) for start in range(0, 700, 100)]
    with pytest.raises(RuntimeError), found.writer() as write:
        for table in tables:
            write(table)
        raise RuntimeError
    sizes = [len(found.read(file)) for file in found.files()]
    assert sizes[0] >= ROWS and sum(sizes) == 700 and len(sizes) == 2


def test_the_folder_of_a_run_goes_on_and_another_run_is_refused(folder, tmp_path):
    again = BlockFolder.begin(folder.path, DATASET, replace(MODEL, name="moved"), SETTINGS)
    assert again.files() == folder.files()
    with pytest.raises(UserError, match="holds blocks of another run"):
        BlockFolder.begin(folder.path, DATASET, MODEL, replace(SETTINGS, steps=9))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file; name a folder"):
        BlockFolder.begin(tmp_path / "file", DATASET, MODEL, SETTINGS)
    with pytest.raises(UserError, match="is not part of an audit"):
        BlockFolder.begin(tmp_path, DATASET, MODEL, SETTINGS)


def contents_of(*positions):
    rows = [example(n) for n in positions]
    return np.array([hash((row.text, row.pair, gold_of(row))) for row in rows])


def test_blocks_of_a_dataset_that_changed_are_computed_again(folder):
    first, second = folder.files()
    contents = contents_of(*range(COUNT))
    assert kept_rows(folder, contents).tolist() == list(range(COUNT))
    assert kept_rows(folder, contents[:10]).tolist() == list(range(10)), "a shorter --limit"
    assert folder.files() == [first, second]
    contents[7] += 1
    assert kept_rows(folder, contents).tolist() == list(range(0, COUNT, 2))
    assert folder.files() == [first]


def tear(folder):
    file = folder.files()[0]
    file.write_bytes(file.read_bytes()[:-100])


def foreign_table(folder):
    pq.write_table(pack_results(records(1)), folder.path / "other.parquet")


def foreign_file(folder):
    (folder.path / "notes.txt").write_text("mine")


def of_another_run(folder):
    other = BlockFolder.begin(
        folder.path.parent / "other", DATASET, MODEL, replace(SETTINGS, steps=9)
    )
    with other.writer() as write:
        write(pack_results(records(1)))
    file = other.files()[0]
    file.rename(folder.path / file.name)


def changed(**facts):
    def change(folder):
        file = folder.path / RUN
        file.write_text(json.dumps(json.loads(file.read_text()) | facts))

    return change


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (tear, "is torn or no Parquet file .* run the same audit"),
        (foreign_table, r"other\.parquet is not a block of the run"),
        (of_another_run, "is not a block of the run"),
        (foreign_file, r"notes\.txt is not part of an audit"),
        (changed(format=9), "written by a newer version"),
        (changed(method=1), "version 1 of the method"),
        (changed(key="else"), "changed by hand"),
        (changed(model={}), "cannot be read"),
        (lambda folder: (folder.path / RUN).write_text("{"), "cannot be read"),
        (lambda folder: (folder.path / RUN).unlink(), "holds no run.json"),
    ],
)
def test_what_does_not_belong_is_one_sentence(folder, tmp_path, spoil, sentence):
    spoil(folder)
    with pytest.raises(UserError, match=sentence):
        merge(tmp_path / "m.sqlite", [folder.path])
    assert not (tmp_path / "m.sqlite").exists()


def test_what_a_kill_left_is_no_block(folder, tmp_path):
    (folder.path / f".{folder.files()[0].name}.1.part").write_bytes(b"PAR1")
    assert merge(tmp_path / "m.sqlite", [folder.path])["runs"][0]["added"] == COUNT


def test_merge_takes_a_folder_on_the_command_line(folder, tmp_path):
    done = CliRunner().invoke(app, ["merge", str(folder.path), "-o", str(tmp_path / "m.sqlite")])
    assert done.exit_code == 0 and "run the same audit" in done.output
