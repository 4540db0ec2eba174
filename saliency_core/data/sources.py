"""File, folder, hub name or table -> its rows, before columns have roles.

The one user of `datasets`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from saliency_core.data.files.arrow_rows import by_name, names_of
from saliency_core.data.files.csv_dialect import dialect_of
from saliency_core.data.files.csv_rows import check_names
from saliency_core.data.files.excel import sheets_of
from saliency_core.data.files.json_rows import listed, split_of
from saliency_core.data.formats import (
    KINDS,
    WITH_HEADER,
    Reading,
    Row,
    check_file,
    kind_of,
    looks_like_file,
    names_in,
    read_rows,
)
from saliency_core.data.identity import digest_of_files, digest_of_rows
from saliency_core.errors import UserError, first_line

STREAMED_ROWS = 1000
"""Rows that tell one stream from another."""
SPLITS = (
    ("train", "training"),
    ("validation", "valid", "val", "dev", "devel", "development"),
    ("test", "testing"),
    ("eval", "evaluation"),
    ("holdout",),
)
"""Names of splits in the names of files, those of one split together."""


@dataclass(frozen=True)
class Opened:
    """A source before its columns have roles."""

    name: str
    source: str
    """As the user gave it."""
    rows: Callable[[], Iterator[Row]]
    label_names: Callable[[str], tuple[str, ...] | None] = lambda column: None
    """Column -> the names a `ClassLabel` gives."""
    may_lack_header: bool = False
    """Whether the first line was taken for a header."""
    columns_vary: bool = False
    """Whether a later row may have columns that the first ones lack."""
    note: Callable[[], str | None] = lambda: None
    """What a user should know of how it is read."""
    identity: str | None = None
    """What tells the source from every other: absolute path or hub name; None: its rows."""
    digest: Callable[[], str] = field(kw_only=True)
    """Return the sha256 of what the source holds."""


def open_source(
    source: Any,
    split: str | None,
    config: str | None,
    revision: str | None,
    header: bool,
    sheet: str | None = None,
) -> Opened:
    """Open whatever a user gives as a dataset; nothing is read yet.

    Raises:
        UserError: what was wrong with it, and the choices.
    """
    if not isinstance(source, (str, Path)):
        return _open_object(source, split)
    path = Path(source).expanduser()
    reading = Reading(header, split, sheet)
    if path.is_dir():
        return _open_folder(path, reading)
    if path.is_file():
        return _open_file(path, str(source), reading)
    if looks_like_file(str(source)):
        raise UserError(f"There is no file {str(source)!r}.{_near_file(path)}")
    return _open_hub(str(source), split, config, revision)


def _near_file(path: Path) -> str:
    """Suggest the file of the nearest name in the same folder."""
    try:
        beside = [child.name for child in path.parent.iterdir() if child.exists()]
    except OSError:
        return f" There is no folder {str(path.parent)!r} either."
    near = difflib.get_close_matches(path.name, beside, 1, 0.6)
    return f" Did you mean {str(path.with_name(near[0]))!r}?" if near else ""


def _open_file(path: Path, described: str, reading: Reading) -> Opened:
    check_file(path, reading)
    kind, split = kind_of(path), reading.split
    if kind != "json" and split is not None and split.lower() not in _words(path.name):
        raise UserError(f"{described} holds no splits; leave --split out.")
    return replace(
        _open_files(path, [path], reading),
        name=path.name.split(".")[0] or path.name,
        source=described,
        note=partial(_note_on, path, kind, reading),
    )


def _note_on(path: Path, kind: str | None, reading: Reading) -> str | None:
    """Say which sheet was read, or which cell of a table may be rows."""
    if kind in ("csv", "tsv"):
        return dialect_of(path, kind).doubt
    if kind == "excel" and reading.sheet is None and len(sheets := sheets_of(path)) > 1:
        return f"Only the sheet {sheets[0]!r} was read, of {listed(sheets)}; choose with --sheet."
    return None


def _open_object(source: Any, split: str | None) -> Opened:
    """Open a pandas DataFrame, a `datasets.Dataset` or a dictionary of these."""
    if isinstance(source, dict) and source:
        return _open_object(split_of(source, split, "the dataset given"), None)
    if hasattr(source, "features"):
        names = _names_of(source)
        classes = [(column, names(column)) for column in source.features or {}]
        declared = [pair for pair in classes if pair[1]]
        return Opened(
            "dataset",
            "the dataset given",
            lambda: _flat(iter(source)),
            names,
            digest=lambda: digest_of_rows(_countable(source), *declared),
        )
    if hasattr(source, "itertuples"):
        columns = [str(name) for name in source.columns]
        check_names(columns, "the table given")

        def rows() -> Iterator[Row]:
            for row in source.itertuples(index=False, name=None):
                yield dict(zip(columns, row, strict=True))

        return Opened("table", "the table given", rows, digest=lambda: digest_of_rows(rows()))
    raise UserError(
        f"A dataset is a path, a hub name, a pandas DataFrame or a datasets.Dataset, not "
        f"{type(source).__name__}."
    )


def _countable(dataset: Any) -> Iterator[Row]:
    """Return the rows of a dataset; of a stream, which may have no end, the first ones."""
    return iter(dataset) if hasattr(dataset, "__len__") else islice(iter(dataset), STREAMED_ROWS)


def _names_of(dataset: Any) -> Callable[[str], tuple[str, ...] | None]:
    """Return a function that gives the names of a `ClassLabel` column."""
    return lambda column: names_of((dataset.features or {}).get(column))


def _open_folder(path: Path, reading: Reading) -> Opened:
    """Open a `save_to_disk` folder or a folder of files of one kind."""
    if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        return _open_saved(path, reading.split)
    shards = _shards(path, reading.split)
    for shard in shards:
        check_file(shard, reading)
    return _open_files(path, shards, reading)


def _open_files(path: Path, shards: list[Path], reading: Reading) -> Opened:
    """Open one file, or those of a folder as one dataset."""
    declared = {shard: names_in(shard) for shard in shards}
    shared = _shared_names(declared)
    varying = any(kind_of(shard) in ("jsonl", "json") for shard in shards)

    def rows() -> Iterator[Row]:
        columns: set[str] | None = None
        for shard in shards:
            own = declared[shard]
            renamed = {column: own[column] for column in own if own[column] != shared[column]}
            for number, row in enumerate(read_rows(shard, reading)):
                if number == 0 and not varying:
                    columns = columns or set(row)
                    if set(row) != columns:
                        raise UserError(
                            f"{shard} has the columns {listed(list(row))}, but {shards[0].name} "
                            "has others; the files of a folder must agree."
                        )
                yield row | {
                    column: by_name(row[column], names)
                    for column, names in renamed.items()
                    if column in row
                }

    return Opened(
        name=path.name,
        source=str(path),
        rows=lambda: _flat(rows()),
        label_names=shared.get,
        may_lack_header=reading.header and kind_of(shards[0]) in WITH_HEADER,
        columns_vary=varying,
        identity=str(path.resolve()) + (f" [{reading.sheet}]" if reading.sheet else ""),
        digest=partial(digest_of_files, shards),
    )


def _shared_names(declared: dict[Path, dict[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """Return column -> the label names of all files, in the order of the first.

    Raises:
        UserError: one file names the labels of a column, another only numbers them.
    """
    shared: dict[str, tuple[str, ...]] = {}
    for names in declared.values():
        for column, own in names.items():
            shared[column] = tuple(dict.fromkeys((*shared.get(column, ()), *own)))
    for column in shared:
        silent = [file.name for file, names in declared.items() if column not in names]
        if silent:
            naming = next(file.name for file, names in declared.items() if column in names)
            raise UserError(
                f"{naming} names the labels of column {column!r}, but {silent[0]} does not; the "
                "files of a folder must agree."
            )
    return shared


def _open_saved(path: Path, split: str | None) -> Opened:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # datasets raises anything for a damaged folder
        said = first_line(error).rstrip(".")
        raise UserError(f"The folder {path} can't be loaded: {said}.") from error
    if isinstance(loaded, datasets.DatasetDict):
        loaded = split_of(loaded, split, str(path))
    return Opened(
        path.name,
        str(path),
        lambda: _flat(iter(loaded)),
        _names_of(loaded),
        identity=str(path.resolve()),
        digest=lambda: digest_of_files(sorted(filter(Path.is_file, path.rglob("*")))),
    )


def _shards(path: Path, split: str | None) -> list[Path]:
    """Return the files of a folder (or its `data` folder) that make up the dataset."""
    inner = [child for child in sorted(path.iterdir()) if child.is_dir()]
    found = _files_in(path)
    for folder in inner if not found else []:
        if folder.name == "data" or _split_of(folder.name) != (None, None):
            found += _files_in(folder)
    if not found:
        raise UserError(
            f"The folder {path} holds no dataset: no CSV, TSV, Excel, JSON, text, Parquet or Arrow "
            "file."
        )
    kinds = {kind_of(file) for file in found}
    if len(kinds) > 1:
        found = [file for file in found if kind_of(file) != "txt"]
        kinds.discard("txt")
    if len(kinds) > 1:
        said = ", ".join(file.name for file in found[:6])
        raise UserError(
            f"The folder {path} holds files of several kinds ({said}); give one of them."
        )
    return _of_split(path, found, split, kinds)


def _of_split(path: Path, found: list[Path], split: str | None, kinds: set[Any]) -> list[Path]:
    """Return the files of one split; a folder of several is never read as one."""
    named = {file: str(file.relative_to(path)) for file in found}
    splits = {file: _split_of(name) for file, name in named.items()}
    names = sorted({name for name, _ in splits.values() if name is not None})
    if split is None and len({group for _, group in splits.values()}) > 1:
        bare = next((file.name for file, (name, _) in splits.items() if name is None), None)
        beside = f" (beside {bare}, which names none)" if bare else ""
        raise UserError(
            f"{path} has several splits{beside}; choose one of {', '.join(names)} with --split."
            if len(names) > 1
            else f"{path} holds the split {names[0]!r}{beside}; choose it with --split or give one "
            "file."
        )
    if split is None:
        return found
    wanted = split.lower()
    chosen = [file for file in found if wanted in _words(named[file])]
    group = next((group[0] for group in SPLITS if wanted in group), None)
    if not chosen and group is not None:
        chosen = [file for file in found if splits[file][1] == group]
    if not chosen and kinds != {"json"}:
        said = ", ".join(file.name for file in found[:6])
        raise UserError(f"{path}: no file is named after the split {split!r}; there are {said}.")
    return chosen or found


def _split_of(name: str) -> tuple[str | None, str | None]:
    """Return the split that a name tells, as it is written there and as it is meant."""
    for word in _words(name):
        bare = re.sub(r"(set|data|split)?\d*$", "", word)
        for group in SPLITS:
            if word in group or bare in group:
                return word, group[0]
    return None, None


def _words(name: str) -> list[str]:
    """Return the parts of a shard's name: train-00000-of-00002.parquet."""
    return re.split(r"[^a-z0-9]+", name.lower())


