"""A file of an ordinary writer is stored as it was written: any format, dialect and label kind."""

import csv
import dataclasses
import gzip
import io
import itertools
import json
import re

import pandas as pd
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
import xlsxwriter
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from saliency_core.data.dataset import load_examples
from saliency_core.errors import UserError
from saliency_core.pipeline.options import AuditOptions
from saliency_core.pipeline.run_audit import audit
from saliency_core.store import open_store, open_writer
from tests.support.store_made_up import write_all
from tests.support.tiny_models import save_tiny

PIECES = [
    *('"', '""', "'", ",", ";", "|", "\t", "\n", "\r\n", "\r", "\\", " ", "  ", "\u00a0", "", "1"),
    *("good", "film", "5", "\U0001f642", "東京", "شكرا", "ça", "\u2028", "\x85", "\x0b", "\x1f"),
    *("=1", "#N/A", "NULL", "nan", "None", "0", "-", "__label__x", "{", "[1]", "sep=;", "<b>", "%"),
    *("\u202e", "\ufeff", "\x00", "e\u0301", "\U0001f469\u200d\U0001f4bb"),
]
TEXT = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=10
)
LABELS = {
    "names": st.sampled_from(["positive", "negative", "not sure"]),
    "ids": st.integers(0, 2),
    "floats": st.integers(0, 2).map(float),
    "truth": st.booleans(),
    "odd": st.sampled_from(["a,b", "x=y", 'say "no"', "naïve", "0", "LABEL_1", "b;c"]),
}


@dataclasses.dataclass
class Row:
    """What is written, with ordinary values of Python."""

    id: str
    text: str
    label: object
    note: str
    year: int | None
    score: float


@st.composite
def tables(draw):
    labels = LABELS[draw(st.sampled_from(sorted(LABELS)))] | st.none()
    rows = []
    if draw(st.integers(0, 9)) == 0:
        rows = [Row(f"f{n}", f"row {n} is plain", None, "x", n, 0.5) for n in range(60)]
    for number in range(draw(st.integers(1, 5))):
        rows.append(
            Row(
                draw(st.sampled_from(["r", "ü ", "a-"])) + str(number),
                draw(TEXT),
                draw(labels),
                draw(TEXT),
                draw(st.integers(-(10**9), 10**9) | st.none()),
                draw(st.integers(-999, 999)) / 4,
            )
        )
    return rows


NUMBERS = itertools.count()
NAMES = ("id", "text", "label", "note", "year", "score")
READ_BACK = str.maketrans({"\0": "\ufffd"})


def records(rows):
    return [{name: getattr(row, name) for name in NAMES} for row in rows]


def typed_label(label):
    if label is None:
        return None
    return str(label).lower() if isinstance(label, bool) else str(label)


def typed(rows):
    """Return what is stored of a format that keeps types."""
    return [
        (
            row.id,
            row.text.translate(READ_BACK),
            typed_label(row.label),
            {"note": row.note.translate(READ_BACK), "year": row.year, "score": row.score},
        )
        for row in rows
    ]


def plain(rows):
    """Return what is stored of a format in which every cell is text."""

    def shown(value):
        return "" if value is None else str(value).translate(READ_BACK)

    return [
        (
            row.id,
            shown(row.text),
            None if row.label is None else str(row.label),
            {"note": shown(row.note), "year": shown(row.year), "score": shown(row.score)},
        )
        for row in rows
    ]


def to_csv_module(rows, path, draw, delimiter):
    how = draw(st.sampled_from(["minimal", "all", "nonnumeric", "escaped", "none"]))
    ends = draw(st.sampled_from(["\n", "\r\n"]))
    options = {
        "minimal": {"quoting": csv.QUOTE_MINIMAL},
        "all": {"quoting": csv.QUOTE_ALL},
        "nonnumeric": {"quoting": csv.QUOTE_NONNUMERIC},
        "escaped": {"doublequote": False, "escapechar": "\\"},
        "none": {"quoting": csv.QUOTE_NONE, "escapechar": "\\"},
    }[how]
    if "escapechar" in options:  # a backslash alone may be one or the half of two
        for row in rows:
            row.text, row.note = (re.sub(r"[\\\r\n]", "", cell) for cell in (row.text, row.note))
        rows[-1].text = f'"{delimiter}'
        rows[-1].note = ""  # with two such cells the row is as many others where quotes are doubled
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=ends, **options)
    writer.writerow(NAMES)
    writer.writerows([record[name] for name in NAMES] for record in records(rows))
    head = draw(st.sampled_from(["", "\ufeff", f"sep={delimiter}{ends}"]))
    put(path, (head + out.getvalue()).encode())
    return plain(rows)


