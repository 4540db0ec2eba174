"""Is this really the file? What can be read in two ways, and what isn't what its name says."""

import bz2
import csv
import datetime
import gzip
import io
import json
import sqlite3
import zipfile

import datasets
import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
import xlsxwriter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from saliency_core.data.columns import guess_columns
from saliency_core.data.dataset import PEEKED_ROWS, load_examples, preview
from saliency_core.errors import UserError
from saliency_core.pipeline.run_audit import audit


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(source, **choices):
    return [(e.text, e.label) for e in load_examples(source, **choices)]


def refused(source, **choices):
    with pytest.raises(UserError) as caught:
        list(load_examples(source, **choices))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Quotes that open a cell and are closed lines later, or never, or late

PLAIN = "a plain row{d}0\n"
SWALLOWED = {
    "first.csv": 'text,label\n"Great film,1\nbad plot,0\nonly 5",0\nlast row,2\n',
    "semicolon.csv": 'id;text;label\n1;"Great;pos\n2;bad plot;neg\n3;the 5";neg\n4;a b one;pos\n',
    "last-column.csv": 'text,label,by\nGreat film,1,"web\nbad plot,0,web\nok,1,5"\nno plot,0,web\n',
    "windows.csv": 'text,label\r\n"Great film,1\r\nbad plot,0\r\nthe 5",0\r\nlast row,2\r\n',
    "blank-lines.csv": 'text,label\n"Great film,pos\n\nbad one,neg\nthe 5",neg\nlast row,pos\n',
    "quoted-tabs.tsv": 'text\tlabel\n"Great\t1\nthe 5"\t0\nlast row\t2\n"a ""b"" c"\t1\n',
}


@pytest.mark.parametrize("name", SWALLOWED)
def test_a_quote_that_swallows_rows_is_named_with_its_lines(name, tmp_path):
    path = put(tmp_path, name, SWALLOWED[name])
    assert refused(path).startswith(f"{path}, line 2: a quote is opened here and closed in line ")
    assert "lines between look like rows of their own" in refused(path)


def test_a_quote_that_swallows_rows_is_found_wherever_it_stands(tmp_path):
    late = (
        "bad plot,0\n" * 300 + '"open,1\n' + "fine film,0\n" * 20 + 'only 5",1\n' + "words on,0\n"
    )
    path = put(tmp_path, "late.csv", "text,label\n" + late)
    assert "line 302: a quote is opened here and closed in line 323" in refused(path)


@pytest.mark.parametrize(
    "content",
    [
        'text\n"Great film\nbad plot\nthe 5"\nlast row\n',
        'a,text\n"x y,z z\nu v",w w\nx y,u v\n',
    ],
)
def test_a_quote_that_may_have_swallowed_rows_is_told(content, tmp_path):
    opened = load_examples(put(tmp_path, "a.csv", content))
    assert opened.notes[0].startswith("Lines 2 to ")
    assert opened.notes[0].endswith("if they are rows of their own, close the quote.")
    whole = put(tmp_path, "b.csv", '"text"\n"Great film\nbad plot"\n"last row"\n')
    assert not load_examples(whole).notes


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (
            'text,label\n"Dear John,\nthank you",1\nok film,0\n',
            ["Dear John,\nthank you", "ok film"],
        ),
        ('"text","label"\n"a,1\nb,0\nc","0"\n"d e","1"\n', ["a,1\nb,0\nc", "d e"]),
        ('text,label\n"one\n\n\ntwo",1\n', ["one\n\n\ntwo"]),
        ('text,by,label\n"a, b\nc, d",x,1\nok film,y,0\n', ["a, b\nc, d", "ok film"]),
        ('text,label\nno "quotes" here,1\nonly 5",0\n', ['no "quotes" here', 'only 5"']),
        ("text,label\r\na\rb,1\r\n", ["a\rb"]),
    ],
)
def test_cells_with_line_breaks_and_quotes_stay(content, texts, tmp_path):
    assert [text for text, _ in rows_of(put(tmp_path, "a.csv", content))] == texts


