"""The same audit on Ray: one reader, a pool of workers that hold the model, one writer.

The reader plans the batches one machine would compute and sends their texts; workers send back
what the store writes, as Arrow tables; the process that was started writes them. Then it goes
through the dataset as one machine does, which finds everything done but the few batches that
could not be decided on beforehand (see `Plan`). So nothing a worker does or fails to do changes
what the file holds in the end.

Ray is optional: it is imported inside functions only.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from saliency_core.audit import (
    BLOCK,
    WRITES_AHEAD,
    Audit,
    AuditOptions,
    Progress,
    blocks_of,
    encode_examples,
    gold_of,
    open_attributor,
    open_classifier,
    plan_batches,
    read_examples,
)
from saliency_core.errors import UserError
from saliency_core.records import AuditedExample, Example, ModelInfo, Saliency

OBJECT_STORE = 200_000_000
"""Bytes of shared memory of a Ray started here; a batch of results takes about 0.1 MB."""
RAY_BLOCK = 64_000
"""Bytes Ray Data gathers before it hands on: about a batch, so that no worker waits for more."""

# What moves: batches out, results back

WORK = pa.schema(
    [
        ("position", pa.list_(pa.int64())),
        ("id", pa.list_(pa.string())),
        ("text", pa.list_(pa.string())),
        ("pair", pa.list_(pa.string())),
        ("label", pa.list_(pa.string())),
        ("metadata", pa.list_(pa.string())),
        ("gold", pa.list_(pa.int32())),
    ]
)
"""One row is one batch, the unit a worker computes however Ray groups rows."""

RESULTS = pa.schema(
    [
        ("position", pa.int64()),
        ("id", pa.string()),
        ("text", pa.string()),
        ("pair", pa.string()),
        ("label", pa.string()),
        ("metadata", pa.string()),
        ("gold", pa.int32()),
        ("predicted", pa.int32()),
        ("chars_seen", pa.int32()),
        ("chars_total", pa.int32()),
        ("failure", pa.string()),
        ("words", pa.list_(pa.string())),
        ("targets", pa.list_(pa.string())),
        ("logits", pa.list_(pa.float32())),
        ("probabilities", pa.list_(pa.float32())),
        ("token_ids", pa.list_(pa.int32())),
        ("spans", pa.list_(pa.int32())),
        ("sides", pa.list_(pa.int8())),
        ("word_of_token", pa.list_(pa.int32())),
        ("word_spans", pa.list_(pa.int32())),
        ("scores", pa.list_(pa.float16())),
        ("explained", pa.list_(pa.float32())),
        ("decodability", pa.list_(pa.float32())),
        ("explanation", pa.list_(pa.int32())),
    ]
)
"""One row is one example. Arrays are flat: (target, layer, token) scores, (target, layer)
explained, (layer, 3) explanation, (n, 2) spans."""

_ARRAYS = RESULTS.names[RESULTS.names.index("logits") :]


def pack_work(examples: list[Example], gold: list[int | None]) -> pa.Table:
    """Return a batch as a table of one row."""
    columns = {name: [getattr(example, name) for example in examples] for name in WORK.names[:-2]}
    columns["metadata"] = [json.dumps(example.metadata) for example in examples]
    columns["gold"] = gold
    return pa.Table.from_pylist([columns], schema=WORK)


def unpack_work(row: dict[str, list]) -> tuple[list[Example], list[int | None]]:
    """Return the examples and gold labels of one row of `WORK`."""
    columns = [row[name] for name in WORK.names[:-2]]
    examples = [
        Example(*values, metadata=json.loads(metadata))
        for *values, metadata in zip(*columns, row["metadata"], strict=True)
    ]
    return examples, row["gold"]


def pack_results(records: list[AuditedExample]) -> pa.Table:
    """Return records as a table of `RESULTS`."""
    rows = [_flat(record) for record in records]
    columns = {
        name: _ragged([row[name] for row in rows], RESULTS.field(name).type)
        if name in _ARRAYS
        else pa.array([row[name] for row in rows], RESULTS.field(name).type)
        for name in RESULTS.names
    }
    return pa.table(columns, schema=RESULTS)


def unpack_results(table: pa.Table) -> list[AuditedExample]:
    """Return the records of a table of `RESULTS`."""
    columns = {
        name: _arrays(table[name]) if name in _ARRAYS else table[name].to_pylist()
        for name in RESULTS.names
    }
    return [
        _record(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)
    ]


def _flat(record: AuditedExample) -> dict[str, Any]:
    """Return one row of `RESULTS`."""
    row = {name: getattr(record.example, name) for name in WORK.names[:-2]}
    row["metadata"] = json.dumps(record.example.metadata)
    row["words"] = list(record.words)
    row["targets"] = [found.target for found in record.saliency]
    row["scores"] = _joined([found.scores for found in record.saliency])
    row["explained"] = _joined([found.explained for found in record.saliency])
    for name in RESULTS.names:
        if name not in row:
            row[name] = getattr(record, name)
    return row


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays]) if arrays else np.zeros(0)


def _record(row: dict[str, Any]) -> AuditedExample:
    """Return the record of one row of `RESULTS`."""
    example = Example(
        *(row.pop(name) for name in WORK.names[:-2]), metadata=json.loads(row.pop("metadata"))
    )
    targets, scores, explained = (row.pop(name) for name in ("targets", "scores", "explained"))
    saliency: tuple[Saliency, ...] = ()
    if targets:
        explained = explained.reshape(len(targets), -1)
        scores = scores.reshape(*explained.shape, len(row["token_ids"]))
        saliency = tuple(Saliency(*found) for found in zip(scores, explained, targets, strict=True))
    for name in ("spans", "word_spans"):
        row[name] = row[name].reshape(-1, 2)
    if row["explanation"] is not None:
        row["explanation"] = row["explanation"].reshape(-1, 3)
    row["words"] = tuple(row["words"])
    return AuditedExample(example=example, saliency=saliency, **row)


def _ragged(arrays: list[np.ndarray | None], type: pa.ListType) -> pa.ListArray:
    """Return arrays as one list column, without a Python object a number."""
    sizes = [0 if array is None else array.size for array in arrays]
    values = [np.asarray(array).ravel() for array in arrays if array is not None]
    dtype = type.value_type.to_pandas_dtype()
    flat = np.concatenate(values).astype(dtype) if values else np.zeros(0, dtype)
    return pa.ListArray.from_arrays(
        pa.array(np.cumsum([0, *sizes]), pa.int32()),
        pa.array(flat),
        type=type,
        mask=pa.array([array is None for array in arrays]),
    )


def _arrays(column: pa.ChunkedArray) -> list[np.ndarray | None]:
    """Return the arrays of a list column as views of its memory."""
    found: list[np.ndarray | None] = []
    for chunk in column.chunks:
        values = chunk.values.to_numpy(zero_copy_only=False)
        starts = chunk.offsets.to_numpy()
        known = chunk.is_valid().to_numpy(zero_copy_only=False)
        found += [
            values[start:end] if valid else None
            for start, end, valid in zip(starts[:-1], starts[1:], known, strict=True)
        ]
    return found


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
        self.positions: list[np.ndarray] = []
        self.texts: list[np.ndarray] = []
        self.golds: list[np.ndarray] = []

    def add(self, block: list[Example], gold: list[int | None], missing: set[int]) -> None:
        """Take in the rows of a block that have no result yet."""
        rows = [row for row, example in enumerate(block) if example.position in missing]
        self.positions.append(np.array([block[row].position for row in rows], np.int64))
        # Two texts of one hash would make a batch wait for nothing, no more.
        texts = [hash((block[row].text, block[row].pair)) for row in rows]
        self.texts.append(np.array(texts, np.int64))
        golds = [-1 if gold[row] is None else gold[row] for row in rows]
        self.golds.append(np.array(golds, np.int64))

    def states(self, examples: int) -> np.ndarray:
        """Return (example,) uint8: `DONE` (or copied later), `SEND` or `WAIT`."""
        states = np.full(examples, DONE, np.uint8)
        if not self.positions:
            return states
        positions = np.concatenate(self.positions)
        texts, golds = np.concatenate(self.texts), np.concatenate(self.golds)
        blocks = positions // BLOCK
        first_of_text = _first_block(blocks, texts[:, None])
        first_of_key = _first_block(blocks, np.stack([texts, golds], axis=1))
        states[positions[first_of_text == blocks]] = SEND
        states[positions[(first_of_text < blocks) & (first_of_key == blocks)]] = WAIT
        return states


def _first_block(blocks: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return for each row the first block in which its key stands."""
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return blocks[first][inverse.reshape(-1)]


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
            for batch in plan_batches(block, gold, encodings, self.batch_tokens):
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
        return pa.concat_tables([self._compute(row) for row in work.to_pylist()])

    def _compute(self, row: dict[str, list]) -> pa.Table:
        examples, gold = unpack_work(row)
        encodings = encode_examples(self.classifier, examples, self.options.long_text)
        return pack_results(self.attributor.audit(examples, encodings, gold))


