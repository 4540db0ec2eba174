"""Every format and every file as its author wrote it; what can't be read gets its sentence."""

import bz2
import csv
import datetime
import gzip
import io
import json
import lzma
import tracemalloc
import zipfile
from collections import Counter

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saliency_core.data import dataset
from saliency_core.data.dataset import load_examples
from saliency_core.errors import UserError

ROWS = [
    {"id": "a", "text": "It is good, really.", "label": "positive", "year": 2001, "ok": True},
    {"id": "b", "text": 'She said "bad"\nand left.', "label": "negative", "year": 2002, "ok": None},
    {"id": "c", "text": "Ça va? 東京 🙂", "label": "positive", "year": None, "ok": False},
]
NAMES = list(ROWS[0])


def as_csv(delimiter=","):
    out = io.StringIO()
    writer = csv.DictWriter(out, NAMES, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue().encode()


def as_lines():
    return "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def as_parquet():
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), out)
    return out.getvalue()


def as_arrow(new):
    out = io.BytesIO()
    table = pyarrow.Table.from_pylist(ROWS)
    with new(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


WRITTEN = {
    "rows.csv": as_csv,
    "rows.tsv": lambda: as_csv("\t"),
    "semicolons.csv": lambda: as_csv(";"),
    "bars.csv": lambda: as_csv("|"),
    "marked.csv": lambda: b"\xef\xbb\xbf" + as_csv(),
    "windows.csv": lambda: as_csv().replace(b"\nand", b"\r\nand"),
    "rows.jsonl": as_lines,
    "rows.ndjson": as_lines,
    "records.json": lambda: json.dumps(ROWS, indent=1).encode(),
    "columns.json": lambda: json.dumps({n: [r[n] for r in ROWS] for n in NAMES}).encode(),
    "split.json": lambda: json.dumps({"test": ROWS}).encode(),
    "column_splits.json": lambda: json.dumps(
        {"test": {n: [r[n] for r in ROWS] for n in NAMES}}
    ).encode(),
    "lines.json": as_lines,
    "rows.parquet": as_parquet,
    "stream.arrow": lambda: as_arrow(pyarrow.ipc.new_stream),
    "file.arrow": lambda: as_arrow(pyarrow.ipc.new_file),
}


def zipped(content, name="rows.csv"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("__MACOSX/._rows.csv", b"x")
        archive.writestr(name, content)
    return out.getvalue()


PACK = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress, ".zip": zipped}


def put(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(source, **choices):
    """Return the sentence a source is refused with, when it is opened or while it is read."""
    with pytest.raises(UserError) as caught:
        list(load_examples(source, **choices))
    return str(caught.value)


@pytest.mark.parametrize("packed", ["", *PACK])
@pytest.mark.parametrize("name", WRITTEN)
def test_every_format_holds_the_same_examples(name, packed, tmp_path):
    content = WRITTEN[name]()
    path = put(tmp_path, name + packed, PACK[packed](content) if packed else content)
    examples = list(load_examples(path))
    texts = [row["text"] for row in ROWS]
    if name == "windows.csv":
        texts[1] = texts[1].replace("\n", "\r\n")
    assert [example.text for example in examples] == texts
    assert [example.id for example in examples] == ["a", "b", "c"]
    assert [example.label for example in examples] == ["positive", "negative", "positive"]
    assert [example.position for example in examples] == [0, 1, 2]
    typed = not any(name.endswith(ending) for ending in (".csv", ".tsv"))
    if typed:
        assert [example.metadata for example in examples] == [
            {"year": row["year"], "ok": row["ok"]} for row in ROWS
        ]


def test_a_zip_takes_its_kind_from_the_file_inside(tmp_path):
    path = put(tmp_path, "reviews.zip", zipped(as_lines(), "deep/rows.jsonl"))
    assert len(list(load_examples(path))) == 3


def test_columns_taken_for_a_role_are_told(tmp_path):
    opened = load_examples(put(tmp_path, "a.csv", "Sentence,y,idx\ngood,1,7\n"), label_column="y")
    assert opened.guessed == {"text": "Sentence", "id": "idx"}
    assert opened.info.columns == {"label": "y", "text": "Sentence", "id": "idx"}
    assert opened.info.metadata_columns == ()


def test_a_role_can_be_left_unfilled(tmp_path):
    path = put(tmp_path, "a.csv", "text,label,id\ngood,1,7\nbad,0,7\n")
    opened = load_examples(path, id_column="none", label_column="none")
    assert [(e.id, e.label, e.metadata) for e in opened] == [
        ("0", None, {"label": "1", "id": "7"}),
        ("1", None, {"label": "0", "id": "7"}),
    ]


def test_columns_missing_in_the_first_line_of_json_are_found(tmp_path):
    path = put(tmp_path, "a.jsonl", '{"text": "one"}\n{"text": "two", "label": 1, "n": 2.5}\n')
    assert [(e.label, e.metadata) for e in load_examples(path)] == [
        (None, {"n": None}),
        ("1", {"n": 2.5}),
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (1, "1"),
        (2.0, "2.0"),
        (True, "true"),
        ("yes ", "yes"),
        ("", None),
        (None, None),
        (float("nan"), None),
        (" ", None),
    ],
)
def test_labels_of_every_kind(written, read):
    table = pd.DataFrame({"text": ["a"], "label": pd.Series([written], dtype=object)})
    assert [e.label for e in load_examples(table)] == [read]


def test_metadata_keeps_what_json_and_sqlite_hold(tmp_path):
    day = datetime.date(2024, 2, 29)
    cells = {"day": day, "big": "x", "tags": ["a", "é"], "raw": b"123", "far": float("inf")}
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"text": "t", **cells}]), path)
    (example,) = load_examples(path)
    assert example.metadata == {
        "day": "2024-02-29",
        "big": "x",
        "tags": '["a", "é"]',
        "raw": "<3 bytes>",
        "far": "inf",
    }
    (example,) = load_examples(put(tmp_path, "b.jsonl", f'{{"text": "t", "n": {2**70}}}'))
    assert example.metadata == {"n": str(2**70)}