@pytest.mark.parametrize(
    ("last", "text"),
    [
        ('"he said ""good"" and left"', 'he said "good" and left'),
        ('"he said ""good""\nand left"', 'he said "good"\nand left'),
        ('"a tab\there"', "a tab\there"),
        ('"quoted" title', '"quoted" title'),
        ('"whole title"', '"whole title"'),
        ('5" screen', '5" screen'),
        ('"', '"'),
        ('"backslash \\"quoted\\""', 'backslash "quoted"'),
    ],
)
@pytest.mark.parametrize("ending", ["tsv", "txt", "csv"])
def test_quotes_between_tabs_are_judged_by_the_whole_file(last, text, ending, tmp_path):
    lines = "text\tlabel\n" + PLAIN.format(d="\t") * 80 + f"{last}\t1\n"
    rows = rows_of(put(tmp_path, f"a.{ending}", lines))
    assert len(rows) == 81
    assert rows[-1] == (text, "1")


def test_an_unclosed_quote_between_tabs_is_a_character(tmp_path):
    path = put(tmp_path, "a.tsv", 'text\tlabel\n"Great\t1\nbad plot\t0\nthe 5"\t0\nlast row\t2\n')
    assert rows_of(path) == [('"Great', "1"), ("bad plot", "0"), ('the 5"', "0"), ("last row", "2")]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('text;label\n"a, b";1\nc, d;0\n', [("a, b", "1"), ("c, d", "0")]),
        ("text|label\nGood, very, film|1\n", [("Good, very, film", "1")]),
        ("text\tlabel\na, b; c\t1\n", [("a, b; c", "1")]),
        ('text,label\n"he said \\"no\\"",1\n', [('he said "no"', "1")]),
        ("text,label\nyes\\, very good,1\n", [("yes, very good", "1")]),
        ("\n\ntext,label\na b,1\n", [("a b", "1")]),
        ('text, label\n"a, b", "x"\nc, y\n', [("a, b", "x"), ("c", "y")]),
        ('text,label\n"x, "", y",1\n c,0\n', [('x, ", y', "1"), (" c", "0")]),
    ],
)
def test_separator_and_escapes_are_found(content, rows, tmp_path):
    assert rows_of(put(tmp_path, "a.csv", content)) == rows


DIALECTS = {
    "doubled": {},
    "escaped": {"doublequote": False, "escapechar": "\\"},
}
CELL = st.lists(st.sampled_from(['"', "\\", ",", "\n", "a", " b", "0.0"]), max_size=4).map("".join)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("delimiter", [",", "\t"])
@settings(deadline=None, max_examples=100)
@given(
    cells=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=3),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)
@example(cells=[('",', "0.0", ',"')], quoting=csv.QUOTE_MINIMAL)
@example(cells=[("a\\", "0.0", "a")], quoting=csv.QUOTE_MINIMAL)
def test_a_table_is_read_as_written_or_a_doubt_is_told(
    delimiter, dialect, cells, quoting, tmp_path_factory
):
    path = tmp_path_factory.mktemp("table") / f"a.{'csv' if delimiter == ',' else 'tsv'}"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=quoting, **DIALECTS[dialect])
        writer.writerow(["text", "label", "note"])
        writer.writerows(cells)
    try:
        opened = load_examples(path)
        read = [(e.text, e.label or "", e.metadata["note"]) for e in opened]
    except UserError:
        return
    if not opened.notes:
        assert read == [(text, label.strip(), note) for text, label, note in cells]


def test_an_escape_that_cannot_be_told_from_a_backslash_is_named_with_its_line(tmp_path):
    doubtful = put(tmp_path, "a.csv", 'text,score,note\nok,1,x\n"\\",",0.0,",\\""\n')
    assert load_examples(doubtful).notes == (
        "Line 3 of a.csv has other cells if a backslash escapes what stands behind it; backslashes "
        "were read as characters of the text. If they do escape, write quotes twice and "
        "backslashes once.",
    )
    for content in ("C:\\new,1", '"5"" \\"" pipe",1', "a\\\\b \\d,1"):
        assert not load_examples(put(tmp_path, "b.csv", f"text,label\n{content}\n")).notes


