"""How long work tells whoever waits for it how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called with the stage, what is done of it and how much there is, None where unknown."""


def silent(stage: str, done: int, total: int | None) -> None:
    """Show no progress."""


def duration(seconds: float) -> str:
    """Return a time as people read it: `8 s`, `3 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
