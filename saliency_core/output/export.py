"""An audit or a slice -> CSV, JSON Lines, Parquet or a `datasets` folder; streamed.

Examples go out with their stable ids, so that what others add comes back to the right row.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from saliency_core.atomic import replacing
from saliency_core.errors import UserError
from saliency_core.jsonable import plain
from saliency_core.progress import Progress, silent
from saliency_core.store import Run, Slice
from saliency_core.store.read.examples import probabilities

FORMATS = ("jsonl", "csv", "parquet", "datasets")
ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
BATCH = 1024
"""Rows held at once."""
FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""What a spreadsheet may take for a formula; quotes before it are counted in, so that the guard
can be taken off again without doubt."""

Record = dict[str, Any]
Row = TypeVar("Row")


@dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    output: str
    format: str
    run: int
    examples: int
    layers: list[int]


def export(
    part: Slice,
    output: str | Path,
    *,
    format: str | None = None,
    layers: Iterable[int] | None = None,
    progress: Progress = silent,
) -> Exported:
    """Write the examples of a slice with predictions, words, notes and verdicts.

    What was at `output` is replaced only when all is written.

    Args:
        part: a slice.
        output: File or, for `datasets`, folder.
        format: One of `FORMATS`; by the ending of `output` where None.
        layers: Layers whose words are written; the recommended one where None.
        progress: Called with stage, done, total.

    Raises:
        UserError: a format, layer, slice or place that can't be.
    """
    run = part.run
    output = Path(output)
    format = _format(output, format)
    _check_place(output, format, run.store.path)
    layers = _layers(run, layers)
    total = part.count()
    rows = counted(records(part, layers=layers), total, progress)
    write = {
        "jsonl": _write_jsonl,
        "csv": _write_csv,
        "parquet": _write_parquet,
        "datasets": _write_datasets,
    }[format]
    with replacing(output) as target:
        write(target, rows, _Shape.of(part, layers))
    return Exported(str(output), format, run.number, total, layers)


def records(part: Slice, *, layers: Iterable[int] | None = None) -> Iterator[Record]:
    """Yield the examples of a slice as JSON Lines hold them, in the order of the dataset."""
    run = part.run
    layers = _layers(run, layers)
    names, task = run.label_names, run.model.task
    notes = {row["id"]: _of(row, "note", "proposed_label") for row in _rows(run.notes())}
    verdicts = _rows(run.verdicts()[["word", "class", "verdict", "note"]])
    for some in in_batches(part.positions()):
        by_layer = {layer: run.top_words(some, layer) for layer in layers}
        shown = next(iter(by_layer.values()), None) or run.top_words(some, 0)
        rows = zip(_rows(run.examples_at(some)), run.details(some), shown, strict=True)
        for place, (row, extra, words) in enumerate(rows):
            found = probabilities(extra["logits"], task).tolist()
            vocabulary = {word["word"].lower() for word in words}
            yield {
                **_of(row, "id", "text", "pair"),
                "label": extra["label"],
                **_of(row, "gold", "predicted", "confidence", "margin"),
                # JSON has no number for what is not finite.
                "probabilities": {
                    name: value if math.isfinite(value) else None
                    for name, value in zip(names, found, strict=False)
                },
                **_of(row, "chars_seen", "chars_total", "failure"),
                "layers": {
                    str(layer): [
                        word | {name: round(word[name], 6) for name in ("score", "share")}
                        for word in words[place]
                    ]
                    for layer, words in by_layer.items()
                },
                "meta": extra["metadata"],
                **notes.get(row["id"], {"note": None, "proposed_label": None}),
                "verdicts": [
                    verdict
                    for verdict in verdicts
                    if verdict["word"] in vocabulary and verdict["class"] == row["predicted"]
                ],
            }


def in_batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield rows in lists of `BATCH`."""
    rows = iter(rows)
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


def counted(rows: Iterable[Row], total: int, progress: Progress) -> Iterator[Row]:
    """Yield rows, telling how many of them were written."""
    for done, row in enumerate(rows, 1):
        yield row
        if done % 100 == 0 or done == total:
            progress("exporting", done, total)


def _of(row: Record, *names: str) -> Record:
    return {name: row[name] for name in names}


def _rows(frame: pd.DataFrame) -> list[Record]:
    return plain(frame.to_dict("records"))


# What may be asked for


def _format(output: Path, format: str | None) -> str:
    if format is None:
        format = ENDINGS.get(output.suffix.lower(), "datasets" if not output.suffix else None)
    if format not in FORMATS:
        unnamed = f"{output} has no ending that names a format"
        said = f"{format!r} is not a format" if format else unnamed
        raise UserError(f"{said}; choose --format {', '.join(FORMATS)}.")
    return format


def _check_place(output: Path, format: str, database: Path) -> None:
    """Refuse to write over the database or over a folder that is no earlier export."""
    if output.exists() and output.resolve() == Path(database).resolve():
        raise UserError(f"{output} is the database itself; choose another --output.")
    if not output.parent.is_dir():
        raise UserError(f"There is no folder {output.parent} to write {output.name} into.")
    if output.is_dir():
        if format != "datasets":
            raise UserError(f"{output} is a folder; {format} needs the name of a file.")
        if any(output.iterdir()) and not (output / "dataset_info.json").exists():
            raise UserError(
                f"The folder {output} contains something else; choose another --output."
            )


def parse_layers(text: str | None, top: int) -> list[int] | None:
    """Return the layers of "all", "none" or "5,6"; None where nothing was said."""
    if text is None:
        return None
    if text.strip() == "all":
        return list(range(top + 1))
    if text.strip() == "none":
        return []
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"--layers {text!r} is neither all, none nor numbers from 0 to {top} with commas."
        ) from None


def _layers(run: Run, layers: Iterable[int] | None) -> list[int]:
    if layers is None:
        return [run.layer_to_read()]
    return sorted({run.layer_to_read(layer) for layer in layers})


# Writing


@dataclass(frozen=True)
class _Shape:
    """What the columns of a table have to hold."""

    labels: list[str]
    layers: list[int]
    metadata: dict[str, type]
    """Column -> bool, int, float or str."""

    @classmethod
    def of(cls, part: Slice, layers: list[int]) -> _Shape:
        run = part.run
        kinds: dict[str, set[type]] = {name: set() for name in run.metadata_columns()}
        for some in in_batches(part.positions() if kinds else ()):
            for row in run.details(some):
                for name, value in row["metadata"].items():
                    if value is not None:
                        kinds.setdefault(name, set()).add(type(value))
        metadata = {name: _common(found) for name, found in kinds.items()}
        return cls(run.label_names, layers, metadata)


def _common(kinds: set[type]) -> type:
    """Return the narrowest type that holds all values."""
    if len(kinds) == 1:
        return next(iter(kinds))
    return float if kinds == {int, float} else str


def _write_jsonl(target: Path, rows: Iterable[Record], shape: _Shape) -> None:
    with target.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def guard(value: Any) -> Any:
    """Return a cell so that no spreadsheet runs it as a formula; `unguard` takes that off."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def unguard(value: str) -> str:
    """Return the text of a guarded cell."""
    return value[1:] if value.startswith("'") and FORMULA.match(value) else value


