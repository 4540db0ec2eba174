import contextlib
import gzip
import re
import sqlite3
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency_core.analysis.layers.advice import chosen_by, layer_advice
from saliency_core.errors import UserError
from saliency_core.store import (
    migrations,
    open_store,
    open_writer,
    save_evaluation,
    save_table,
    schema,
    set_layer_choice,
)
from saliency_core.store.connection import check
from saliency_core.store.format import keys
from tests.support.paths import ROOT
from tests.support.store_made_up import (
    LAYERS,
    MODEL,
    SETTINGS,
    conduct,
    example,
    summaries,
    write_all,
)

FORMAT_1 = ROOT / "tests" / "support" / "format-1.sqlite.gz"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "audit.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(n) for n in range(20)])
    return path


# Evaluations


def test_evaluations_come_back_in_order_with_further_keys(path):
    rows = [
        {"method": "random", "comprehensiveness": 0.25, "examples": 20, "forwards": 0},
        {"method": "ours", "layer": 0, "sufficiency": np.float32(0.5), "q": [10, 20]},
        {"method": "ours", "layer": np.int64(1), "plausibility": float("nan")},
    ]
    save_evaluation(path, 1, rows)
    found = open_store(path).run(1).evaluations()
    assert found["method"].tolist() == ["random", "ours", "ours"]
    assert found["layer"].isna().tolist() == [True, False, False]
    assert found["layer"].tolist()[1:] == [0, 1]
    assert found["comprehensiveness"][0] == 0.25
    assert found["sufficiency"][1] == 0.5
    assert np.isnan(found["plausibility"][2])
    assert found["q"][1] == [10, 20]


def test_an_evaluation_replaces_the_one_of_its_method_and_layer(path):
    save_evaluation(path, 1, [{"method": "ours", "layer": 0, "seconds": 1.0}])
    save_evaluation(path, 1, [{"method": "ours", "layer": 1, "seconds": 2.0}])
    save_evaluation(path, 1, [{"method": "ours", "layer": 0, "seconds": 3.0}])
    save_evaluation(path, 1, [{"method": "ours", "seconds": 4.0}])
    save_evaluation(path, 1, [{"method": "ours", "seconds": 5.0}])
    assert sorted(open_store(path).run(1).evaluations()["seconds"]) == [2.0, 3.0, 5.0]


def test_evaluations_of_nothing_are_an_empty_frame(path):
    found = open_store(path).run().evaluations()
    assert found.empty
    assert {"method", "layer", "comprehensiveness", "sufficiency_low"} <= set(found.columns)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda path: save_evaluation(path, 7, [{"method": "a"}]), "has no run 7"),
        (lambda path: save_evaluation(path, 1, [{"layer": 1}]), "name of its method"),
        (lambda path: save_table(path, 7, "a", []), "has no run 7"),
        (lambda path: set_layer_choice(path, 1, summaries()[:1], 0, 0, []), "has 4 layers, but 1"),
    ],
)
def test_what_cannot_be_kept_is_one_sentence(path, call, sentence):
    with pytest.raises(UserError, match=sentence):
        call(path)


def test_the_choice_of_layers_replaces_the_summaries(path):
    values = np.linspace(0, 1, LAYERS + 1)
    layers = [replace(row, mosaic=values[row.layer], choice=0.5) for row in summaries()]
    set_layer_choice(path, 1, layers, 3, 1, [0], {"mosaics": {"chance": np.float64(0.5)}})
    store = open_store(path)
    np.testing.assert_array_equal(store.run(1).layers()["mosaic"], values)
    np.testing.assert_array_equal(store.run(1).layers()["coherence"], np.arange(4) / 10)
    run = store.run(1)
    assert (run.recommended, run.most_readable, run.tied) == (3, 1, [0])
    assert run.extra == {"k": 1, "mosaics": {"chance": 0.5}}, "what was there is kept"
    set_layer_choice(path, 1, layers, 2, None, [])
    assert open_store(path).run(1).most_readable is None
    tokens = sqlite3.connect(path).execute("SELECT DISTINCT layer FROM tokens").fetchall()
    assert tokens in ([(2,)], []), "the word summary is of the recommended layer"


# Tables

