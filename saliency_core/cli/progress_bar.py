"""The progress of long commands: a bar on a terminal, lines in a log, one sentence when stopped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from saliency_core.cli.terminal import errors_to
from saliency_core.progress import duration

SECONDS_A_LINE = 1.0
"""Between two lines of progress where the output is no terminal."""
FEWEST_STEPS = 10
"""Fewer are too unlike each other to tell how long the rest of them will take."""
GOES_ON = "What was computed is kept; the same command goes on from there."
STARTS_ANEW = "Nothing was changed; the same command starts anew."


class Stopped(Exception):
    """Somebody stopped a command; the message says what became of its work."""


class Bar:
    """Takes progress; a terminal shows it as a bar for each stage, anything else as lines.

    The lines are what `server.commands.step` reads from the log of a process that the dashboard
    started: `auditing (2 of 3): 35 of 100, about 40 s left`.
    """

    def __init__(self, quiet: bool, stages: Sequence[str]) -> None:
        """Show nothing where `quiet`; `stages` are those to come, as far as they are known."""
        is_terminal = errors_to.is_terminal
        self.in_lines = not quiet and not is_terminal
        self.stages = list(stages)
        self.last: tuple[str, int, int | None] | None = None
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=errors_to,
            disable=quiet or not is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, tuple[float, int]] = {}
        self._said = 0.0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` steps of a stage are finished."""
        now = time.monotonic()
        before, self.last = self.last, (stage, done, total)
        left = self._left(stage, done, total, now)
        if self.in_lines:
            is_new = before is None or before[0] != stage
            is_news = is_new or (before != self.last and done == total)
            if is_news or now >= self._said + SECONDS_A_LINE:
                self._said = now
                line = f"{self._title(stage)}: {done} of {'?' if total is None else total}"
                print(f"{line}, {left}" if left else line, file=sys.stderr, flush=True)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self.progress.add_task(self._title(stage), total=total, left="")
        self.progress.update(self._tasks[stage], completed=done, total=total, left=left)

    def _title(self, stage: str) -> str:
        if stage not in self.stages or len(self.stages) == 1:
            return stage
        return f"{stage} ({self.stages.index(stage) + 1} of {len(self.stages)})"

    def _left(self, stage: str, done: int, total: int | None, now: float) -> str:
        """Return how long a stage will take from now on, "" where that is not known."""
        started, first = self._started.setdefault(stage, (now, done))
        if total is None or total < FEWEST_STEPS or not first < done < total:
            return ""
        return f"about {duration((now - started) * (total - done) / (done - first))} left"

    def stopped(self, outcome: str) -> str:
        """Say how far the work was when it was stopped, and what became of it."""
        if self.last is None:
            return f"Stopped. {outcome}"
        stage, done, total = self.last
        return f"Stopped after {done} of {'?' if total is None else total} ({stage}). {outcome}"


@contextmanager
def progress_bar(quiet: bool, *stages: str, when_stopped: str = STARTS_ANEW) -> Iterator[Bar]:
    """Lend what shows the progress of a long command.

    Args:
        quiet: show nothing.
        stages: names of the stages to come.
        when_stopped: what becomes of the work where somebody stops it.

    Raises:
        Stopped: by Ctrl-C.
    """
    bar = Bar(quiet, stages)
    with bar.progress:
        try:
            yield bar
        except KeyboardInterrupt as stop:
            raise Stopped(bar.stopped(when_stopped)) from stop
