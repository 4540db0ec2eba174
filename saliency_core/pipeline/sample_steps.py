"""What is computed on a sample of a run: where it fails, the run is finished without it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from saliency_core.errors import UserError, first_line


def first_that_works(
    attempts: Sequence[tuple[str, Callable[[], None]]], left_out: list[str], *, needed: bool = True
) -> None:
    """Do the first of several things that does not fail; note before the next what is left out.

    Every result of the run is stored by now: a model that refuses a batch of the sample, or a
    measure that some odd sample has none of, must not cost them. What a user or the disk caused
    is an error still.

    Args:
        attempts: what is left out where it fails, and what does it; in order, most complete first.
        left_out: gets a sentence for each that failed.
        needed: whether the last one must not fail.
    """
    for place, (what, do) in enumerate(attempts):
        try:
            do()
        except (UserError, sqlite3.Error, MemoryError):
            raise
        except Exception as error:
            if needed and place == len(attempts) - 1:
                raise
            reason = first_line(error)
            left_out.append(f"{what} failed on a sample of the texts and is left out ({reason}).")
        else:
            return