@pytest.mark.parametrize(
    "start", ["sep=;\n", '"sep=;"\n', "SEP=;\r\n", "\ufeffsep=;\r\n", "sep=;;\n", "\nsep=;\n"]
)
def test_the_line_by_which_excel_is_told_the_separator_is_skipped(start, tmp_path):
    path = put(tmp_path, "a.csv", f"{start}text;label\ngood, film;0\nbad;1\n")
    assert rows_of(path) == [("good, film", "0"), ("bad", "1")]
    wrong = put(tmp_path, "b.csv", f"{start}text;label\ngood;film;0\n")
    line = 2 + start.count("\n")
    assert f"line {line}: 3 cells where there should be 2" in refused(wrong)


# Columns that come late, twice or under odd names


@pytest.mark.parametrize("count", [99, 150, PEEKED_ROWS + 1])
@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_a_column_that_begins_late_is_one(count, ending, tmp_path):
    rows = [{"text": f"row {n}"} for n in range(count)] + [{"text": "z", "label": "a", "by": 1}]
    lines = "\n".join(map(json.dumps, rows))
    path = put(tmp_path, f"a.{ending}", lines if ending == "jsonl" else json.dumps(rows))
    *_, last = load_examples(path)
    assert (last.label, last.metadata) == ("a", {"by": 1})
    assert "by" in preview(path).names


