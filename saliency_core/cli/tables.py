"""Rows as people read them on a terminal, and as programs read them from a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from saliency_core.jsonable import plain

if TYPE_CHECKING:
    import pandas as pd

    from saliency_core.store import Run

Row = dict[str, Any]
Format = Callable[[Any], str]
MISSING = "–"
SMALL = 0.0005
"""Below it three decimals show nothing."""


def records(frame: pd.DataFrame) -> list[Row]:
    """Return a frame's rows as dictionaries."""
    return [plain(row) for row in frame.to_dict("records")]


def show(
    rows: list[Row],
    columns: list[str],
    title: str | None = None,
    nothing: str = "",
    formats: Mapping[str, Format] | None = None,
) -> None:
    """Print rows: a table on a terminal, else one line per row with tabs between the cells.

    Text from the data is never taken for markup, and a cell is always on one line of a pipe.

    Args:
        rows: column -> value.
        columns: those printed, in their order.
        title: above the table of a terminal.
        nothing: said where there are no rows.
        formats: column -> how a terminal shows its values.
    """
    if not sys.stdout.isatty():
        _print_lines(rows, columns)
    elif rows:
        _print_table(rows, columns, title, formats or {})
    if not rows and nothing:
        say(nothing)


def say(sentence: str) -> None:
    """Print a sentence beside a table: where the table is piped, it stays out of its lines."""
    print(sentence, file=sys.stdout if sys.stdout.isatty() else sys.stderr)


def say_which_layer(run: Run) -> None:
    """Say which layer to use, and why."""
    from saliency_core.analysis.layers.advice import layer_advice

    say(layer_advice(run, run.layers()).text())


def _print_lines(rows: list[Row], columns: list[str]) -> None:
    print("\t".join(columns))
    for row in rows:
        print("\t".join(" ".join(_raw(row.get(column)).split()) for column in columns))


def _raw(value: Any) -> str:
    """Return a value for a program: all digits that matter, nothing for what is missing."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _print_table(
    rows: list[Row], columns: list[str], title: str | None, formats: Mapping[str, Format]
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    columns = [name for name in columns if any(row.get(name) is not None for row in rows)]
    for column in columns:
        values = [row.get(column) for row in rows]
        is_number = all(value is None or isinstance(value, (int, float)) for value in values)
        table.add_column(
            column.replace("_", " "), overflow="fold", justify="right" if is_number else "left"
        )
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name), formats.get(name))) for name in columns))
    Console().print(table)


def _cell(value: Any, form: Format | None) -> str:
    if value is None:
        return MISSING
    if form is not None:
        return form(value)
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < SMALL else f"{value:,.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def megabytes(count: float) -> str:
    """Return bytes as people read them."""
    if count < 1e6:
        return f"{count / 1e3:,.0f} kB"
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def counted(count: int, thing: str, things: str | None = None) -> str:
    """Return `1 row`, `2 rows`, `2,000 rows`."""
    return f"{count:,} {thing if count == 1 else things or f'{thing}s'}"
