"""File, folder, hub name or table -> its rows, before columns have roles.

The one user of `datasets`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from saliency_core.data.formats import (
    KINDS,
    Reading,
    Row,
    check_file,
    declared_names,
    kind_of,
    looks_like_file,
    read_rows,
    split_of,
)
from saliency_core.errors import UserError


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


def open_source(
    source: Any, split: str | None, config: str | None, revision: str | None, header: bool
) -> Opened:
    """Open whatever a user gives as a dataset; nothing is read yet.

    Raises:
        UserError: what was wrong with it, and the choices.
    """
    if not isinstance(source, (str, Path)):
        return _open_object(source, split)
    path = Path(source).expanduser()
    if path.is_dir():
        return _open_folder(path, Reading(header, split))
    if path.is_file():
        return _open_file(path, str(source), Reading(header, split))
    if looks_like_file(str(source)):
        raise UserError(f"There is no file {str(source)!r}.{_near_file(path)}")
    return _open_hub(str(source), split, config, revision)


def _near_file(path: Path) -> str:
    """Suggest the file of the nearest name in the same folder."""
    try:
        beside = [child.name for child in path.parent.iterdir()]
    except OSError:
        return f" There is no folder {str(path.parent)!r} either."
    near = difflib.get_close_matches(path.name, beside, 1, 0.6)
    return f" Did you mean {str(path.with_name(near[0]))!r}?" if near else ""


def _open_file(path: Path, described: str, reading: Reading) -> Opened:
    check_file(path)
    return Opened(
        name=path.name.split(".")[0] or path.name,
        source=described,
        rows=lambda: _flat(read_rows(path, reading)),
        label_names=partial(declared_names, path),
        may_lack_header=reading.header and kind_of(path) in ("csv", "tsv"),
    )


def _open_object(source: Any, split: str | None) -> Opened:
    """Open a pandas DataFrame, a `datasets.Dataset` or a dictionary of these."""
    if isinstance(source, dict) and source:
        return _open_object(split_of(source, split, "the dataset given"), None)
    if hasattr(source, "features"):
        return Opened(
            "dataset", "the dataset given", lambda: _flat(iter(source)), _names_of(source)
        )
    if hasattr(source, "itertuples"):
        names = [str(name) for name in source.columns]
        return Opened(
            "table",
            "the table given",
            lambda: (
                dict(zip(names, row, strict=True))
                for row in source.itertuples(index=False, name=None)
            ),
        )
    raise UserError(
        f"A dataset is a path, a hub name, a pandas DataFrame or a datasets.Dataset, not "
        f"{type(source).__name__}."
    )


def _names_of(dataset: Any) -> Callable[[str], tuple[str, ...] | None]:
    """Return a function that gives the names of a `ClassLabel` column."""

    def names(column: str) -> tuple[str, ...] | None:
        found = getattr((dataset.features or {}).get(column), "names", None)
        return tuple(found) if found else None

    return names


def _open_folder(path: Path, reading: Reading) -> Opened:
    """Open a `save_to_disk` folder or a folder of files of one kind."""
    if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        return _open_saved(path, reading.split)
    shards = _shards(path, reading.split)
    for shard in shards:
        check_file(shard)

    def rows() -> Iterator[Row]:
        columns: set[str] | None = None
        for shard in shards:
            for number, row in enumerate(read_rows(shard, reading)):
                if number == 0 and kind_of(shard) not in ("jsonl", "json"):
                    columns = columns or set(row)
                    if set(row) != columns:
                        raise UserError(
                            f"{shard} has the columns {', '.join(row)}, but {shards[0].name} has "
                            "others; the files of a folder must agree."
                        )
                yield row

    return Opened(
        name=path.name,
        source=str(path),
        rows=lambda: _flat(rows()),
        label_names=partial(declared_names, shards[0]),
        may_lack_header=reading.header and kind_of(shards[0]) in ("csv", "tsv"),
    )


def _open_saved(path: Path, split: str | None) -> Opened:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # datasets raises anything for a damaged folder
        raise UserError(f"The folder {path} can't be loaded: {_reason(error)}.") from error
    if isinstance(loaded, datasets.DatasetDict):
        loaded = split_of(loaded, split, str(path))
    return Opened(path.name, str(path), lambda: _flat(iter(loaded)), _names_of(loaded))


def _shards(path: Path, split: str | None) -> list[Path]:
    """Return the files of a folder (or its `data` folder) that make up the dataset."""
    found = _files_in(path) or (_files_in(path / "data") if (path / "data").is_dir() else [])
    if not found:
        raise UserError(
            f"The folder {path} holds no dataset: no CSV, TSV, JSON, text, Parquet or Arrow file."
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
    parts = {name for file in found for name in _words(file)} & {"train", "validation", "test"}
    if split is None and len(parts) > 1:
        raise UserError(
            f"{path} has several splits; choose one of {', '.join(sorted(parts))} with --split."
        )
    chosen = [file for file in found if split is None or split in _words(file)]
    if not chosen and kinds != {"json"}:
        said = ", ".join(file.name for file in found[:6])
        raise UserError(f"{path}: no file is named after the split {split!r}; there are {said}.")
    return chosen or found


def _words(file: Path) -> list[str]:
    """Return the parts of a shard's name: train-00000-of-00002.parquet."""
    return file.name.replace("-", ".").replace("_", ".").lower().split(".")


def _files_in(folder: Path) -> list[Path]:
    return sorted(
        child
        for child in folder.iterdir()
        if child.is_file()
        and not child.name.startswith((".", "_"))
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
            f"{_reason(error)}."
        ) from error
    if isinstance(loaded, dict):
        loaded = split_of(loaded, split, name)
    return Opened(name, name, lambda: _flat(iter(loaded)), _names_of(loaded))


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


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
