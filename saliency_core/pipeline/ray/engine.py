"""The same audit on Ray: one reader, a pool of workers that hold the model, one writer.

The reader plans the batches one machine would compute and sends their texts; workers send back
what the store writes, as Arrow tables; the process that was started writes them. Then it goes
through the dataset as one machine does, which finds everything done but the few batches that
could not be decided on beforehand (see `Plan`). So nothing a worker does or fails to do changes
what the file holds in the end. With `--output` the tables become blocks in a folder instead, of
which `merge` makes the file.

Ray is optional: it is imported inside functions only.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from saliency_core.errors import UserError
from saliency_core.pipeline.batching import (
    BLOCK,
    blocks_of,
    encode_examples,
    first_of_equals,
    gold_of,
    plan_batches,
)
from saliency_core.pipeline.computing import RunResults, Tally
from saliency_core.pipeline.inputs import (
    AuditInputs,
    open_attributor,
    open_classifier,
    read_examples,
)
from saliency_core.pipeline.options import AuditOptions, AuditResult
from saliency_core.pipeline.ray.changed_blocks import content_of, follow, rows_of
from saliency_core.progress import Progress
from saliency_core.records import Example, ModelInfo
from saliency_core.store.format.block_folder import BlockFolder
from saliency_core.store.format.wire import (
    WORK,
    from_rows,
    in_one_row,
    pack_results,
    pack_work,
    unpack_results,
    unpack_work,
)

OBJECT_STORE = 200_000_000
"""Bytes of shared memory of a Ray started here; a batch of results takes about 0.1 MB."""
RAY_BLOCK = 1
"""Bytes Ray Data gathers before it hands on: every row at once, and a row is a batch both ways.