def to_csv_pandas(rows, path, draw, delimiter):
    frame = pd.DataFrame(records(rows), dtype=object)
    frame.to_csv(
        path,
        sep=delimiter,
        index=False,
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
        lineterminator=draw(st.sampled_from(["\n", "\r\n"])),
        encoding=draw(st.sampled_from(["utf-8", "utf-8-sig"])),
    )
    return plain(rows)


def put(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def to_jsonl(rows, path, draw):
    leave_out, ascii_only = draw(st.booleans()), draw(st.booleans())
    lines = [
        json.dumps(
            {k: v for k, v in record.items() if not (leave_out and v is None)},
            ensure_ascii=ascii_only,
        )
        for record in records(rows)
    ]
    put(path, "\n".join(lines).encode())
    expected = typed(rows)
    if leave_out and all(row.year is None for row in rows):
        for _, _, _, metadata in expected:
            del metadata["year"]
    return expected


def to_json(rows, path, draw):
    indent = draw(st.sampled_from([None, 1]))
    value = records(rows)
    if draw(st.booleans()):
        value = {name: [record[name] for record in value] for name in NAMES}
    put(path, json.dumps(value, indent=indent).encode())
    return typed(rows)


def to_json_pandas(rows, path, draw):
    orient = draw(st.sampled_from(["records", "columns", "index", "split", "table"]))
    frame = pd.DataFrame(records(rows), dtype=object)
    frame.to_json(path, orient=orient, double_precision=15, force_ascii=draw(st.booleans()))
    found = json.loads(path.read_text())
    assert isinstance(found, (list, dict))
    return typed(rows)


def to_arrow(rows, path, draw):
    table = pyarrow.Table.from_pylist(records(rows))
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=draw(st.integers(1, 3)))
    elif draw(st.booleans()):
        pyarrow.feather.write_feather(table, path)
    else:
        with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    return typed(rows)


def to_xlsx(rows, path, draw):
    """Write with xlsxwriter; XML knows no U+FFFE and Excel no difference of '' and nothing."""
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet(draw(st.sampled_from(["Sheet1", "Réviews & co"])))
        sheet.write_row(0, 0, NAMES)
        for number, record in enumerate(records(rows), 1):
            for place, name in enumerate(NAMES):
                value = record[name]
                if isinstance(value, str):
                    sheet.write_string(number, place, value)
                elif isinstance(value, bool):
                    sheet.write_boolean(number, place, value)
                elif value is not None:
                    sheet.write_number(number, place, value)
    expected = []
    for (id, text, label, metadata), row in zip(typed(rows), rows, strict=True):
        label = str(int(row.label)) if isinstance(row.label, float) else label
        score = int(row.score) if row.score.is_integer() else row.score
        stored = {**metadata, "note": metadata["note"] or None, "score": score}
        expected.append((id, text, label, stored))
    return expected


def to_fasttext(rows, path, draw):
    for row in rows:
        row.text = " ".join(re.sub("__label__|\0", "", row.text).split())
        row.label = "pos" if row.label is None else re.sub(r"\s", "_", str(row.label))
    assume(all(row.text for row in rows))
    put(path, "".join(f"__label__{row.label} {row.text}\n" for row in rows).encode())
    return [(str(n), row.text.translate(READ_BACK), row.label, {}) for n, row in enumerate(rows)]


WRITERS = {
    "a.jsonl": to_jsonl,
    "a.ndjson.gz": to_jsonl,
    "a.json": to_json,
    "pandas.json": to_json_pandas,
    "a.parquet": to_arrow,
    "a.arrow": to_arrow,
    "a.xlsx": to_xlsx,
    "a.txt": to_fasttext,
}
for name, delimiter in [("comma.csv", ","), ("semi.csv", ";"), ("bar.csv", "|"), ("tab.tsv", "\t")]:
    for how, writer in (("module", to_csv_module), ("pandas", to_csv_pandas)):
        WRITERS[f"{how}-{name}"] = lambda r, p, d, writer=writer, to=delimiter: writer(r, p, d, to)