def _files_in(folder: Path) -> list[Path]:
    return sorted(
        child
        for child in folder.iterdir()
        if child.is_file()
        and not child.name.startswith((".", "_", "~$"))
        and any(suffix.lower() in KINDS for suffix in child.suffixes)
        and kind_of(child) is not None
    )


def _open_hub(name: str, split: str | None, config: str | None, revision: str | None) -> Opened:
    """Open a dataset of the Hugging Face hub."""
    import datasets

    try:
        loaded = datasets.load_dataset(name, config, split=split, revision=revision)
    except Exception as error:  # whatever the hub, the network or a dataset's files raise
        raise UserError(
            f"There is no file {name!r}, and the hub dataset of that name can't be loaded: "
            f"{first_line(error).rstrip('.')}."
        ) from error
    if isinstance(loaded, dict):
        loaded = split_of(loaded, split, name)
    # A fingerprint of `load_dataset` tells of the files the rows came from.
    fingerprint = getattr(loaded, "_fingerprint", None)
    return Opened(
        name,
        name,
        lambda: _flat(iter(loaded)),
        _names_of(loaded),
        identity=f"hub:{name}",
        digest=lambda: fingerprint or digest_of_rows(_countable(loaded)),
    )


def _flat(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows with the keys of a `meta` object as columns of their own.

    Raises:
        UserError: a row of a dataset that isn't UTF-8.
    """
    number = 0
    try:
        for row in rows:
            number += 1
            meta = row.get("meta")
            if isinstance(meta, dict):
                rest = {name: value for name, value in row.items() if name != "meta"}
                taken = {f"meta.{key}" if key in rest else key: meta[key] for key in meta}
                row = {**rest, **taken}
            yield row
    except UnicodeDecodeError as error:
        raise UserError(
            f"The dataset's row {number + 1}: byte 0x{error.object[error.start]:02x} is not UTF-8; "
            "write the texts as UTF-8."
        ) from error
