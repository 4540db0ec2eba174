"""A folder of Parquet blocks: the results of one run on their way to a file.

    run.json                      what the run is, as the store keys it
    000000000000-3f2a….parquet    rows of `wire.RESULTS`; named by the rows they hold

A block appears whole or not at all. It carries the key of its run, so that one of another run is
known wherever it was copied to.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from saliency_core.atomic import replacing
from saliency_core.errors import UserError
from saliency_core.records import METHOD_VERSION, DatasetInfo, ModelInfo, RunSettings, record_of
from saliency_core.store.format.keys import run_key
from saliency_core.store.format.wire import RESULTS

RUN = "run.json"
FORMAT = 2
"""Of the folder; one with a higher number was written by a newer program.

Since 2 a run is known by what is audited, not by names as typed.
"""
ROWS = 512
"""Examples of a block: few files for many examples, and few examples lost by a kill."""
_KEY, _SECONDS = b"saliency run", b"saliency seconds"


class BlockFolder:
    """The blocks of one run."""

    def __init__(
        self, path: Path, dataset: DatasetInfo, model: ModelInfo, settings: RunSettings
    ) -> None:
        """Name the run whose blocks the folder holds."""
        self.path, self.dataset, self.model, self.settings = path, dataset, model, settings
        self.key = run_key(dataset, model, settings)
        self.mark = self.key
        """What the blocks carry: the key, or in a folder of format 1 that of then."""
        self.holds_changed = False
        """Whether blocks may hold rows of an earlier state of the dataset."""

    @classmethod
    def begin(
        cls, path: Path, dataset: DatasetInfo, model: ModelInfo, settings: RunSettings
    ) -> BlockFolder:
        """Make the folder of a run, or go on with it.

        Raises:
            UserError: `path` is a file, holds anything else, or holds another run.
        """
        folder = cls(path, dataset, model, settings)
        if path.exists() and not path.is_dir():
            raise UserError(f"--output {path} is a file; name a folder for the blocks.")
        path.mkdir(parents=True, exist_ok=True)
        if (path / RUN).exists():
            found = cls.open(path)
            if found.key != folder.key:
                raise UserError(
                    f"{path} holds blocks of another run ({found.model.name} on "
                    f"{found.dataset.source}, or other settings); give --output another folder."
                )
            folder.mark = found.mark
            folder.holds_changed = found.dataset.digest != dataset.digest
            return folder
        folder.files()
        folder.describe()
        return folder

    def describe(self) -> None:
        """Write what the run is, once no block holds a row of another state of its dataset."""
        text = json.dumps(
            {
                "format": FORMAT,
                "method": METHOD_VERSION,
                "key": self.mark,
                "dataset": asdict(self.dataset),
                "model": asdict(self.model),
                "settings": asdict(self.settings),
            }
        )
        with replacing(self.path / RUN) as place:
            place.write_text(text, "utf-8")
        self.holds_changed = False

    @classmethod
    def open(cls, path: Path) -> BlockFolder:
        """Open a folder to read, all its files checked but for their values.

        Raises:
            UserError: it is no such folder, or one of its files is torn or not of its run.
        """
        facts = _facts(path)
        try:
            folder = cls(
                path,
                record_of(DatasetInfo, facts["dataset"]),
                record_of(ModelInfo, facts["model"]),
                record_of(RunSettings, facts["settings"]),
            )
        except (LookupError, TypeError) as error:
            raise UserError(f"{path / RUN} cannot be read ({error}); copy it again.") from error
        if facts["format"] == 1:
            folder.mark = facts["key"]
        elif folder.key != facts["key"]:
            raise UserError(
                f"{path / RUN} does not fit its own key: it was changed by hand. Audit again into "
                "another folder."
            )
        for file in folder.files():
            folder._check(file)
        return folder

    def files(self) -> list[Path]:
        """Return the blocks, by the first row they hold; nothing else may lie beside them."""
        found = [file for file in self.path.iterdir() if not file.name.startswith(".")]
        blocks = sorted(file for file in found if file.suffix == ".parquet" and file.is_file())
        for other in sorted({*found} - {*blocks, self.path / RUN}):
            raise UserError(f"{other} is not part of an audit; take it out of the folder.")
        return blocks

    def _check(self, file: Path) -> None:
        with _reading(file):
            schema = pq.read_schema(file)
        if (schema.metadata or {}).get(_KEY) != self.mark.encode() or not schema.equals(RESULTS):
            raise UserError(
                f"{file} is not a block of the run in {self.path / RUN}; take it out of the folder."
            )

    def read(self, file: Path, columns: list[str] | None = None) -> pa.Table:
        """Return the rows of a block."""
        with _reading(file):
            return pq.ParquetFile(file).read(columns)

    def seconds(self, file: Path) -> float:
        """Return how long the audit took for the rows of a block."""
        return float(pq.read_schema(file).metadata[_SECONDS])

    @contextmanager
    def writer(self) -> Iterator[Callable[[pa.Table], None]]:
        """Return what takes in tables of `RESULTS` and makes blocks of about `ROWS` of them.

        What it has taken in is written also where an error ends the work.
        """
        waiting: list[pa.Table] = []
        since = time.perf_counter()

        def write() -> None:
            nonlocal since
            now = time.perf_counter()
            if waiting:
                self.write(pa.concat_tables(waiting).sort_by("position"), now - since)
            waiting.clear()
            since = now

        def add(table: pa.Table) -> None:
            waiting.append(table)
            if sum(map(len, waiting)) >= ROWS:
                write()

        try:
            yield add
        finally:
            write()

    def write(self, table: pa.Table, seconds: float) -> Path:
        """Write a block that took the audit so long; return its file.

        Its name says what it holds, so that no block is ever written over one of other rows.
        """
        rows = table.select(["position", "text", "pair", "gold"]).to_pydict()
        digest = hashlib.sha256(json.dumps(rows).encode("ascii")).hexdigest()
        name = f"{rows['position'][0]:012d}-{digest[:16]}.parquet"
        table = table.replace_schema_metadata({_KEY: self.mark, _SECONDS: f"{seconds:.3f}"})
        with replacing(self.path / name) as place:
            pq.write_table(table, place, compression="zstd")
        return self.path / name


def _facts(path: Path) -> dict[str, Any]:
    """Return what the folder says of its run."""
    try:
        facts = json.loads((path / RUN).read_text("utf-8"))
        found, method = facts["format"], facts["method"]
    except FileNotFoundError as error:
        raise UserError(
            f"{path} holds no {RUN}: it is no folder of `audit --engine ray --output`."
        ) from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path / RUN} cannot be read ({error}); copy it again.") from error
    if found > FORMAT:
        raise UserError(
            f"{path} has format {found}, written by a newer version; this program reads up to "
            f"format {FORMAT}. Upgrade it to read the folder."
        )
    if method != METHOD_VERSION:
        raise UserError(
            f"{path} was computed by version {method} of the method; this program has version "
            f"{METHOD_VERSION}, whose numbers are others. Audit again into another folder."
        )
    return facts


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Say in one sentence what is wrong with a block."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{file} is torn or no Parquet file ({str(error).splitlines()[0]}). Copy it again; or "
            "delete it and run the same audit, which computes its rows again."
        ) from error
