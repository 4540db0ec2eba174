"""The results of a run: which rows have none yet, computed batch by batch, written behind.

Reading and tokenizing run one block ahead in a thread, writing runs behind in another, the
model in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from saliency_core.pipeline.batching import blocks_of, read_ahead
from saliency_core.pipeline.inputs import AuditInputs
from saliency_core.pipeline.options import COMPUTING
from saliency_core.progress import Progress
from saliency_core.records import AuditedExample, Example

WRITES_AHEAD = 1
"""Batches that may wait for the writer: what a kill may cost besides the batch under way."""


@dataclass
class Tally:
    """How many examples are done and how many of them were computed, shown as they are."""

    examples: int
    progress: Progress
    done: int = 0
    computed: int = 0

    def count(self, done: int, computed: int = 0) -> None:
        """Count examples that are done, and how many of them were computed."""
        self.done += done
        self.computed += computed
        self.progress(COMPUTING, min(self.done, self.examples), self.examples)

    def finish(self) -> None:
        """Show that all are done."""
        self.progress(COMPUTING, self.examples, self.examples)


@dataclass
class RunResults:
    """The results of one run in the file, as far as there are any."""

    inputs: AuditInputs
    run: int
    writer: Any
    store_thread: ThreadPoolExecutor
    """The thread that alone may use the writer."""
    tally: Tally

    def register(self, block: list[Example]) -> set[int]:
        """Store the rows of a block; return the positions without result, first of equals only."""
        return self.store_thread.submit(self._register, block).result()

    def _register(self, block: list[Example]) -> set[int]:
        self.writer.add_examples(self.run, block, self.inputs.gold(block))
        return {example.position for example in self.writer.missing(self.run, block)}

    @contextmanager
    def writing(self) -> Iterator[Callable[[int, Callable[[], list[AuditedExample]]], None]]:
        """Lend what writes a batch behind: how many examples, and what makes their records."""
        waiting: deque[Future[None]] = deque()

        def write(examples: int, records: Callable[[], list[AuditedExample]]) -> None:
            waiting.append(self.store_thread.submit(self._write, records))
            self.tally.count(examples, computed=examples)
            while len(waiting) > WRITES_AHEAD:
                waiting.popleft().result()

        yield write
        while waiting:
            waiting.popleft().result()

    def _write(self, records: Callable[[], list[AuditedExample]]) -> None:
        """Make the records of a batch and write them; the model does the next meanwhile."""
        self.writer.write_batch(self.run, records())

    def compute_block(self, block: list[Example], encodings: list[Any], missing: set[int]) -> None:
        """Compute and store what is missing of one block."""
        attributor = self.inputs.attributor
        with self.writing() as write:
            for batch in self.inputs.batches(block, encodings):
                rows = [row for row in batch if block[row].position in missing]
                if not rows:
                    continue
                examples = [block[row] for row in rows]
                work = [encodings[row] for row in rows], self.inputs.gold(examples)
                computed = attributor.compute(*work)
                write(len(rows), partial(attributor.records, examples, *work, computed))
        # Duplicates within the block take over what their first occurrence just computed.
        copied = self.register(block)
        assert not copied, f"{len(copied)} examples of a finished block have no result"


def compute_here(results: RunResults) -> None:
    """Go through the dataset block by block in this process, computing only what is missing."""
    inputs, tally = results.inputs, results.tally
    tally.count(0)
    blocks = ((block, inputs.encode(block)) for block in blocks_of(inputs.dataset))
    for block, encodings in read_ahead(blocks):
        missing = results.register(block)
        tally.count(len(block) - len(missing))
        results.compute_block(block, encodings, missing)
    tally.finish()