def frame_as_csv(frame: pd.DataFrame) -> bytes:
    """Return a table as CSV, its texts guarded; lists and dictionaries become JSON."""

    def cell(value: Any) -> Any:
        return json.dumps(value) if isinstance(value, list | dict) else guard(value)

    plain = frame.apply(lambda column: column if column.dtype.kind in "iufb" else column.map(cell))
    return plain.rename(columns=guard).to_csv(index=False).encode()


def frame_as_json_lines(frame: pd.DataFrame) -> bytes:
    """Return a table as JSON Lines; what pandas calls missing is null."""
    lines = (json.dumps(row, ensure_ascii=False, default=str) for row in _rows(frame))
    return "".join(f"{line}\n" for line in lines).encode()


def _write_csv(target: Path, rows: Iterable[Record], shape: _Shape) -> None:
    """Write a row an example: a column a label, a metadata column and a layer (words as JSON)."""
    with target.open("w", encoding="utf-8", newline="") as file:
        writer: csv.DictWriter[str] | None = None
        for row in rows:
            cells = _cells(row, shape)
            if writer is None:
                writer = csv.DictWriter(file, [*cells])
                writer.writerow({name: guard(name) for name in cells})
            writer.writerow({name: guard(value) for name, value in cells.items()})


def _cells(row: Record, shape: _Shape) -> Record:
    nested = ("probabilities", "layers", "meta", "verdicts")
    cells = {name: value for name, value in row.items() if name not in nested}
    cells |= {f"p.{name}": row["probabilities"].get(name) for name in shape.labels}
    cells |= {f"meta.{name}": row["meta"].get(name) for name in shape.metadata}
    cells["verdicts"] = json.dumps(row["verdicts"], ensure_ascii=False) if row["verdicts"] else ""
    for layer in shape.layers:
        cells[f"words@{layer}"] = json.dumps(row["layers"][str(layer)], ensure_ascii=False)
    return cells


def _schema(shape: _Shape) -> Any:
    """Return the Arrow schema of the records; a struct without fields can't be written."""

    def each(kind: Any, *names: str) -> list[tuple[str, Any]]:
        return [(name, kind) for name in names]

    kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    text, whole, number = pa.string(), pa.int32(), pa.float32()
    spans = [*each(whole, "start", "end"), ("side", pa.int8())]
    word = pa.struct([("word", text), *spans, *each(number, "score", "share")])
    verdict = pa.struct(each(text, "word", "class", "verdict", "note"))
    fields = each(text, "id", "text", "pair", "label", "gold", "predicted")
    fields += each(pa.float64(), "confidence", "margin")
    if shape.labels:
        fields.append(("probabilities", pa.struct(each(number, *shape.labels))))
    fields += [*each(whole, "chars_seen", "chars_total"), ("failure", text)]
    if shape.layers:
        fields.append(("layers", pa.struct(each(pa.list_(word), *map(str, shape.layers)))))
    if shape.metadata:
        metadata = pa.struct([(name, kinds[kind]) for name, kind in shape.metadata.items()])
        fields.append(("meta", metadata))
    fields += [*each(text, "note", "proposed_label"), ("verdicts", pa.list_(verdict))]
    return pa.schema(fields)


def _write_parquet(target: Path, rows: Iterable[Record], shape: _Shape) -> None:
    schema = _schema(shape)
    with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in in_batches(_typed(row, shape) for row in rows):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def _typed(row: Record, shape: _Shape) -> Record:
    """Return the record with each metadata value in the type of its column."""
    meta = {
        name: None if row["meta"].get(name) is None else kind(row["meta"][name])
        for name, kind in shape.metadata.items()
    }
    return {**row, "meta": meta}


def _write_datasets(target: Path, rows: Iterable[Record], shape: _Shape) -> None:
    """Write a folder that `datasets.load_from_disk` opens."""
    import datasets

    parquet = target.parent / "rows.parquet"
    _write_parquet(parquet, rows, shape)
    cache = target.parent / "cache"
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        made = datasets.Dataset.from_parquet(str(parquet), cache_dir=str(cache))
        made.save_to_disk(str(target))
    finally:
        if shown:
            datasets.enable_progress_bars()