def test_half_a_surrogate_and_nul_become_one_replacement_character_each(tmp_path):
    path = put(tmp_path, "a.jsonl", r'{"text": "a\ud800b\u0000c \ud83d\ude42", "id": "\udc00"}')
    (example,) = load_examples(path)
    assert (example.text, example.id) == ("a�b�c 🙂", "�")


def test_a_table_of_pandas_with_its_own_missing_values():
    table = pd.DataFrame(
        {
            "text": pd.Series(["a", None], dtype="string"),
            "label": pd.array([1, None], dtype="Int64"),
            "when": pd.to_datetime(["2024-01-02", None]),
        }
    )
    assert [(e.text, e.label, e.metadata) for e in load_examples(table)] == [
        ("a", "1", {"when": "2024-01-02T00:00:00"}),
        ("", None, {"when": None}),
    ]


@pytest.fixture(scope="module")
def labelled():
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    return datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features)


def test_names_of_a_class_label_are_used_wherever_datasets_writes_them(labelled, tmp_path):
    import datasets

    labelled.save_to_disk(str(tmp_path / "saved"))
    labelled.to_parquet(str(tmp_path / "a.parquet"))
    datasets.DatasetDict(test=labelled).save_to_disk(str(tmp_path / "splits"))
    arrow = next((tmp_path / "saved").glob("*.arrow"))
    sources = [labelled, {"test": labelled}, tmp_path / "saved", tmp_path / "splits", arrow]
    for source in [*sources, tmp_path / "a.parquet"]:
        opened = load_examples(source)
        assert opened.info.label_names == ("no", "yes"), source
        assert [e.label for e in opened] == ["yes", "no", None], source


def test_a_folder_of_shards_is_read_in_order_with_its_splits(tmp_path):
    (tmp_path / "data").mkdir()
    for split, number, text in [("train", 0, "a"), ("train", 1, "b"), ("test", 0, "c")]:
        put(tmp_path / "data", f"{split}-0000{number}-of-00002.csv", f"text\n{text} word\n")
    put(tmp_path / "data", "README.txt", "Some words about it.\n")
    assert "has several splits; choose one of test, train with --split." in refused(tmp_path)
    texts = [e.text for e in load_examples(tmp_path, split="train")]
    assert texts == ["a word", "b word"]
    assert "no file is named after the split 'dev'" in refused(tmp_path, split="dev")