CELLS = [
    st.lists(st.integers(-(2**53), 2**53), min_size=3, max_size=3),
    st.lists(st.floats(allow_infinity=False), min_size=3, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.lists(st.text() | st.none(), min_size=3, max_size=3),
    st.lists(st.dictionaries(st.text(), st.integers()), min_size=3, max_size=3),
]


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(), st.one_of(CELLS), max_size=4))
def test_any_table_is_read_back(tmp_path_factory, columns):
    path = tmp_path_factory.mktemp("t") / "a.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(n) for n in range(3)])
    frame = pd.DataFrame(columns, index=range(3))
    save_table(path, 1, "any", frame, {"a": 1})
    found = open_store(path).run().table("any", {"a": 1})
    assert found.columns.tolist() == list(columns)
    assert found.index.tolist() == [0, 1, 2]
    for name, values in columns.items():
        missing = frame[name].isna().tolist()
        assert found[name].isna().tolist() == missing
        assert [v for v in found[name] if v is not None and v == v] == [
            value for value, gone in zip(values, missing, strict=True) if not gone
        ]


def test_tables_are_told_apart_by_name_settings_and_run(path):
    with open_writer(path) as writer:
        from dataclasses import replace

        write_all(writer, [example(n) for n in range(3)], settings=replace(SETTINGS, steps=1))
    save_table(path, 1, "suspects", [{"word": "a"}], {"layer": 1, "where": "wrong"})
    save_table(path, 1, "suspects", [{"word": "b"}], {"layer": 2, "where": "wrong"})
    save_table(path, 2, "suspects", [{"word": "c"}], {"where": "wrong", "layer": 1})
    store = open_store(path)
    asked = {"where": "wrong", "layer": 1}
    assert store.run(1).table("suspects", asked)["word"].tolist() == ["a"]
    assert store.run().table("suspects", asked)["word"].tolist() == ["c"]
    assert store.run(1).table("suspects") is None
    assert store.run(1).table("effects", asked) is None
    assert sorted(row["layer"] for row in store.run(1).tables()["settings"]) == [1, 2]


@pytest.mark.parametrize("change", ["more", "text", "metadata"])
def test_tables_are_forgotten_when_the_run_changes(path, change):
    from dataclasses import replace

    save_table(path, 1, "suspects", [{"word": "a"}])
    rows = [example(n) for n in range(20)]
    with open_writer(path) as writer:
        write_all(writer, rows)
        assert open_store(path).run().table("suspects") is not None
        if change == "more":
            rows.append(example(20))
        elif change == "text":
            rows[3] = replace(rows[3], text="something else")
        else:
            rows[3] = replace(rows[3], metadata={"region": "moved"})
        write_all(writer, rows)
    assert open_store(path).run().table("suspects") is None


# Complete runs


def test_a_run_is_complete_once_finished_and_nothing_waits(tmp_path):
    path = tmp_path / "a.sqlite"
    with open_writer(path) as writer:
        run, _ = write_all(writer, [example(n) for n in range(6)], finish=False)
        assert not writer.is_complete(run)
        write_all(writer, [example(n) for n in range(6)])
        assert writer.is_complete(run)
        assert open_store(path).run().is_complete()
        writer.add_examples(run, [example(6)], [None])
        assert not writer.is_complete(run)
        assert not open_store(path).run(run).is_complete()


def test_seconds_add_up_over_calls(tmp_path):
    path = tmp_path / "a.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(n) for n in range(6)])
        write_all(writer, [example(n) for n in range(9)])
    assert open_store(path).run().seconds == 2.0


# Formats


def shape(path):
    """Return all that readers and writers meet: tables, columns in order, keys, indexes, views."""
    connection = sqlite3.connect(path)
    names = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE '%sqlite%'"
    ).fetchall()
    tables = connection.execute("SELECT name, type, ncol, wr, strict FROM pragma_table_list")
    found = {row for row in tables if "sqlite" not in row[0]}
    for kind, name, sql in names:
        for pragma in ("table_info", "foreign_key_list", "index_xinfo"):
            rows = connection.execute(f"SELECT * FROM pragma_{pragma}(?)", (name,)).fetchall()
            found.add((kind, name, pragma, *rows))
        if kind in ("view", "trigger"):
            found.add((name, re.sub(r"[\s\"]+", "", sql)))
    connection.close()
    return found