def _difference(model: str, found: ModelInfo, expected: ModelInfo) -> str | None:
    """Say in what the model of a worker is not that of the audit."""
    for name in ("model_digest", "tokenizer_digest", "lm_head_digest", "task", "blank_token"):
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
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
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


def stream(reader: Reader, states: np.ndarray, worker: tuple, pool: Pool) -> Iterator[pa.Table]:
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
    work = ray.data.read_datasource(
        _datasource(reader, ray.put(states)),
        override_num_blocks=1,
        num_cpus=1,
        label_selector=here,
    )
    results = work.map_batches(
        Worker,
        fn_constructor_args=worker,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=pool.workers),
        num_cpus=pool.threads,
        num_gpus=1 if pool.gpus else None,
    )
    yield from results.iter_batches(batch_size=None, batch_format="pyarrow")


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

    return Batches()


# The conductor


class RayAudit(Audit):
    """An audit whose batches are computed by workers."""

    def __init__(
        self, model: str, dataset: Any, db: Path, options: AuditOptions, progress: Progress
    ) -> None:
        """Refuse before anything is loaded where Ray is absent."""
        if importlib.util.find_spec("ray") is None:
            raise UserError(
                "--engine ray needs Ray, which is not installed: "
                "`pip install -r requirements-ray.txt`, or leave out --engine."
            )
        super().__init__(model, dataset, db, options, progress)

    def _audit_blocks(self, run: int, writer: Any, store_thread: ThreadPoolExecutor) -> None:
        """Send what is missing to the workers; then finish as one machine does."""
        self.progress("auditing", 0, self.survey.examples)
        plan = Plan()
        for block in blocks_of(self.dataset):
            missing = store_thread.submit(self._register, run, writer, block).result()
            plan.add(block, [self._gold(example) for example in block], missing)
            self._advance(len(block) - len(missing))
        states = plan.states(self.survey.examples)
        if (states == SEND).any():
            with ray_pool(self.options) as pool:
                self._prepare(pool)
                self._write(run, writer, store_thread, self._results(states, pool))
        for block in blocks_of(self.dataset):
            missing = store_thread.submit(self._register, run, writer, block).result()
            if missing:
                encodings = self._encode(block)
                self._audit_block(run, writer, store_thread, block, encodings, missing)
        self.progress("auditing", self.survey.examples, self.survey.examples)

    def _prepare(self, pool: Pool) -> None:
        """Plan batches for where they are computed: a GPU takes larger ones."""
        if pool.gpus and not self.options.batch_tokens:
            import torch

            there = replace(self.classifier, device=torch.device("cuda"))
            self.batch_tokens = there.default_batch_tokens

    def _results(self, states: np.ndarray, pool: Pool) -> Iterator[pa.Table]:
        """Yield the results of the workers."""
        tokenizer = replace(self.classifier, model=None, head=None)
        reader = Reader(self.source, self.options, tokenizer, self.label_index, self.batch_tokens)
        options = replace(
            self.options,
            dtype=self.classifier.dtype,
            max_length=self.classifier.max_length,
            device="cuda" if pool.gpus else "cpu",
            threads=pool.threads,
        )
        return stream(reader, states, (self.model, options, self.classifier.info), pool)

    def _write(
        self, run: int, writer: Any, store_thread: ThreadPoolExecutor, tables: Iterator[pa.Table]
    ) -> None:
        """Store results as they come."""
        writes: deque[Future] = deque()
        for table in tables:
            records = unpack_results(table)
            writes.append(store_thread.submit(writer.write_batch, run, records))
            self.computed += len(records)
            self._advance(len(records))
            while len(writes) > WRITES_AHEAD:
                writes.popleft().result()
        while writes:
            writes.popleft().result()
