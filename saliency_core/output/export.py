"""An audit or a slice -> CSV, JSON Lines, Parquet or a `datasets` folder; streamed.

Examples go out with their stable ids, so that what others add comes back to the right row.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saliency_core.atomic import replacing
from saliency_core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from saliency_core.store import Run, Slice

FORMATS = ("jsonl", "csv", "parquet", "datasets")
ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
BATCH = 1024
"""Examples held at once."""
FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""What a spreadsheet may take for a formula; quotes before it are counted in, so that the guard
can be taken off again without doubt."""

Record = dict[str, Any]


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
    progress: Callable[[str, int, int | None], None] | None = None,
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
    rows = _counted(records(part, layers=layers), total, progress)
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
    notes = {row["id"]: row for row in _rows(run.notes())}
    verdicts: dict[tuple[str, str], list[Record]] = {}
    for row in _rows(run.verdicts()):
        verdicts.setdefault((row["word"], row["class"]), []).append(
            {name: row[name] for name in ("word", "class", "verdict", "note")}
        )
    positions = part.positions()
    for start in range(0, len(positions), BATCH):
        for record in _batch(run, positions[start : start + BATCH], layers):
            note = notes.get(record["id"], {})
            record["note"] = note.get("note")
            record["proposed_label"] = note.get("proposed_label")
            words = record.pop("vocabulary")
            record["verdicts"] = [
                verdict
                for (word, label), found in verdicts.items()
                if word in words and label == record["predicted"]
                for verdict in found
            ]
            yield record


def _batch(run: Run, positions: Any, layers: list[int]) -> Iterator[Record]:
    from saliency_core.store.read.examples import probabilities

    names, task = run.label_names, run.model.task
    frame = _rows(run.examples_at(positions))
    by_layer = {layer: run.top_words(positions, layer) for layer in layers}
    shown = next(iter(by_layer.values()), None) or run.top_words(positions, 0)
    for place, (row, extra) in enumerate(zip(frame, run.details(positions), strict=True)):
        found = probabilities(extra["logits"], task).tolist()
        yield {
            "id": row["id"],
            "text": row["text"],
            "pair": row["pair"],
            "label": extra["label"],
            "gold": row["gold"],
            "predicted": row["predicted"],
            "confidence": row["confidence"],
            "margin": row["margin"],
            "probabilities": {
                name: _finite(value) for name, value in zip(names, found, strict=False)
            },
            "chars_seen": row["chars_seen"],
            "chars_total": row["chars_total"],
            "failure": row["failure"],
            "layers": {
                str(layer): [_word(word) for word in words[place]]
                for layer, words in by_layer.items()
            },
            "meta": extra["metadata"],
            "vocabulary": {word["word"].lower() for word in shown[place]},
        }


def _rows(frame: Any) -> list[Record]:
    """Return a frame's rows; what pandas calls missing is None."""
    return [
        {name: None if value != value else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _word(word: Record) -> Record:
    return {
        "word": word["word"],
        "start": word["start"],
        "end": word["end"],
        "side": word["side"],
        "score": round(word["score"], 6),
        "share": round(word["share"], 6),
    }


def _finite(value: Any) -> float | None:
    """Return a float, None where JSON has no number for it."""
    return None if value is None or not math.isfinite(value) else float(value)


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
        positions = part.positions()
        for start in range(0, len(positions) if kinds else 0, BATCH):
            for row in run.details(positions[start : start + BATCH]):
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


def _counted(
    rows: Iterable[Record], total: int, progress: Callable[[str, int, int | None], None] | None
) -> Iterator[Record]:
    for done, row in enumerate(rows, 1):
        yield row
        if progress is not None and (done % 100 == 0 or done == total):
            progress("exporting", done, total)


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
    import pyarrow as pa

    kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    text, number = pa.string(), pa.float32()
    word = pa.struct(
        [
            ("word", text),
            ("start", pa.int32()),
            ("end", pa.int32()),
            ("side", pa.int8()),
            ("score", number),
            ("share", number),
        ]
    )
    verdict = pa.struct([(name, text) for name in ("word", "class", "verdict", "note")])
    fields = [(name, text) for name in ("id", "text", "pair", "label", "gold", "predicted")]
    fields += [("confidence", pa.float64()), ("margin", pa.float64())]
    if shape.labels:
        fields.append(("probabilities", pa.struct([(name, number) for name in shape.labels])))
    fields += [("chars_seen", pa.int32()), ("chars_total", pa.int32()), ("failure", text)]
    if shape.layers:
        layers = [(str(layer), pa.list_(word)) for layer in shape.layers]
        fields.append(("layers", pa.struct(layers)))
    if shape.metadata:
        metadata = [(name, kinds[kind]) for name, kind in shape.metadata.items()]
        fields.append(("meta", pa.struct(metadata)))
    fields += [("note", text), ("proposed_label", text), ("verdicts", pa.list_(verdict))]
    return pa.schema(fields)


def _write_parquet(target: Path, rows: Iterable[Record], shape: _Shape) -> None:
    import pyarrow
    import pyarrow.parquet

    schema = _schema(shape)
    with pyarrow.parquet.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in _batches(_typed(row, shape) for row in rows):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))


def _typed(row: Record, shape: _Shape) -> Record:
    """Return the record with each metadata value in the type of its column."""
    meta = {
        name: None if row["meta"].get(name) is None else kind(row["meta"][name])
        for name, kind in shape.metadata.items()
    }
    return {**row, "meta": meta}


def _batches(rows: Iterable[Record]) -> Iterator[list[Record]]:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


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
