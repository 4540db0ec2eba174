"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from saliency_core.errors import UserError


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """Lend a path to write a file or folder at, which takes the place of `output` in the end.

    Where the work on it fails, what stood there before stays.

    Raises:
        UserError: it can't be written.
    """
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".{output.name}-", dir=output.parent, ignore_cleanup_errors=True
        ) as folder:
            target = Path(folder) / output.name
            yield target
            if output.is_dir():
                shutil.rmtree(output)
            os.replace(target, output)
    except OSError as error:
        raise UserError(f"{output} can't be written: {error.strerror or error}.") from error


def refuse_inputs(output: Path, inputs: Iterable[str | Path]) -> None:
    """Refuse to write over what is read: a file, by whatever name, or one of a folder's files.

    Raises:
        UserError: `output` is one of the inputs.
    """
    place = output.resolve()
    for given in map(Path, inputs):
        if not given.exists():
            continue
        if (output.exists() and output.samefile(given)) or given.resolve() in place.parents:
            raise UserError(
                f"{output} is what is read here and would be overwritten; choose another --output."
            )
