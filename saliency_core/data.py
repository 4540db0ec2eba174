"""File, folder, hub name or table -> Examples; the one user of `datasets`.

Rows are streamed: nothing here holds more than one row group of a file.
"""

from __future__ import annotations

import bz2
import csv
import difflib
import gzip
import io
import itertools
import json
import lzma
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saliency_core.errors import UserError
from saliency_core.records import DatasetInfo, Example

ROLE_NAMES = {
    "text": ("text", "sentence", "sentence1", "premise", "review", "content", "message", "query"),
    "pair": ("text_pair", "pair", "sentence2", "hypothesis", "text2"),
    "label": ("label", "gold_label", "labels", "category", "class", "sentiment", "intent"),
    "id": ("id", "idx", "uid", "guid", "example_id"),
}
"""Column names taken for a role where the user names none; the first found wins."""

COMPRESSIONS: dict[str, Callable] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
TEXT_KINDS = {".csv": "csv", ".tsv": "tsv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
TEXT_KINDS |= {".json": "json"}
BINARY_KINDS = {".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
LFS_MARK = "version https://git-lfs.github.com/spec/"
SNIFFED_CHARACTERS = 65_536
MAX_CELL = 100_000_000
"""Characters a CSV cell may hold; the csv module's own limit is too low for documents."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Dataset:
    """A source of examples; iterating streams it anew each time."""

    info: DatasetInfo
    guessed: dict[str, str]
    """Role -> column the user did not name, to be shown."""
    rows: Callable[[], Iterator[Row]]
    limit: int | None = None

    def __iter__(self) -> Iterator[Example]:
        """Yield the examples in the order of the source; duplicate ids are an error."""
        seen: dict[str, int] = {}
        for position, row in enumerate(itertools.islice(self.rows(), self.limit)):
            example = self._example(position, row)
            if "id" in self.info.columns:
                if example.id in seen:
                    raise UserError(
                        f"{self.info.source}: id {example.id!r} stands in row "
                        f"{seen[example.id] + 1} and in row {position + 1}; ids must differ. "
                        "Leave --id-column out to number the rows."
                    )
                seen[example.id] = position
            yield example

    def _example(self, position: int, row: Row) -> Example:
        columns = self.info.columns
        return Example(
            position=position,
            id=str(row[columns["id"]]) if "id" in columns else str(position),
            text=_as_text(row.get(columns["text"])),
            pair=_as_text(row.get(columns["pair"])) if "pair" in columns else None,
            label=self._label(row.get(columns["label"])) if "label" in columns else None,
            metadata={name: _plain(row.get(name)) for name in self.info.metadata_columns},
        )

    def _label(self, value: Any) -> str | None:
        names = self.info.label_names
        if value is None or value == "" or value != value:
            return None
        if names is not None and isinstance(value, int) and not isinstance(value, bool):
            return names[value] if 0 <= value < len(names) else None
        return str(value).lower() if isinstance(value, bool) else str(value)


def _as_text(value: Any) -> str:
    """Return a cell as text; a missing one is empty."""
    return "" if value is None or value != value else str(value)


def _plain(value: Any) -> Any:
    """Return metadata as str, int, float, bool or None."""
    if hasattr(value, "item"):
        value = value.item()
    if value is None or value != value:
        return None
    return value if isinstance(value, (str, int, float, bool)) else json.dumps(value, default=str)


def load_examples(
    source: Any,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    metadata_columns: list[str] | None = None,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    header: bool = True,
    limit: int | None = None,
) -> Dataset:
    """Open a dataset and settle which column plays which role; nothing is read but its start.

    Args:
        source: a file (CSV, TSV, JSON Lines, JSON, Parquet, Arrow; also gzip, xz, bz2 or zip of
            the text ones), a folder of them, a `datasets.save_to_disk` folder, a hub name, a
            pandas DataFrame or a `datasets.Dataset`.
        text_column: column of the text; guessed where None, as are the next three.
        pair_column: column of a second text.
        label_column: column of the gold label.
        id_column: column of a stable id.
        metadata_columns: columns kept beside; None keeps all others.
        split: split of a hub dataset or of a JSON file of splits.
        config: configuration of a hub dataset.
        revision: revision of a hub dataset.
        header: whether a CSV or TSV starts with column names; else they are column1, column2, ...
        limit: only the first rows.

    Raises:
        UserError: what was wrong with the source, where, and the choices.
    """
    name, described, rows, label_names = _open(
        source, split, config, revision, header, label_column
    )
    first = next(iter(rows()), None)
    if first is None:
        raise UserError(f"{described} holds no rows.")
    wanted = {"text": text_column, "pair": pair_column, "label": label_column, "id": id_column}
    columns, guessed = _roles(list(first), wanted, described)
    return Dataset(
        info=DatasetInfo(
            name=name,
            source=described,
            split=split,
            revision=revision,
            columns=columns,
            metadata_columns=_metadata_columns(list(first), columns, metadata_columns, described),
            label_names=label_names(columns.get("label")),
        ),
        guessed=guessed,
        rows=rows,
        limit=limit,
    )


def _roles(
    names: list[str], wanted: dict[str, str | None], described: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Return role -> column, and the guessed part of it."""
    columns: dict[str, str] = {}
    guessed: dict[str, str] = {}
    for role, name in wanted.items():
        if name is not None:
            _check_column(name, names, described)
            columns[role] = name
    lower = {name.lower(): name for name in reversed(names)}
    for role, candidates in ROLE_NAMES.items():
        if role in columns:
            continue
        found = next((lower[name] for name in candidates if name in lower), None)
        if found is not None and found not in columns.values():
            columns[role] = guessed[role] = found
    if "text" not in columns:
        raise UserError(
            f"{described}: which column holds the text? Its columns are {', '.join(names)}; "
            "choose one with --text-column."
        )
    return columns, guessed


def _metadata_columns(
    names: list[str], columns: dict[str, str], wanted: list[str] | None, described: str
) -> tuple[str, ...]:
    if wanted is None:
        return tuple(name for name in names if name not in columns.values())
    for name in wanted:
        _check_column(name, names, described)
    return tuple(wanted)


def _check_column(name: str, names: list[str], described: str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, 1, 0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(
            f"{described} has no column {name!r}; its columns are {', '.join(names)}.{hint}"
        )


Opened = tuple[
    str, str, Callable[[], Iterator[Row]], Callable[[str | None], tuple[str, ...] | None]
]


def _no_names(column: str | None) -> None:
    """Return no label names: text files name none."""


def _open(
    source: Any,
    split: str | None,
    config: str | None,
    revision: str | None,
    header: bool,
    label_column: str | None,
) -> Opened:
    """Return name, description, a function that streams rows, and one that names labels."""
    if not isinstance(source, (str, Path)):
        return _open_object(source)
    path = Path(source).expanduser()
    if path.is_dir():
        return _open_folder(path, split, header)
    if path.is_file():
        _check_file(path)
        return _stem(path), str(source), lambda: _flat(_read(path, split, header)), _no_names
    if path.suffix in (*TEXT_KINDS, *BINARY_KINDS, *COMPRESSIONS, ".zip") or str(source).startswith(
        (".", "/", "~")
    ):
        raise UserError(f"There is no file {str(source)!r}.")
    return _open_hub(str(source), split, config, revision)


def _stem(path: Path) -> str:
    return path.name.split(".")[0] or path.name


def _open_object(source: Any) -> Opened:
    """Open a pandas DataFrame or a `datasets.Dataset`."""
    if hasattr(source, "features"):
        return "dataset", "the dataset given", lambda: _flat(iter(source)), _names_of(source)
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        names = [str(name) for name in source.columns]
        return (
            "table",
            "the table given",
            lambda: (dict(zip(names, row, strict=True)) for row in source.itertuples(index=False)),
            _no_names,
        )
    raise UserError(
        f"A dataset is a path, a hub name, a pandas DataFrame or a datasets.Dataset, not "
        f"{type(source).__name__}."
    )


def _names_of(dataset: Any) -> Callable[[str | None], tuple[str, ...] | None]:
    """Return a function that gives the names of a `ClassLabel` column."""

    def names(column: str | None) -> tuple[str, ...] | None:
        feature = (dataset.features or {}).get(column) if column else None
        found = getattr(feature, "names", None)
        return tuple(found) if found else None

    return names


def _open_folder(path: Path, split: str | None, header: bool) -> Opened:
    """Open a `save_to_disk` folder or a folder of files of one kind."""
    if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        import datasets

        loaded = datasets.load_from_disk(str(path))
        if isinstance(loaded, datasets.DatasetDict):
            loaded = _split_of(loaded, split, str(path))
        return path.name, str(path), lambda: _flat(iter(loaded)), _names_of(loaded)
    shards = sorted(
        child for child in path.iterdir() if child.is_file() and _kind(child) is not None
    )
    if not shards:
        raise UserError(
            f"The folder {path} holds no dataset: no CSV, TSV, JSON, Parquet or Arrow file."
        )
    for shard in shards:
        _check_file(shard)
    return (
        path.name,
        str(path),
        lambda: _flat(row for shard in shards for row in _read(shard, split, header)),
        _no_names,
    )


def _split_of(loaded: Any, split: str | None, described: str) -> Any:
    names = list(loaded)
    if split is None and len(names) == 1:
        return loaded[names[0]]
    if split not in names:
        said = f"no split {split!r}" if split else "several splits"
        raise UserError(f"{described} has {said}; choose one of {', '.join(names)} with --split.")
    return loaded[split]


def _open_hub(name: str, split: str | None, config: str | None, revision: str | None) -> Opened:
    """Open a dataset of the Hugging Face hub."""
    import datasets

    try:
        loaded = datasets.load_dataset(name, config, split=split, revision=revision)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"There is no file {name!r}, and the hub dataset of that name can't be loaded: {reason}"
        ) from error
    if isinstance(loaded, dict):
        loaded = _split_of(loaded, split, name)
    return name, name, lambda: _flat(iter(loaded)), _names_of(loaded)


def _kind(path: Path) -> str | None:
    """Return csv, tsv, jsonl, json, parquet or arrow by the name of a file, compression aside."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (*COMPRESSIONS, ".zip"):
        suffixes.pop()
    last = suffixes[-1] if suffixes else ""
    return TEXT_KINDS.get(last) or BINARY_KINDS.get(last)


def _check_file(path: Path) -> None:
    """Refuse an empty file, a git-LFS pointer and an unknown kind."""
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty.")
    with path.open("rb") as file:
        start = file.read(len(LFS_MARK))
    if start == LFS_MARK.encode():
        raise UserError(
            f"{path} is a git-LFS pointer, not the data; fetch the data with `git lfs pull`."
        )
    if _kind(path) is None and path.suffix.lower() != ".zip":
        raise UserError(
            f"{path}: {path.suffix or 'a name without ending'} is no kind of dataset; use .csv, "
            ".tsv, .jsonl, .json, .parquet or .arrow (also with .gz, .xz, .bz2 or .zip)."
        )


def _read(path: Path, split: str | None, header: bool) -> Iterator[Row]:
    """Stream the rows of one file."""
    kind = _kind(path)
    if kind == "parquet":
        return _read_parquet(path)
    if kind == "arrow":
        return _read_arrow(path)
    if kind == "jsonl":
        return _read_jsonl(path)
    if kind == "json":
        return _read_json(path, split)
    return _read_csv(path, kind, header)


def _open_bytes(path: Path) -> io.BufferedIOBase:
    suffix = path.suffix.lower()
    if suffix == ".zip":
        archive = zipfile.ZipFile(path)
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) != 1:
            raise UserError(f"{path} holds {len(names)} files; a dataset is a zip of one.")
        return archive.open(names[0])
    return COMPRESSIONS.get(suffix, open)(path, "rb")


def _lines(path: Path) -> Iterator[str]:
    """Yield decoded lines; a wrong encoding is named with its byte and line."""
    number = 0
    try:
        with _open_bytes(path) as file:
            for number, line in enumerate(file, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                yield text.replace("\0", "") if "\0" in text else text
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number}: byte 0x{error.object[error.start]:02x} at place "
            f"{error.start + 1} is not UTF-8; save the file as UTF-8."
        ) from error
    except (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} can't be read: {error}.") from error


def _read_csv(path: Path, kind: str | None, header: bool) -> Iterator[Row]:
    """Stream a CSV or TSV; a row with another number of cells is named with its line."""
    csv.field_size_limit(MAX_CELL)
    start = "".join(itertools.islice(_lines(path), 50))[:SNIFFED_CHARACTERS]
    reader = csv.reader(_lines(path), **_dialect(start, kind))
    names: list[str] | None = None
    try:
        for cells in reader:
            if not cells:
                continue
            if names is None:
                names = cells if header else [f"column{place + 1}" for place in range(len(cells))]
                if header:
                    _check_header(names, path)
                    continue
            if len(cells) != len(names):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells where there should be "
                    f"{len(names)} ({', '.join(names)}); quote cells that hold the separator."
                )
            yield dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}.") from error


def _check_header(names: list[str], path: Path) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"{path} has two columns named {twice[0]!r}; if its first line is no header, say "
            "--no-header."
        )


def _dialect(start: str, kind: str | None) -> dict[str, Any]:
    """Return delimiter and quoting, from the first lines."""
    first = start.splitlines()[0] if start else ""
    if kind == "tsv" or "\t" in first:
        delimiter = "\t"
    else:
        delimiter = max(",;|", key=first.count)
    # A quote that opens a cell is quoting; one inside words is a character of the text.
    opened = any(line.startswith('"') or f'{delimiter}"' in line for line in start.splitlines())
    balanced = start.count('"') % 2 == 0 or len(start) >= SNIFFED_CHARACTERS
    if delimiter == "\t" and not (opened and balanced and _closed_quotes(start, delimiter)):
        return {"delimiter": delimiter, "quoting": csv.QUOTE_NONE}
    return {"delimiter": delimiter}


def _closed_quotes(start: str, delimiter: str) -> bool:
    """Return whether cells that begin with a quote also end with one."""
    ends = start.count(f'"{delimiter}') + start.count('"\n') + start.count('"\r')
    begins = start.count(f'{delimiter}"') + start.count('\n"') + start.startswith('"')
    return begins > 0 and ends >= begins // 2


def _read_jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not JSON ({error.msg}).") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: {type(row).__name__} instead of an object.")
        yield row


def _read_json(path: Path, split: str | None) -> Iterator[Row]:
    """Read records, columns or splits of either."""
    try:
        value = json.loads("".join(_lines(path)))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from _read_jsonl(path)
            return
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg}).") from error
    yield from _json_rows(value, path, split)


def _json_rows(value: Any, path: Path, split: str | None) -> Iterator[Row]:
    if isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()):
        lists = [item for column in value.values() for item in column[:1]]
        if lists and all(isinstance(item, (dict, list)) for item in lists):
            value = _split_of(value, split, str(path))
        else:
            yield from _columns(value, path)
            return
    if not isinstance(value, list):
        raise UserError(f"{path} holds neither a list of records nor columns.")
    for number, row in enumerate(value, 1):
        if isinstance(row, list):
            row = dict(zip(("text", "label", *map(str, range(3, 99))), row, strict=False))
        if not isinstance(row, dict):
            raise UserError(f"{path}, record {number}: {type(row).__name__} is no record.")
        yield row


def _columns(value: dict[str, list], path: Path) -> Iterator[Row]:
    lengths = {len(column) for column in value.values()}
    if len(lengths) > 1:
        raise UserError(f"{path}: its columns differ in length ({sorted(lengths)}).")
    for cells in zip(*value.values(), strict=True):
        yield dict(zip(value, cells, strict=True))


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(1024):
                yield from batch.to_pylist()
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a Parquet file: {error}.") from error


def _read_arrow(path: Path) -> Iterator[Row]:
    """Stream an Arrow file, in the stream or the file format."""
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as source:
            try:
                batches: Iterable = pyarrow.ipc.open_stream(source)
            except pyarrow.ArrowInvalid:
                reader = pyarrow.ipc.open_file(source)
                batches = (reader.get_batch(n) for n in range(reader.num_record_batches))
            for batch in batches:
                yield from batch.to_pylist()
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not an Arrow file: {error}.") from error


def _flat(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows with the keys of a `meta` object as columns of their own."""
    for row in rows:
        meta = row.get("meta")
        if isinstance(meta, dict):
            row = {
                **{k: v for k, v in row.items() if k != "meta"},
                **{key: value for key, value in meta.items() if key not in row},
            }
        yield row