def named_twice():
    return pyarrow.Table.from_arrays(
        [pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"]
    )


def write_arrow(table, path):
    with pyarrow.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


def write_parquet(table, path):
    pyarrow.parquet.write_table(table, path)
    return path


def test_two_columns_of_one_name_are_refused(tmp_path):
    sources = [
        write_parquet(named_twice(), tmp_path / "a.parquet"),
        write_arrow(named_twice(), tmp_path / "a.arrow"),
        pd.DataFrame([["a", "b"]], columns=["text", "text"]),
        put(tmp_path, "a.csv", "text, text\na,b\n"),
        put(tmp_path, "a.json", '{"columns": ["text", "text"], "data": [["a", "b"]]}'),
    ]
    for source in sources:
        assert " has two columns named 'text'" in refused(source)
    twice = put(tmp_path, "a.jsonl", '{"text": "a"}\n{"text": "a", "text": "b"}\n')
    assert refused(twice) == f"{twice}, line 2: one object has two values named 'text'; keep one."


def test_odd_keys_are_cleaned_as_values_are(tmp_path):
    line = r'{"text": "a", "\ud800x": 1, "": 2, "m": {"\udc00": "\u0000"}, "meta": {"text": 3}}'
    (example,) = load_examples(put(tmp_path, "a.jsonl", line))
    assert example.metadata == {
        "\ufffdx": 1,
        "column3": 2,
        "m": '{"\ufffd": "\ufffd"}',
        "meta.text": 3,
    }


# Cells that hold more than one value


def test_arrays_and_objects_are_stored_as_the_file_itself_has_them(tmp_path):
    cells = [["a", "b"], {"k": [1, None]}, [], [[1.5, 2.0]]]
    expected = [json.dumps(cell) for cell in cells]
    frame = pd.DataFrame({"text": list("wxyz"), "cell": pd.Series(cells, dtype=object)})
    arrays = frame.assign(
        cell=pd.Series(
            [np.array(["a", "b"]), {"k": (1, np.nan)}, np.array([]), np.array([[1.5, 2]])]
        )
    )
    for source in (frame, arrays, put(tmp_path, "a.json", frame.to_json(orient="records"))):
        assert [example.metadata["cell"] for example in load_examples(source)] == expected
    scalars = {"n": np.int64(3), "day": np.datetime64("2024-02-29"), "f": np.float32(0.5)}
    (example,) = load_examples(pd.DataFrame([{"text": "t", **scalars}], dtype=object))
    assert example.metadata == {"n": 3, "day": "2024-02-29", "f": 0.5}


def test_an_array_is_no_text_and_bytes_are_no_label(tmp_path):
    assert "holds a list in row 1, not a text" in refused(pd.DataFrame({"text": [np.zeros(2)]}))
    table = pyarrow.table({"text": ["a"], "label": [b"x"]})
    path = write_parquet(table, tmp_path / "a.parquet")
    assert "holds a bytes in row 1, not a label; choose another with --label" in refused(path)


def test_a_cell_nested_too_deeply_is_named_with_its_row(tmp_path):
    deep = '{"text": "a", "m": ' + "[" * 600 + "]" * 600 + "}"
    path = put(tmp_path, "a.jsonl", '{"text": "a"}\n' + deep)
    assert refused(path) == f"{path}: a cell of row 2 is nested too deeply."


# Folders

SPLIT_FOLDERS = [
    (["train.csv", "val.csv"], "train, val"),
    (["train.csv", "dev.csv", "test.csv"], "dev, test, train"),
    (["train-00000-of-00001.csv", "valid-00000-of-00001.csv"], "train, valid"),
    (["training.csv", "eval.csv"], "eval, training"),
    (["trainset.csv", "testset.csv"], "testset, trainset"),
    (["Reviews_Train.csv", "Reviews_Test.csv"], "test, train"),
]


@pytest.mark.parametrize(("names", "choices"), SPLIT_FOLDERS)
def test_a_folder_of_splits_is_never_read_as_one(names, choices, tmp_path):
    for name in names:
        put(tmp_path, name, f"text\n{name.lower()} text\n")
    assert refused(tmp_path) == (
        f"{tmp_path} has several splits; choose one of {choices} with --split."
    )
    for split in choices.split(", "):
        ((text, _),) = rows_of(tmp_path, split=split)
        assert split in text


def test_a_split_goes_by_any_of_its_names_and_files_without_one_stay_apart(tmp_path):
    for name in ("train_1.csv", "train_2.csv"):
        put(tmp_path, name, f"text\n{name}\n")
    assert len(rows_of(tmp_path)) == 2
    put(tmp_path, "val.csv", "text\nval.csv\n")
    assert rows_of(tmp_path, split="validation") == rows_of(tmp_path, split="dev")
    (tmp_path / "val.csv").unlink()
    put(tmp_path, "more.csv", "text\nmore.csv\n")
    assert "holds the split 'train' (beside more.csv, which names none)" in refused(tmp_path)


def write_labelled(path, names, labels):
    kind = datasets.ClassLabel(names=names) if names else datasets.Value("int64")
    features = datasets.Features({"text": datasets.Value("string"), "label": kind})
    texts = [f"{path.stem} {label}" for label in labels]
    found = datasets.Dataset.from_dict({"text": texts, "label": labels}, features)
    path.parent.mkdir(exist_ok=True)
    write_parquet(found.with_format("arrow")[:], path)


def test_shards_with_other_label_names_keep_their_own(tmp_path):
    write_labelled(tmp_path / "a.parquet", ["no", "yes"], [0, 1, -1])
    write_labelled(tmp_path / "b.parquet", ["yes", "no", "maybe"], [0, 1, 2])
    opened = load_examples(tmp_path)
    assert [e.label for e in opened] == ["no", "yes", None, "yes", "no", "maybe"]
    assert opened.info.label_names == ("no", "yes", "maybe")
    write_labelled(tmp_path / "c.parquet", None, [0, 1])
    assert refused(tmp_path) == (
        "a.parquet names the labels of column 'label', but c.parquet does not; the files of a "
        "folder must agree."
    )


def test_lists_of_named_labels_go_by_their_names(tmp_path):
    several = datasets.List(datasets.ClassLabel(names=["rude", "kind"]))
    features = datasets.Features({"text": datasets.Value("string"), "label": several})
    found = datasets.Dataset.from_dict({"text": ["a"], "label": [[1, 0]]}, features)
    write_parquet(found.with_format("arrow")[:], tmp_path / "a.parquet")
    for source in (found, tmp_path / "a.parquet"):
        assert rows_of(source) == [("a", '["kind", "rude"]')]


def test_folders_of_splits_are_splits(tmp_path):
    for split in ("train", "test"):
        put(tmp_path, f"{split}/part-0.csv", f"text\n{split} text\n")
        put(tmp_path, f"{split}/~$part.xlsx", "the lock of an open workbook")
    assert "has several splits; choose one of test, train with --split." in refused(tmp_path)
    assert rows_of(tmp_path, split="test") == [("test text", None)]


# fastText and lines of text


@pytest.mark.parametrize("delimiter", list(",;|"))
def test_a_text_file_with_a_header_is_a_table(delimiter, tmp_path):
    content = "label,text\npos,a b\n".replace(",", delimiter)
    assert rows_of(put(tmp_path, "a.txt", content)) == [("a b", "pos")]


def test_lines_of_a_script_without_blanks_are_texts(tmp_path):
    path = put(tmp_path, "a.txt", "这部电影非常好看\n很差\n")
    assert [text for text, _ in rows_of(path)] == ["这部电影非常好看", "很差"]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("__label__0 good film\n__label__1 bad film\n", [("good film", "0"), ("bad film", "1")]),
        ("__label__a\tgood film\n__label__b\tbad\n", [("good film", "a"), ("bad", "b")]),
        ("__label__a __label__b both\nnone here\n", [("both", '["a", "b"]'), ("none here", None)]),
        ("good film __label__a\nbad __label__b\n", [("good film", "a"), ("bad", "b")]),
        (
            "a first text\n" * 70 + "__label__x late\n",
            [("a first text", None)] * 70 + [("late", "x")],
        ),
        ("__label__a  two blanks\n\n__label__b\n", [(" two blanks", "a"), ("", "b")]),
    ],
)
def test_labels_of_fasttext_are_no_words_of_the_text(content, rows, tmp_path):
    assert rows_of(put(tmp_path, "a.txt", content)) == rows
    assert rows_of(put(tmp_path, "a.txt.gz", gzip.compress(content.encode(), mtime=0))) == rows