def test_files_of_a_folder_must_agree(tmp_path):
    put(tmp_path, "a.csv", "text\nx\n")
    put(tmp_path, "b.csv", "body\ny\n")
    assert refused(tmp_path) == (
        f"{tmp_path / 'b.csv'} has the columns body, but a.csv has others; the files of a folder "
        "must agree."
    )
    put(tmp_path, "c.jsonl", "{}")
    assert "holds files of several kinds (a.csv, b.csv, c.jsonl)" in refused(tmp_path)


# The files under shared/data/raw, as their authors wrote them

RAW = {
    "ag_news_test_noheader_quoted.csv": (
        {"header": False, "text_column": "column3", "label_column": "column1"},
        7600,
        "Unions representing workers at Turner   Newall say they are 'disappointed'",
        {"1": 1900, "2": 1900, "3": 1900, "4": 1900},
    ),
    "ag_news_train_5k_float_labels.csv": (
        {},
        5000,
        "BBC set for major shake-up, claims newspaper London - The British",
        {"0.0": 1210, "1.0": 1317, "2.0": 1224, "3.0": 1249},
    ),
    "banking77_test.csv": ({}, 3080, "How do I locate my card?", {"card_arrival": 40}),
    "cad_imdb_dev_paired_quoted.tsv": (
        {},
        490,
        "I saw this in the summer of 1990. I'm still annoyed by how bad this movie is",
        {"Negative": 245, "Positive": 245},
    ),
    "cad_nli_dev_all_combined.tsv": (
        {},
        1000,
        "The little boy in jean shorts kicks the soccer ball.",
        {"contradiction": 349, "entailment": 326, "neutral": 325},
    ),
    "clinc150_data_full.json": (
        {"split": "val"},
        3000,
        "in spanish, meet me tomorrow is said how",
        {"translate": 20},
    ),
    "eraser_movies_val_sentences.arrow": (
        {},
        1517,
        "for all its attempts at visual style",
        {"0": 859, "1": 658},
    ),
    "snli_dev_premise_hypothesis.jsonl.gz": (
        {},
        9842,
        "Two women are embracing while holding to go packages.",
        {"contradiction": 3278, "entailment": 3329, "neutral": 3235},
    ),
    "sst2_dev_header.tsv": ({}, 872, "one long string of cliches .", {"0": 428, "1": 444}),
    "sst2_dev_label_first_noheader.tsv": (
        {"header": False, "text_column": "column2", "label_column": "column1"},
        872,
        "one long string of cliches .",
        {"0": 428, "1": 444},
    ),
    "umsab_spanish_test_text.txt": (
        {},
        870,
        "@user jajajaja dale, hacete la boluda vos jajaja",
        {"0": 290, "1": 290, "2": 290},
    ),
}

RAW_REFUSED = {
    "ag_news_classes.txt": (
        "{path}: none of its first lines holds two words; these look like labels, not texts."
    ),
    "git_lfs_pointer_not_data.csv": (
        "{path} is a git-LFS pointer, not the data; fetch the data with `git lfs pull`."
    ),
    "umsab_spanish_test_labels.txt": (
        "{path}: none of its first lines holds two words; these look like labels, not texts. "
        "Are the texts in umsab_spanish_test_text.txt?"
    ),
    "clinc150_data_full.json": (
        "{path} has several splits; choose one of oos_val, val, train, oos_test, test, oos_train "
        "with --split."
    ),
    "sst2_dev_label_first_noheader.tsv": (
        "{path}: which column holds the text? Its columns are 0 ('0'), one long string of cliches "
        '. ("if you \'ve ever enterta…"); choose one with --text-column. If its first line is no '
        "header, say --no-header."
    ),
}


@pytest.mark.parametrize("name", RAW)
def test_a_raw_file_is_read_as_its_author_wrote_it(name, shared):
    choices, count, start, labels = RAW[name]
    examples = list(load_examples(shared / "data/raw" / name, **choices))
    assert len(examples) == count
    assert examples[0].text.startswith(start)
    found = Counter(example.label for example in examples)
    assert {label: found[label] for label in labels} == labels
    assert all(example.text for example in examples)