def test_a_new_file_is_what_every_migration_makes_of_the_oldest(tmp_path):
    old, new = tmp_path / "old.sqlite", tmp_path / "new.sqlite"
    old.write_bytes(gzip.decompress(FORMAT_1.read_bytes()))
    migrations.migrate(old)
    migrations.migrate(new)
    assert shape(old) == shape(new)
    assert check(old) == check(new) == schema.FORMAT


def test_a_file_of_format_1_still_opens(tmp_path):
    path = tmp_path / "old.sqlite"
    path.write_bytes(gzip.decompress(FORMAT_1.read_bytes()))
    assert check(path) == 1
    store = open_store(path)
    assert check(path) == schema.FORMAT
    rows = [example(n) for n in range(12)]
    assert store.run().filter().examples()["text"].tolist() == [row.text for row in rows]
    assert store.slices()["where"].tolist() == ["confidence>0.5"]
    run = store.run()
    assert run.note("id-3") == {"note": "looks wrong", "proposed_label": "positive"}
    assert run.verdicts()["word"].tolist() == ["movie"]
    assert run.is_complete()
    assert run.evaluations().empty
    assert run.recommended is not None and run.most_readable is None
    assert run.layers()["coherence"].notna().all() and run.layers()["choice"].isna().all()
    assert run.table("suspects") is None
    assert run.settings.rule == "path"
    with open_writer(path) as writer:
        assert write_all(writer, rows) == (2, len(rows)), "the method has changed since"
    assert open_store(path).run(1).note("id-3")["note"] == "looks wrong"


def test_what_an_older_version_recommended_is_kept_and_named_as_that(tmp_path):
    path = tmp_path / "old.sqlite"
    path.write_bytes(gzip.decompress(FORMAT_1.read_bytes()))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE layers SET comprehensiveness = 0.25, sufficiency = 0.125")
        connection.execute("UPDATE runs SET recommended = 1, equals = '[2]'")
        before = connection.execute("SELECT coherence, zero_line, explained FROM layers").fetchall()
    connection.close()
    store = open_store(path)
    run, layers = store.run(), store.run().layers()
    assert (run.recommended, run.tied, run.most_readable) == (1, [2], None)
    columns = ["coherence", "uniform_baseline", "completeness"]
    assert layers[columns].astype(object).where(layers[columns].notna(), None).values.tolist() == [
        list(row) for row in before
    ]
    assert chosen_by(layers) == "an older version"
    assert "An older version of the program chose it" in layer_advice(run, layers).text()


def test_a_run_of_format_1_goes_on_where_its_path_says_which_file_it_was(tmp_path):
    path = tmp_path / "old.sqlite"
    path.write_bytes(gzip.decompress(FORMAT_1.read_bytes()))
    connection = sqlite3.connect(path)
    connection.execute(
        "UPDATE runs SET dataset_info = json_set(dataset_info, '$.source', '/data/../made/up.csv'),"
        " content = ?",
        (keys.content_key(MODEL, SETTINGS),),
    )
    connection.commit()
    connection.close()
    rows = [example(n) for n in range(12)]
    run, computed, changes = conduct(path, rows)
    assert (run, computed, changes.gone) == (1, 0, 0)
    assert open_store(path).run().note("id-3") == {
        "note": "looks wrong",
        "proposed_label": "positive",
    }
    assert open_store(path).run().filter().examples()["text"].tolist() == [row.text for row in rows]


def test_format_1_in_a_folder_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
    path = tmp_path / "old.sqlite"
    path.write_bytes(gzip.decompress(FORMAT_1.read_bytes()))

    def refuse(path):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        with contextlib.closing(connection):
            connection.execute("UPDATE meta SET value = 0")

    monkeypatch.setattr(migrations, "migrate", refuse)
    with pytest.raises(UserError, match="cannot be written"):
        open_store(path)


@pytest.mark.parametrize("old", [False, True])
def test_many_processes_may_create_or_migrate_a_file_at_once(tmp_path, old):
    path = tmp_path / "new.sqlite"
    if old:
        path.write_bytes(gzip.decompress(FORMAT_1.read_bytes()))
    code = (
        "import sys; from saliency_core.store import open_writer\n"
        "sys.stdin.readline()\n"
        f"with open_writer({str(path)!r}): pass"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for process in children:
        process.stdin.write(b"\n")
        process.stdin.flush()
    failures = [process.communicate()[1].decode() for process in children]
    assert failures == [""] * 4
    assert check(path) == schema.FORMAT