# Parquet and Arrow


def damaged(good):
    cells = pyarrow.array([b"ok"] * good + [b"na\xefve"], pyarrow.binary())
    return pyarrow.Array.from_buffers(pyarrow.string(), good + 1, cells.buffers())


@pytest.mark.parametrize(("write", "ending"), [(write_parquet, "parquet"), (write_arrow, "arrow")])
@pytest.mark.parametrize("column", ["text", "note"])
@pytest.mark.parametrize("good", [0, 1500])
def test_damaged_utf8_is_named_with_row_and_column(write, ending, column, good, tmp_path):
    table = {"text": ["fine"] * (good + 1), column: damaged(good)}
    path = write(pyarrow.table(table), tmp_path / f"a.{ending}")
    assert refused(path) == (
        f"{path}, row {good + 1}, column '{column}': byte 0xef at place 3 is not UTF-8; write the "
        "texts as UTF-8."
    )


def test_a_day_that_python_cannot_hold_is_named(tmp_path):
    days = pyarrow.array([0, 2**30], pyarrow.date32())
    path = write_parquet(pyarrow.table({"text": ["a", "b"], "day": days}), tmp_path / "a.parquet")
    assert refused(path).startswith(f"{path}, row 2, column 'day': ")


# JSON

FRAME = pd.DataFrame(
    {
        "text": ["the film was good", "a dull plot", 'so "bad"'],
        "label": [0, 1, 2],
        "by": ["x", None, "z"],
    }
)
FORMS = {
    **{
        orient: FRAME.to_json(orient=orient)
        for orient in ("records", "columns", "index", "split", "table")
    },
    "tight": json.dumps(FRAME.to_dict("tight")),
    "list": json.dumps(FRAME.to_dict("list")),
    "indented": FRAME.to_json(indent=2),
    "lines": FRAME.to_json(orient="records", lines=True),
    "one split": json.dumps({"test": json.loads(FRAME.to_json())}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_which_pandas_writes_json(form, tmp_path):
    examples = list(load_examples(put(tmp_path, "a.json", FORMS[form])))
    assert [(e.text, e.label) for e in examples] == [
        (text, str(label)) for text, label in zip(FRAME["text"], FRAME["label"], strict=True)
    ]
    assert [e.metadata for e in examples] == [{"by": "x"}, {"by": None}, {"by": "z"}]


@pytest.mark.parametrize("orient", ["columns", "index", "split", "table"])
def test_labels_of_rows_that_do_not_count_them_are_kept(orient, tmp_path):
    frame = FRAME.set_index(pd.Index(["r7", "r8", "r9"]))
    examples = list(load_examples(put(tmp_path, "a.json", frame.to_json(orient=orient))))
    assert [e.metadata["index"] for e in examples] == ["r7", "r8", "r9"]
    assert [e.text for e in examples] == list(FRAME["text"])


def test_records_without_names_are_named_by_their_values(tmp_path):
    turned = put(tmp_path, "a.json", FRAME[["label", "text"]].to_json(orient="values"))
    assert rows_of(turned)[0] == ("the film was good", "0")
    unsure = put(tmp_path, "b.json", '[["a", "b"], ["c", "d"]]')
    assert "Its columns are column1 ('a'), column2 ('b'); choose one" in refused(unsure)
    ragged = put(tmp_path, "c.json", '[["a film", 1], ["b"]]')
    assert refused(ragged) == f"{ragged}, record 2: 1 values where there should be 2 (text, label)."


def test_json_that_says_too_little_gets_a_short_sentence(tmp_path):
    many = pd.DataFrame({"a": map(str, range(3000)), "b": map(str, range(3000))})
    many.index = many.index.map(lambda n: f"r{n}")
    for orient in ("columns", "index"):
        sentence = refused(put(tmp_path, "a.json", many.to_json(orient=orient)))
        assert "save it as a list of records" in sentence
        assert len(sentence) < 400
    splits = {f"split{n}": [{"text": "a"}] for n in range(3000)}
    assert len(refused(put(tmp_path, "b.json", json.dumps(splits)))) < 400
    assert refused(put(tmp_path, "c.json", '{"text": [], "label": []}')).endswith("holds no rows.")
    assert rows_of(put(tmp_path, "d.json", '{"text": "one", "label": "a"}')) == [("one", "a")]


# Excel


def workbook(sheets, path):
    with xlsxwriter.Workbook(path) as book:
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                for place, cell in enumerate(row):
                    if isinstance(cell, datetime.date):
                        sheet.write_datetime(number, place, cell, day)
                    elif cell == "#N/A":
                        sheet.write_formula(number, place, "=NA()", None, cell)
                    else:
                        sheet.write(number, place, cell)
    return path


SHEETS = {
    "Empty": [],
    "Reviews": [
        ["text", "label", "when", "stars", "ok", None],
        ["good film", 1, datetime.date(2024, 2, 29), 4.5, True],
        [None, None, None, None, None],
        ["  5\nlines ", 0, None, 3, False],
    ],
    "More": [["text", "label"], ["other text", "x"], ["second", "#N/A"]],
}


def test_a_workbook_is_read_by_sheet_with_numbers_as_they_are_meant(tmp_path):
    path = workbook(SHEETS, tmp_path / "a.xlsx")
    opened = load_examples(path)
    assert [(e.text, e.label, e.metadata) for e in opened] == [
        ("good film", "1", {"when": "2024-02-29", "stars": 4.5, "ok": True}),
        ("  5\nlines ", "0", {"when": None, "stars": 3, "ok": False}),
    ]
    assert opened.notes == (
        "Only the sheet 'Reviews' was read, of Reviews, More; choose with --sheet.",
    )
    packed = put(tmp_path, "b.xlsx.bz2", bz2.compress(path.read_bytes()))
    assert rows_of(packed) == rows_of(path, sheet="Reviews")
    assert not load_examples(path, sheet="Reviews").notes
    plain = rows_of(path, sheet="Reviews", header=False, text_column="column1")
    assert [text for text, _ in plain] == ["text", "good film", "  5\nlines "]


def test_what_a_workbook_does_not_tell_is_said(tmp_path):
    path = workbook(SHEETS, tmp_path / "a.xlsx")
    assert refused(path, sheet="More") == (
        f"{path}, sheet 'More', cell B3: #N/A instead of a value; repair or empty the cell."
    )
    assert refused(path, sheet="Mroe") == (
        f"{path} has no sheet 'Mroe'; choose one of Empty, Reviews, More with --sheet."
    )
    assert refused(path, sheet="Empty") == f"{path} holds no rows."
    empty = workbook({"A": []}, tmp_path / "b.xlsx")
    assert refused(empty) == f"{empty} holds no rows: its sheets are empty."
    cut = put(tmp_path, "c.xlsx", path.read_bytes()[:2000])
    assert refused(cut).startswith(f"{cut} is no workbook that can be read: ")
    rows = put(tmp_path, "a.csv", "text\na\n")
    assert (
        refused(rows, sheet="A") == f"{rows} is no workbook and has no sheets; leave --sheet out."
    )


# Files that aren't what their names say


def zipped():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.csv", "text\na\n")
    return out.getvalue()


def as_bytes(write, folder):
    path = folder / "made"
    write(path)
    content = path.read_bytes()
    path.unlink()
    return content


def sqlite_file(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE a (b)")
    connection.close()


CONTENTS = {
    "an Excel file": lambda f: as_bytes(lambda p: workbook(SHEETS, p), f),
    "a Parquet file": lambda f: as_bytes(
        lambda p: write_parquet(pyarrow.table({"text": ["a"]}), p), f
    ),
    "an Arrow file": lambda f: as_bytes(
        lambda p: write_arrow(pyarrow.table({"text": ["a"]}), p), f
    ),
    "an SQLite database": lambda f: as_bytes(sqlite_file, f),
    "a zip archive": lambda f: zipped(),
    "a gzip file": lambda f: gzip.compress(b"text\na\n", mtime=0),
    "a bzip2 file": lambda f: bz2.compress(b"text\na\n"),
    "a web page": lambda f: b"\n<!DOCTYPE html><html>",
    "a PDF": lambda f: b"%PDF-1.7\n",
}


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt", "json", "jsonl", "csv.gz"])
@pytest.mark.parametrize("what", CONTENTS)
def test_a_file_of_another_kind_is_told_by_its_content(what, ending, tmp_path):
    content = CONTENTS[what](tmp_path)
    path = put(
        tmp_path, f"a.{ending}", gzip.compress(content, mtime=0) if "gz" in ending else content
    )
    assert refused(path).startswith(f"{path} is {what} named .{ending}; ")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.csv", '{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n', "JSON Lines"),
        ("a.txt", '{"text": "a", "label": 1}\n', "JSON Lines"),
        ("a.csv", '[\n{"text": "a"}\n]', "a JSON document"),
        ("a.tsv", '[{"text": "a"}]', "a JSON document"),
        ("a.csv", "__label__a some text\n", "fastText's text"),
        ("a.parquet", gzip.compress(b"x", mtime=0), "a gzip file"),
        ("a.xlsx", b"PAR1xxxx", "a Parquet file"),
        ("a.json", '<?xml version="1.0"?>', "an XML file"),
    ],
)
def test_text_of_another_kind_is_told_by_its_content(name, content, what, tmp_path):
    path = put(tmp_path, name, content)
    assert refused(path).startswith(f"{path} is {what} named .{name.split('.')[1]}; ")


def test_a_split_of_a_file_without_splits_is_no_silent_wish(tmp_path):
    path = put(tmp_path, "a.csv", "text\na\n")
    assert refused(path, split="test") == f"{path} holds no splits; leave --split out."
    assert len(rows_of(put(tmp_path, "a_test.csv", "text\na\n"), split="test")) == 1


# Nothing to read


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "\n\n"),
        ("a.csv", b"\xef\xbb\xbf"),
        ("a.csv.gz", gzip.compress(b"", mtime=0)),
        ("a.json", "[]"),
        ("a.jsonl", "{}\n{}\n"),
        ("a.json", "[{}]"),
        ("a.csv", "text,label\n"),
        ("a.csv", "sep=;\n"),
    ],
)
def test_nothing_gets_a_sentence(name, content, tmp_path):
    said = refused(put(tmp_path, name, content))
    assert "holds no rows" in said or "has no columns" in said