With more, a worker gets many batches as one task, and another one none.
"""
BATCHES_A_WORKER = 2
"""Batches sent to a worker at once: the one it computes and the next."""

# What is decided before anything is sent

DONE, SEND, WAIT = 0, 1, 2


class Plan:
    """Which rows go to the workers.

    One machine computes a text once a gold label and copies it to later blocks; a later row with
    another gold label is copied or computed depending on the prediction. Workers compute blocks in
    any order, so: the first row of a text is sent; later ones of the same gold label are copied
    when it comes back; later ones of another label wait, and the batch they stand in with them.
    """

    def __init__(self) -> None:
        """Start with no row."""
        self.rows: list[pd.DataFrame] = []

    def add(self, block: list[Example], gold: list[int | None], missing: set[int]) -> None:
        """Take in the rows of a block that have no result yet."""
        rows = [row for row, example in enumerate(block) if example.position in missing]
        columns = {
            "position": [block[row].position for row in rows],
            # Two texts of one hash would make a batch wait for nothing, no more.
            "text": [hash((block[row].text, block[row].pair)) for row in rows],
            "gold": [-1 if gold[row] is None else gold[row] for row in rows],
        }
        self.rows.append(pd.DataFrame(columns, dtype=np.int64))

    def states(self, examples: int) -> np.ndarray:
        """Return (example,) uint8: `DONE` (or copied later), `SEND` or `WAIT`."""
        states = np.full(examples, DONE, np.uint8)
        if not self.rows:
            return states
        rows = pd.concat(self.rows)
        rows["block"] = rows["position"] // BLOCK

        def is_first(*columns: str) -> pd.Series:
            return rows.groupby([*columns])["block"].transform("min") == rows["block"]

        masks = [is_first("text"), is_first("text", "gold")]
        states[rows["position"]] = np.select(masks, [SEND, WAIT], DONE)
        return states


@dataclass(frozen=True)
class Reader:
    """What the reading task needs to plan the batches one machine would compute."""

    source: Any
    options: AuditOptions
    tokenizer: Any
    """A `Classifier` without its weights."""
    label_index: dict[str, int]
    batch_tokens: int

    def batches(self, states: np.ndarray) -> Iterator[pa.Table]:
        """Yield every batch to send, in the order of the dataset."""
        for block in blocks_of(read_examples(self.source, self.options)):
            own = states[[example.position for example in block]]
            if not (own == SEND).any():
                continue
            gold = [gold_of(example, self.label_index) for example in block]
            encodings = encode_examples(self.tokenizer, block, self.options.long_text)
            for batch in plan_batches(
                block, gold, encodings, self.batch_tokens, self.tokenizer.pad_token_id
            ):
                rows = [row for row in batch if own[row] != DONE]
                if rows and (own[rows] == SEND).all():
                    yield pack_work([block[row] for row in rows], [gold[row] for row in rows])


# The pool


class Worker:
    """One process that holds the model; Ray starts another where one dies."""

    def __init__(self, model: str, options: AuditOptions, expected: ModelInfo) -> None:
        """Load the model and check that it is the one the audit was started with."""
        import torch

        torch.set_num_threads(options.threads or 1)
        self.options = options
        self.classifier = open_classifier(model, options)
        self.attributor = open_attributor(self.classifier, options)
        self.refusal = _difference(model, self.classifier.info, expected)

    def __call__(self, work: pa.Table) -> pa.Table:
        """Compute batches."""
        if self.refusal:
            raise UserError(self.refusal)
        return pa.concat_tables([in_one_row(self._compute(row)) for row in work.to_pylist()])

    def _compute(self, row: dict[str, Any]) -> pa.Table:
        examples, gold = unpack_work(row)
        encodings = encode_examples(self.classifier, examples, self.options.long_text)
        return pack_results(self.attributor.audit(examples, encodings, gold))


def _difference(model: str, found: ModelInfo, expected: ModelInfo) -> str | None:
    """Say in what the model of a worker is not that of the audit."""
    digests = ("model_digest", "config_digest", "tokenizer_digest", "lm_head_digest")
    for name in (*digests, "task", "reference"):
        if getattr(found, name) != getattr(expected, name):
            return (
                f"{model} on worker {os.uname().nodename} is another model than here: {name} is "
                f"{getattr(found, name)!r} instead of {getattr(expected, name)!r}. Put the same "
                "files at the same place on every machine."
            )
    return None


@dataclass(frozen=True)
class Pool:
    """How many workers, of what."""

    workers: int
    threads: int
    gpus: bool


@contextmanager
def ray_pool(options: AuditOptions) -> Iterator[Pool]:
    """Join the cluster of RAY_ADDRESS, or start Ray on this machine; leave or stop it after."""
    import ray

    threads = options.threads or 1
    started = not ray.is_initialized()
    if started:
        start_ray(options.workers, threads)
    try:
        found = ray.cluster_resources()
        gpus = int(found.get("GPU", 0)) if options.device in ("auto", "cuda") else 0
        workers = options.workers or gpus or max(1, int(found.get("CPU", 1)) // threads)
        yield Pool(workers, threads, gpus > 0)
    finally:
        if started:
            ray.shutdown()


def start_ray(workers: int | None, threads: int) -> None:
    """Start or join Ray; nothing is reported to anyone outside."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray gives way to everything else on the machine by default; its workers are the audit.
    os.environ.setdefault("RAY_worker_niceness", "0")
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
        return
    cores = workers * threads if workers else os.cpu_count() or 1
    # One more than the workers take: the reader's.
    ray.init(
        address="local",
        num_cpus=cores + 1,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE,
        **quiet,
    )