@pytest.mark.parametrize("name", RAW_REFUSED)
def test_a_raw_file_that_needs_a_word_says_which(name, shared):
    path = shared / "data/raw" / name
    assert refused(path) == RAW_REFUSED[name].format(path=path)


def test_every_raw_file_has_its_test(shared):
    names = {path.name for path in (shared / "data/raw").iterdir()}
    assert names <= {*RAW, *RAW_REFUSED}


def test_line_breaks_inside_cells_stay(shared):
    examples = list(load_examples(shared / "data/raw/banking77_test.csv"))
    assert sum("\n" in example.text for example in examples) == 3
    pairs = list(load_examples(shared / "data/raw/cad_nli_dev_all_combined.tsv"))
    assert pairs[0].pair == "A little boy is playing soccer outside."


# What bad input gets

BAD = {
    "empty.csv": ("", "{path} is empty."),
    "header.csv": ("text,label\n", "{path} holds no rows."),
    "blank.jsonl": ("\n\n", "{path} holds no rows."),
    "latin.csv": (
        b"text\nna\xefve\n",
        "{path}, line 2: byte 0xef at place 3 is not UTF-8; save the file as UTF-8.",
    ),
    "wide.csv": (
        "text,label\ngood,1\nbad, very,0\n",
        "{path}, line 3: 3 cells where there should be 2 (text, label); quote cells that hold the "
        "separator.",
    ),
    "short.tsv": (
        "text\tlabel\n\ngood\n",
        "{path}, line 3: 1 cells where there should be 2 (text, label); quote cells that hold the "
        "separator.",
    ),
    "open.csv": (
        'text,label\ngood,1\n"never closed,0\nbad,1\n',
        "{path}, line 3: a quote is opened and never closed.",
    ),
    "inner.csv": (
        'text,label\n"he said "no" twice",0\n',
        "{path}, line 2: text follows a closing quote; a quote inside a quoted cell is written "
        "twice.",
    ),
    "twice.csv": (
        "a,a\n1,2\n",
        "{path} has two columns named 'a'; if its first line is no header, say --no-header.",
    ),
    "utf16.csv": ("text\ngood".encode("utf-16"), "{path} is UTF-16; save the file as UTF-8."),
    "nul.csv": (
        "text\ngood".encode("utf-16-le"),
        "{path}, line 1: byte 0x00 at place 2; the file is UTF-16 or no text at all; save it as "
        "UTF-8.",
    ),
    "mac.csv": (
        "text,label\rgood,1\r",
        "{path}, line 1: a carriage return without line feed; save the file with ordinary line "
        "ends.",
    ),
    "ids.csv": (
        "id,text\n7,a\n8,b\n7,c\n",
        "{path}: id '7' stands in row 1 and in row 3; ids must differ. The column 'id' was taken "
        "for the id; name another with --id-column, or --id-column none to number the rows.",
    ),
    "noid.jsonl": (
        '{"id": 1, "text": "a"}\n{"text": "b"}\n',
        "{path}: row 2 has no 'id', the column of the id; say --id-column none to number the rows.",
    ),
    "what.csv": (
        "body,score\nsome words,3\n",
        "{path}: which column holds the text? Its columns are body ('some words'), score ('3'); "
        "choose one with --text-column. If its first line is no header, say --no-header.",
    ),
    "broken.jsonl": (
        '{"text": "a"}\n{"text": \n',
        "{path}, line 2: not JSON (Expecting value).",
    ),
    "list.jsonl": ("[1]\n", "{path}, line 1: list instead of an object."),
    "broken.json": ('[{"text": "a"},\n]', "{path}, line 2: not JSON (Expecting value)."),
    "deep.json": ("[" * 100_000, "{path}, line 1: nested too deeply."),
    "number.json": (
        "3",
        "{path} holds neither a list of records, nor columns, nor splits of either.",
    ),
    "records.json": ("[1]", "{path}, record 1: int is no record."),
    "uneven.json": (
        '{"text": ["a", "b"], "label": [1]}',
        "{path}: its columns differ in length (text: 2, label: 1).",
    ),
    "tokens.jsonl": (
        '{"text": ["a", "b"]}',
        "{path}: column 'text' holds a list in row 1, not a text; choose another with "
        "--text-column.",
    ),
    "cut.csv.gz": (
        gzip.compress(as_csv() * 50, mtime=0)[:60],
        "{path} can't be read: Compressed file ended before the end-of-stream marker was reached.",
    ),
    "no.csv.gz": (b"text", "{path} can't be read: Not a gzipped file (b'te')."),
    "two.zip": (
        PACK[".zip"](b"x", "x/"),
        "{path} holds 0 files; a dataset is a zip of one.",
    ),
    "image.png": (
        b"\x89PNG",
        "{path}: .png is no kind of dataset; use .csv, .tsv, .txt, .jsonl, .json, .parquet, "
        ".arrow or .xlsx (also with .gz, .xz, .bz2 or .zip).",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_its_sentence(name, tmp_path):
    content, sentence = BAD[name]
    path = put(tmp_path, name, content)
    assert refused(path) == sentence.format(path=path)


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_damaged_binary_file_is_named(ending, tmp_path):
    path = put(tmp_path, f"a.{ending}", b"not at all")
    assert refused(path).startswith(f"{path} is not a{'n' if ending == 'arrow' else ''} ")


def test_what_is_not_there(tmp_path):
    put(tmp_path, "reviews.csv", "text\na\n")
    path = tmp_path / "review.csv"
    assert refused(path) == (
        f"There is no file '{path}'. Did you mean '{tmp_path / 'reviews.csv'}'?"
    )
    assert refused(tmp_path / "no" / "a.csv").endswith(
        f"There is no folder '{tmp_path / 'no'}' either."
    )
    (tmp_path / "bare").mkdir()
    assert "holds no dataset" in refused(tmp_path / "bare")
    assert refused(3) == (
        "A dataset is a path, a hub name, a pandas DataFrame or a datasets.Dataset, not int."
    )


def test_a_hub_name_that_cannot_be_loaded_is_named():
    sentence = refused("nobody-at-all/no-such-dataset")
    assert sentence.startswith("There is no file 'nobody-at-all/no-such-dataset', and the hub")


def test_a_hub_name_is_asked_for_with_its_configuration_split_and_revision(monkeypatch, labelled):
    import datasets

    asked = []

    def load_dataset(*names, **choices):
        asked.append((names, choices))
        return labelled if choices["split"] else datasets.DatasetDict(test=labelled, dev=labelled)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    opened = load_examples("some/data", config="en", split="test", revision="v2")
    assert asked == [(("some/data", "en"), {"split": "test", "revision": "v2"})]
    assert (opened.info.split, opened.info.revision) == ("test", "v2")
    assert [example.label for example in opened] == ["yes", "no", None]
    assert refused("some/data") == (
        "some/data has several splits; choose one of test, dev with --split."
    )


def test_an_unknown_column_gets_the_list_and_the_nearest(tmp_path):
    path = put(tmp_path, "a.csv", "text,label\na,1\n")
    assert refused(path, label_column="lable") == (
        f"{path} has no column 'lable'; its columns are text, label. Did you mean 'label'?"
    )
    assert refused(path, metadata_columns=["xyzzy"]) == (
        f"{path} has no column 'xyzzy'; its columns are text, label."
    )
    assert refused(path, text_column="column2").endswith(
        "If its first line is no header, say --no-header."
    )
    assert "can't be both --text-column and --label-column" in refused(
        path, text_column="text", label_column="text"
    )


def test_parallel_files_of_different_length_are_refused(tmp_path):
    path = put(tmp_path, "x_text.txt", "one word\ntwo words\n")
    labels = put(tmp_path, "x_labels.txt", "1\n")
    assert refused(path) == (
        f"{labels} ends before line 2, but x_text.txt and x_labels.txt belong together line by "
        "line."
    )


def test_names_that_steer_a_terminal_stay_on_one_line(tmp_path):
    path = put(tmp_path, "a.jsonl", json.dumps({"a\n\x1b[2Jb": None}) + "\n")
    assert "are a [2Jb (" in refused(path)


# Laws

TEXT_ENDINGS = [".csv", ".tsv", ".txt", ".jsonl", ".json"]
JSONISH = st.text(alphabet='{}[]",:\\ue01 \ntextlabel.-', max_size=60)
CSVISH = st.text(alphabet='",;|\t\r\n ab1é\0', max_size=80)
FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def drained(path, **choices):
    try:
        return list(load_examples(path, **choices))
    except UserError as error:
        assert "\n" not in str(error).strip()
        return None


@pytest.mark.parametrize("ending", TEXT_ENDINGS)
@FUZZ
@given(content=st.one_of(st.binary(max_size=80), JSONISH.map(str.encode), CSVISH.map(str.encode)))
def test_no_bytes_cause_a_traceback(ending, content, tmp_path):
    path = put(tmp_path, f"a{ending}", content)
    drained(path)
    if ending in (".csv", ".tsv", ".txt"):
        drained(path, header=False, text_column="column1")


@FUZZ
@given(content=st.binary(max_size=80), ending=st.sampled_from(list(PACK)))
def test_no_archive_causes_a_traceback(content, ending, tmp_path):
    drained(put(tmp_path, f"a.csv{ending}", content))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
OBJECTS = st.dictionaries(
    st.sampled_from(["text", "label", "id", "meta", "pair", "x"]), VALUES, min_size=1
)


@FUZZ
@given(rows=st.lists(OBJECTS, min_size=1, max_size=4), whole=st.booleans())
def test_no_json_value_causes_a_traceback_and_what_is_read_can_be_stored(rows, whole, tmp_path):
    content = json.dumps(rows) if whole else "\n".join(map(json.dumps, rows))
    path = put(tmp_path, "a.json" if whole else "a.jsonl", content)
    for example in drained(path) or []:
        for text in (example.text, example.id, example.pair or "", example.label or ""):
            text.encode()
        json.dumps(example.metadata, allow_nan=False).encode()


CELL = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\ufeff"), max_size=12
)


@FUZZ
@given(cells=st.lists(CELL, min_size=1, max_size=6), labels=st.lists(CELL, min_size=6, max_size=6))
def test_a_csv_of_any_text_reads_back_as_written(cells, labels, tmp_path):
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["text", "extra"])
        writer.writerows(zip(cells, labels, strict=False))
    examples = list(load_examples(path))
    assert [e.text for e in examples] == cells
    assert [e.metadata["extra"] for e in examples] == labels[: len(cells)]