@pytest.mark.parametrize("content", ["text,label\n,1\n ,0\n", 'text,label\n"\n",0\n'])
def test_a_dataset_without_any_text_is_refused_before_the_model_is_loaded(content, tmp_path):
    path = put(tmp_path, "a.csv", content)
    with pytest.raises(UserError) as caught:
        audit("no-such-model", path, db=tmp_path / "a.sqlite")
    assert str(caught.value) == (
        f"{path}: no row has a text in column 'text'; choose another with --text-column."
    )


# Which column plays which role

REVIEWS = [f"this is review number {n} of all" for n in range(20)]


def guess(model_labels=(), **columns):
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    found = guess_columns(list(columns), rows, model_labels)
    return {role: (guess.column, guess.by, guess.sure) for role, guess in found.items()}


def test_columns_are_guessed_by_values_where_names_do_not_tell():
    few = ["good", "bad"] * 10
    assert guess(stars=range(20), body=REVIEWS)["text"] == ("body", "values", True)
    assert guess(text=range(20), body=REVIEWS)["text"] == ("body", "values", True)
    assert guess(title=REVIEWS, body=REVIEWS)["text"] == ("title", "values", False)
    assert guess(text=few, body=REVIEWS)["text"] == ("text", "name", True)
    assert guess(doc=[f"这部电影非常好看{n}" for n in range(20)])["text"][2]
    assert "text" not in guess(body=["one review of three words"])
    assert guess(body=REVIEWS, y=few)["label"] == ("y", "values", False)
    assert guess(("Good", "Bad"), body=REVIEWS, by=["a", "b"] * 10, y=few)["label"] == (
        "y",
        "values",
        True,
    )
    assert not guess(("good", "bad"), body=REVIEWS, predicted=few)["label"][2]