def stream(
    reader: Reader, states: np.ndarray, worker: tuple[Any, ...], pool: Pool
) -> Iterator[pa.Table]:
    """Yield the results of every batch as workers finish them, in any order."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # What a worker refuses is a sentence for the user, not a failure of Ray's.
    context.raise_original_map_exception = True
    context.target_max_block_size = RAY_BLOCK
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # The source may be a file of this machine, so it is read on this machine.
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    source = _datasource(reader, ray.put(states))
    work = ray.data.read_datasource(source, override_num_blocks=1, num_cpus=1, label_selector=here)
    results = work.map_batches(
        Worker,
        fn_constructor_args=worker,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            size=pool.workers, max_tasks_in_flight_per_actor=BATCHES_A_WORKER
        ),
        num_cpus=pool.threads,
        num_gpus=1 if pool.gpus else None,
    )
    for rows in results.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from_rows(rows)


def _datasource(reader: Reader, states: Any) -> Any:
    """Return the reader as a source of Ray Data: one task that goes through the dataset once."""
    import ray
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    class Batches(Datasource):
        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
            metadata = BlockMetadata(None, None, None, None)
            return [ReadTask(lambda: reader.batches(ray.get(states)), metadata, schema=WORK)]

        def estimate_inmemory_data_size(self) -> None:
            return None

    batches: Any = Batches  # Ray's class has no types.
    return batches()


# An audit on the pool


def check_installed() -> None:
    """Refuse before anything is loaded where Ray is absent."""
    if importlib.util.find_spec("ray") is None:
        raise UserError(
            "--engine ray needs Ray, which is not installed: "
            "`pip install -r requirements-ray.txt`, or leave out --engine."
        )


def compute_on_ray(results: RunResults) -> None:
    """Send what is missing of a run to the workers; then finish as one machine does."""
    inputs, tally = results.inputs, results.tally
    tally.count(0)
    plan = Plan()
    for block in blocks_of(inputs.dataset):
        missing = results.register(block)
        plan.add(block, inputs.gold(block), missing)
        tally.count(len(block) - len(missing))
    states = plan.states(inputs.survey.examples)
    if (states == SEND).any():
        with ray_pool(inputs.options) as pool, results.writing() as write:
            results.inputs = planned_for(pool, inputs)
            for table in tables_of(results.inputs, states, pool):
                write(len(table), partial(unpack_results, table))
    for block in blocks_of(inputs.dataset):
        if missing := results.register(block):
            results.compute_block(block, inputs.encode(block), missing)
    tally.finish()


def planned_for(pool: Pool, inputs: AuditInputs) -> AuditInputs:
    """Return what batches are planned from where they are computed: a GPU takes larger ones."""
    if not pool.gpus or inputs.options.batch_tokens:
        return inputs
    import torch

    there = replace(inputs.classifier, device=torch.device("cuda"))
    return replace(inputs, batch_tokens=there.default_batch_tokens)


def tables_of(inputs: AuditInputs, states: np.ndarray, pool: Pool) -> Iterator[pa.Table]:
    """Yield the results of the workers."""
    classifier = inputs.classifier
    tokenizer = replace(classifier, model=None, head=None)
    reader = Reader(
        inputs.source, inputs.options, tokenizer, inputs.label_index, inputs.batch_tokens
    )
    options = replace(
        inputs.options,
        dtype=classifier.dtype,
        max_length=classifier.max_length,
        device="cuda" if pool.gpus else "cpu",
        threads=pool.threads,
    )
    return stream(reader, states, (inputs.model, options, classifier.info), pool)


def compute_into_folder(inputs: AuditInputs, place: Path, progress: Progress) -> AuditResult:
    """Compute every batch that can be sent and has no block yet in a folder, for `merge`.

    What workers are sent depends on the dataset alone. The rest (equal texts, the few batches
    that wait, the summary of the layers) is left to the same audit on the merged file.
    """
    started = time.perf_counter()
    tally = Tally(inputs.survey.examples, progress)
    folder = BlockFolder.begin(
        place, inputs.dataset.identified(), inputs.classifier.info, inputs.settings
    )
    tally.count(0)
    states, contents = _whole_plan(inputs)
    if folder.holds_changed:
        follow(folder, contents, inputs.dataset)
        folder.describe()
    kept = kept_rows(folder, contents)
    states[kept] = DONE
    tally.count(int((states != SEND).sum()))
    if (states == SEND).any():
        with ray_pool(inputs.options) as pool, folder.writer() as write:
            for table in tables_of(planned_for(pool, inputs), states, pool):
                write(table)
                tally.count(len(table), computed=len(table))
    tally.finish()
    failures = (folder.read(file, ["failure"])["failure"].drop_null() for file in folder.files())
    return AuditResult(
        run=None,
        database=str(place),
        examples=inputs.survey.examples,
        computed=tally.computed,
        reused=len(kept),
        failed=sum(map(len, failures)),
        seconds=time.perf_counter() - started,
        warnings=tuple(inputs.warnings()),
        guessed=inputs.dataset.guessed,
    )


def _whole_plan(inputs: AuditInputs) -> tuple[np.ndarray, np.ndarray]:
    """Return the states as if nothing was computed yet, and the content of every row."""
    plan = Plan()
    contents = np.zeros(inputs.survey.examples, np.int64)
    for block in blocks_of(inputs.dataset):
        gold = inputs.gold(block)
        plan.add(block, gold, {block[row].position for row in first_of_equals(block, gold)})
        for example, label in zip(block, gold, strict=True):
            contents[example.position] = content_of(example.text, example.pair, label)
    return plan.states(len(contents)), contents


def kept_rows(folder: BlockFolder, contents: np.ndarray) -> np.ndarray:
    """Return the positions that have a result; delete blocks of other contents of the dataset."""
    kept = [np.zeros(0, np.int64)]
    for file in folder.files():
        positions, found = rows_of(folder, file)
        here = positions < len(contents)
        if (contents[positions[here]] == found[here]).all():
            kept.append(positions[here])
        else:
            file.unlink()
    return np.unique(np.concatenate(kept))