@FUZZ
@given(cells=st.lists(st.text(max_size=20), min_size=1, max_size=6))
def test_json_lines_of_any_text_read_back_as_written(cells, tmp_path):
    path = put(tmp_path, "a.jsonl", "\n".join(json.dumps({"text": cell}) for cell in cells))
    storable = [
        "".join("�" if ch == "\0" or "\ud800" <= ch <= "\udfff" else ch for ch in cell)
        for cell in cells
    ]
    assert [e.text for e in load_examples(path)] == storable


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_reading_holds_no_more_than_a_few_rows(ending, tmp_path):
    """Reading 40 times the rows takes the same memory."""
    peaks = []
    for rows in (500, 20_000):
        path = tmp_path / f"{rows}.{ending}"
        text = "word " * 100
        with path.open("w") as file:
            if ending == "csv":
                file.write("text,label\n")
            for row in range(rows):
                line = f'"{text}",{row}\n' if ending == "csv" else json.dumps({"text": text}) + "\n"
                file.write(line)
        tracemalloc.start()
        assert sum(1 for _ in load_examples(path)) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 50_000


def test_duplicate_ids_are_found_wherever_they_stand(monkeypatch):
    monkeypatch.setattr(dataset._Seen, "BUFFER", 8)
    for first, second in [(0, 1), (3, 90), (88, 99)]:
        ids = [str(number) for number in range(100)]
        ids[second] = ids[first]
        table = pd.DataFrame({"text": "a", "id": ids})
        sentence = f"id '{first}' stands in row {first + 1} and in row {second + 1};"
        assert sentence in refused(table)
    assert len(list(load_examples(pd.DataFrame({"text": "a", "id": range(100)})))) == 100


def test_two_ids_of_one_fingerprint_are_no_duplicates(monkeypatch):
    monkeypatch.setattr(dataset, "hash", lambda id: 1, raising=False)
    assert len(list(load_examples(pd.DataFrame({"text": "a", "id": range(9)})))) == 9