def test_a_column_is_taken_by_its_values_only_when_sure(tmp_path):
    rows = "".join(f"{text},{n % 2}\n" for n, text in enumerate(REVIEWS))
    opened = load_examples(put(tmp_path, "a.csv", "body,y\n" + rows))
    assert opened.guessed == {"text": "body"}
    assert "which column holds the text?" in refused(put(tmp_path, "b.csv", rows))
    two = "".join(f"{text},{text},1\n" for text in REVIEWS)
    assert "which column holds the text?" in refused(put(tmp_path, "c.csv", "title,body,y\n" + two))


NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(names=st.lists(NAME.map(str.strip).filter(bool), min_size=1, max_size=4, unique=True))
def test_columns_of_any_name_are_metadata_under_that_name(names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    # "none" as a role's column names that column where there is one.
    names = [name for name in names if name.lower() not in ("text", "meta", "none")]
    row = {"text": "some words here", **{name: f"v{n}" for n, name in enumerate(names)}}
    frame = pd.DataFrame([row])
    frame.to_csv(folder / "a.csv", index=False)
    frame.to_json(folder / "a.json", orient="records")
    frame.to_parquet(folder / "a.parquet")
    for ending in ("csv", "json", "parquet"):
        opened = load_examples(folder / f"a.{ending}", **dict.fromkeys(ROLES, "none"))
        (example,) = opened
        assert example.metadata == {name: row[name] for name in names}


ROLES = ("label_column", "pair_column", "id_column")