WRITERS["module-comma.csv.gz"] = lambda r, p, d: to_csv_module(r, p, d, ",")


def is_ambiguous(path, error):
    """Return whether every line of a refused file is a row by itself, as the sentence says."""
    found = re.search(r"line (\d+): a quote is opened here and closed in line (\d+)", str(error))
    if found is None:
        return False
    content = path.read_bytes()
    lines = (gzip.decompress(content) if path.suffix == ".gz" else content).decode().split("\n")
    cell = [line for line in lines[int(found[1]) - 1 : int(found[2])] if line.strip()]
    return any({line.count(mark) for line in cell} == {len(NAMES) - 1} for mark in ",;|\t")


def fuzz(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def write(folder, rows, draw):
    """Write a table with a drawn writer; return the file and what it holds."""
    name = draw(st.sampled_from(sorted(WRITERS)))
    return folder / name, WRITERS[name](rows, folder / name, draw)


def read(source):
    """Return a dataset and its examples; a file that can be read in two ways may be refused."""
    try:
        opened = load_examples(source)
        return opened, list(opened)
    except UserError as error:
        assume(not is_ambiguous(source, error))
        raise


@fuzz(100)
@given(rows=tables(), data=st.data())
def test_what_an_ordinary_writer_wrote_is_read_as_it_was(rows, data, tmp_path):
    path, expected = write(tmp_path, rows, data.draw)
    examples = read(path)[1]
    assert [(row.id, row.text, row.label, row.metadata) for row in examples] == expected


@pytest.mark.slow
@fuzz(500)
@given(rows=tables(), data=st.data())
def test_what_an_ordinary_writer_wrote_is_stored_as_it_was(rows, data, tmp_path):
    """From file to dataset to store; every example is a run of its own in one database."""
    path, expected = write(tmp_path, rows, data.draw)
    opened, examples = read(path)
    assert [(row.id, row.text, row.label, row.metadata) for row in examples] == expected
    info = dataclasses.replace(opened.info, name=path.name, source=f"{next(NUMBERS)}")
    with open_writer(tmp_path / "a.sqlite") as writer:
        run, _ = write_all(writer, examples, dataset=info, batch=99, block=99, finish=False)
    store = open_store(tmp_path / "a.sqlite")
    for row in examples[-5:]:
        stored = store.run(run).example(row.position)
        found = (stored["id"], stored["text"], stored["label"], stored["metadata"])
        assert found == expected[row.position]


@fuzz(100)
@given(rows=tables())
def test_a_table_of_pandas_is_read_as_it_is(rows):
    examples = read(pd.DataFrame(records(rows), dtype=object))[1]
    assert [(row.id, row.text, row.label, row.metadata) for row in examples] == typed(rows)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny("bert", tmp_path_factory.mktemp("model"))[0]


@pytest.mark.slow
@fuzz(20)
@given(rows=tables(), data=st.data())
def test_a_whole_audit_stores_what_was_written(model, rows, data, tmp_path):
    """Labels of the model, so that the audit goes through; texts and all else as drawn."""
    for number, row in enumerate(rows):
        row.label = f"LABEL_{number % 3}"
        row.text += " the film was good"  # an audit refuses texts of which no token is known
    path, expected = write(tmp_path, rows, data.draw)
    read(path)
    assume(any(text.strip() for _, text, _, _ in expected))
    database = tmp_path / f"{next(NUMBERS)}.sqlite"
    options = AuditOptions(trust_labels=True, evaluate=False, steps=1)
    result = audit(model, path, db=database, options=options)
    assert result.examples == len(rows)
    store = open_store(database)
    for position, wanted in list(enumerate(expected))[-5:]:
        stored = store.run().example(position)
        found = (stored["id"], stored["text"], stored["label"], stored["metadata"])
        assert found == wanted
        assert stored["gold"] == wanted[2]


def test_a_column_of_the_models_labels_is_named_and_not_taken(model, tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"the film was good {n},LABEL_{n % 3},{n % 2}" for n in range(8)]
    path.write_text("\n".join(["text,y,z", *rows]))
    options = AuditOptions(evaluate=False, steps=1)
    result = audit(model, path, db=tmp_path / "a.sqlite", options=options)
    assert (
        "The dataset has no labels, so right and wrong are unknown. Column 'y' holds labels of the "
        "model; if they are the gold labels, say --label-column y."
    ) in result.warnings
