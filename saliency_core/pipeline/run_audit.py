"""The conductor: blocks of examples -> misses -> model -> saliency -> one transaction a batch.

Reading and tokenizing run one block ahead in a thread, writing runs behind in another, the
model in between. The batches of a block depend on its texts alone, never on what is already
stored, so an audit that was killed and started again computes the same batches and stores the
same bytes.
"""

from __future__ import annotations

import random
import shlex
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from saliency_core.data.columns import guess_columns
from saliency_core.data.dataset import Dataset, load_examples
from saliency_core.data.external_predictions import Comparison, check_column, compare
from saliency_core.data.label_matching import listed, unused_keys
from saliency_core.data.labels import check_label_order, check_label_sets, map_labels
from saliency_core.errors import UserError
from saliency_core.pipeline.layer_summary import sample_meanings, summarise_run
from saliency_core.pipeline.sample_steps import first_that_works
from saliency_core.records import DatasetInfo, Example, RunSettings
from saliency_core.saliency.references import layout_batches
from saliency_core.store import open_store, open_writer, save_table
from saliency_core.store.details import set_warning
from saliency_core.store.write.former import Changes

BLOCK = 2048
"""Examples planned together: enough for batches of like length, small enough to hold."""
GUARD_SAMPLE = 256
"""Examples the label-order guard predicts before any score is computed."""
DRY_RUN_SECONDS = 5.0
"""How long a dry run computes before it estimates."""
BYTES_A_SCORE = 4.0
"""Budget of the file for one token at one layer."""
WRITES_AHEAD = 1
"""Batches that may wait for the writer: what a kill may cost besides the batch under way."""

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class AuditOptions:
    """What a user may choose; the names are those of the command line."""

    text_column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    id_column: str | None = None
    metadata_columns: list[str] | None = None
    predictions_from: str | None = None
    """Column of predictions made elsewhere, compared with the model's own."""
    split: str | None = None
    config: str | None = None
    revision: str | None = None
    header: bool = True
    sheet: str | None = None
    """Sheet of a workbook; None: the first that holds something."""
    label_map: dict[str, str] = field(default_factory=dict)
    trust_labels: bool = False
    lm_head: str | None = None
    model_revision: str | None = None
    """Revision of the model on the hub; `revision` is the dataset's."""
    target: str = "predicted"
    rule: str = "secant"
    """`secant`, exact at every layer in one pass, or `path`."""
    steps: int = 4
    """Nodes of the path rule."""
    dtype: str = "float32"
    device: str = "auto"
    batch_tokens: int | None = None
    max_length: int | None = None
    long_text: str = "truncate"
    limit: int | None = None
    name: str | None = None
    """What the dataset is called and known by, in place of its path or of its rows."""
    seed: int = 0
    evaluate: bool = True
    trust_remote_code: bool = False
    dry_run: bool = False
    engine: str = "local"
    """`local` or `ray` (see ray/engine.py); changes no stored number."""
    workers: int | None = None
    """Processes of the ray engine that hold a model; None: one a GPU, else one a core."""
    threads: int | None = None
    """Threads a model computes with; None: torch's own choice, on ray 1."""
    output: str | None = None
    """Folder of Parquet blocks that the ray engine writes instead of a file."""


@dataclass(frozen=True)
class AuditResult:
    """What one audit did."""

    run: int | None
    database: str
    examples: int
    computed: int
    reused: int
    failed: int
    seconds: float
    warnings: tuple[str, ...]
    guessed: dict[str, str]
    estimate: dict[str, float] | None = None
    predictions: dict[str, Any] | None = None
    """How predictions made elsewhere agree with the model's own."""
    changes: dict[str, Any] | None = None
    """What a changed dataset did to its run: `gone`, `evaluations`, `edited` (see the store)."""
    orphans: int = 0
    """Notes whose row the dataset no longer has."""

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of `audit --json`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def sentence(self) -> str:
        """Say in words what was done."""
        lines = [f"Note: {warning}" for warning in self.warnings]
        if self.guessed:
            roles = ", ".join(f"{role} = {name}" for role, name in self.guessed.items())
            lines.insert(0, f"Columns taken: {roles}.")
        if self.estimate is not None:
            lines.append(
                f"Dry run: {self.examples} examples, about {self.estimate['seconds']:.0f} seconds "
                f"and {self.estimate['megabytes']:.1f} MB in {self.database}. Nothing was stored."
            )
        elif self.run is None:
            lines.append(
                f"{self.computed} of {self.examples} examples computed into {self.database} in "
                f"{self.seconds:.1f} s, {self.reused} were already there, {self.failed} failed.\n"
                "Make a file of it: python -m saliency_core merge "
                f"{shlex.quote(self.database)} --output FILE; then the same audit with --db FILE "
                "instead of --output."
            )
        elif self.computed == 0:
            lines.append(
                f"Nothing to compute: all {self.examples} examples are already in {self.database} "
                f"(run {self.run})."
            )
        else:
            kept = f", {self.reused} were already there" if self.reused else ""
            lines.append(
                f"Audited {self.examples} examples into {self.database} (run {self.run}): "
                f"{self.computed} computed in {self.seconds:.1f} s{kept}, {self.failed} failed."
            )
        return "\n".join([*lines, *self._changes()])

    def _changes(self) -> list[str]:
        """Say what a changed dataset did to its run and to the notes at its rows."""
        lines = []
        if self.changes is not None:
            sentence = "The dataset changed since it was last audited"
            if gone := self.changes["gone"]:
                sentence += f": {gone:,} earlier row{' is' if gone == 1 else 's are'} gone"
            if self.changes["evaluations"]:
                sentence += ". Evaluations of the earlier rows were dropped; run `evaluate` again"
            lines.append(f"{sentence}.")
            if edited := self.changes["edited"]:
                lines.append(
                    "These rows have another text than when their note was written, look again: "
                    f"{', '.join(edited)}."
                )
        if self.orphans:
            subject = "1 note belongs" if self.orphans == 1 else f"{self.orphans} notes belong"
            lines.append(
                f"{subject} to rows that are gone; kept, and listed by `annotations export` "
                "as orphans."
            )
        return lines


def audit(
    model: str,
    dataset: Any,
    *,
    db: str | Path | None = None,
    options: AuditOptions | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> AuditResult:
    """Compute what is missing of one run and store it; resumes where an earlier call stopped.

    Args:
        model: folder or hub name of a sequence classifier.
        dataset: file, folder, hub name, pandas DataFrame or `datasets.Dataset`.
        db: the SQLite file; made where it is missing. None where `output` is given.
        options: the choices as one record; or give them as keywords.
        progress: called with (stage, done, total).
        choices: fields of `AuditOptions`, instead of `options`.

    Returns:
        What was computed, reused and failed.

    Raises:
        UserError: for anything the caller gave that cannot be used.
    """
    if options is not None and choices:
        raise UserError(
            f"Give the choices as options= or as keywords, not both; {', '.join(choices)} "
            "would be ignored. Put them into the options."
        )
    options = options or AuditOptions(**choices)
    engine, place = _engine(options), options.output or db
    if place is None or (options.output and db):
        raise UserError("Give the SQLite file (--db) or the folder of blocks (--output), not both.")
    return engine(str(model), dataset, Path(place), options, progress or _silent).run()


def _engine(options: AuditOptions) -> type[Audit]:
    """Return what computes: this process, or a pool of workers on Ray."""
    if options.engine == "ray":
        from saliency_core.pipeline.ray.engine import BlockAudit, RayAudit

        return BlockAudit if options.output else RayAudit
    if options.engine != "local":
        raise UserError(f"--engine {options.engine!r} is unknown; choose local or ray.")
    if options.workers is not None:
        raise UserError("--workers is for --engine ray; the local engine is one process.")
    if options.output is not None:
        raise UserError("--output is for --engine ray; the local engine writes into --db FILE.")
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    return Audit


def read_examples(source: Any, options: AuditOptions) -> Dataset:
    """Open a dataset as the options say."""
    return load_examples(
        source,
        text_column=options.text_column,
        pair_column=options.pair_column,
        label_column=options.label_column,
        id_column=options.id_column,
        metadata_columns=_kept_columns(options),
        split=options.split,
        config=options.config,
        revision=options.revision,
        header=options.header,
        sheet=options.sheet,
        limit=options.limit,
        name=options.name,
    )


def _kept_columns(options: AuditOptions) -> list[str] | None:
    """Return the metadata columns, the predictions made elsewhere among them."""
    named, predictions = options.metadata_columns, options.predictions_from
    if named is None or predictions is None or predictions in named:
        return named
    return [*named, predictions]


def open_classifier(model: str, options: AuditOptions) -> Any:
    """Load a model as the options say."""
    from saliency_core.model.loading import load_classifier

    return load_classifier(
        model,
        lm_head=options.lm_head,
        revision=options.model_revision,
        dtype=options.dtype,
        device=options.device,
        max_length=options.max_length,
        trust_remote_code=options.trust_remote_code,
    )


def open_attributor(classifier: Any, options: AuditOptions) -> Any:
    """Return what computes batches as the options say."""
    from saliency_core.saliency.attributor import Attributor

    return Attributor(
        classifier,
        rule=options.rule,
        steps=options.steps,
        target=options.target,
        batch_tokens=options.batch_tokens,
    )


def _silent(stage: str, done: int, total: int | None) -> None:
    """Show no progress."""


class Audit:
    """The state of one call of `audit`."""

    def __init__(
        self, model: str, dataset: Any, db: Path, options: AuditOptions, progress: Progress
    ) -> None:
        """Open the dataset and the model and check that their labels fit."""
        self.model = model
        self.source = dataset
        self.db = db
        self.options = options
        self.progress = progress
        self.dataset = read_examples(dataset, options)
        self.survey = _survey(self.dataset, options.seed)
        self.classifier = open_classifier(model, options)
        self.proof_warnings = self._prove()
        self.label_index = self._map_labels()
        if options.predictions_from is not None:
            check_column(
                self.dataset,
                self.survey.sample,
                options.predictions_from,
                self.classifier.info.label_names,
                options.label_map,
                self.label_index,
            )
        self.attributor = open_attributor(self.classifier, options)
        self.settings = RunSettings(
            target=options.target,
            rule=self.attributor.reach.rule,
            steps=options.steps,
            max_length=self.classifier.max_length,
            long_text=options.long_text,
            dtype=self.classifier.dtype,
            label_map=dict(options.label_map),
        )
        self.batch_tokens = options.batch_tokens or self.classifier.default_batch_tokens
        self.computed = 0
        self.done = 0
        self.left_out: list[str] = []
        """What could not be computed on a sample of the texts, in sentences."""

    def _prove(self) -> list[str]:
        """Prove on texts of the dataset that the model answers as transformers' own would."""
        from saliency_core.model.proof import prove

        sample = [example for example in self.survey.sample if example.text.strip()]
        if not sample:
            return []
        return prove(self.classifier, [example.text for example in sample], _pairs(sample))

    def _map_labels(self) -> dict[str, int]:
        """Return dataset label -> index among the model's labels, checked for order on a sample."""
        info, label_map = self.classifier.info, self.options.label_map
        if info.task == "multi-label":
            check_label_sets(list(self.survey.labels), info.label_names, label_map)
        if not self.survey.labels or info.task != "single-label":
            return {}
        index = map_labels(
            list(self.survey.labels),
            list(info.label_names),
            label_map,
            list(self.dataset.info.label_names) if self.dataset.info.label_names else None,
            sample=self._predicted_sample,
        )
        if not self.options.trust_labels:
            self._guard_label_order(index)
        return index

    def _predicted_sample(self) -> tuple[list[str], np.ndarray]:
        """Return the labels of the sample where it has them, and what is predicted there."""
        sample = [example for example in self.survey.sample if example.label is not None]
        if not sample:
            return [], np.zeros(0, np.int64)
        encodings = self.classifier.encode(
            [example.text for example in sample], _pairs(sample), self.classifier.max_length
        )
        logits = self.classifier.logits(encodings)  # (example, class)
        answered = np.flatnonzero(np.isfinite(logits).all(axis=1))
        return [sample[row].label for row in answered], logits[answered].argmax(axis=1)

    def _guard_label_order(self, index: dict[str, int]) -> None:
        """Stop before any score where another order of the labels fits a sample clearly better."""
        labels, predicted = self._predicted_sample()
        own = [row for row, label in enumerate(labels) if label in index]
        if not own:
            return
        gold = np.array([index[labels[row]] for row in own])
        names = list(self.classifier.info.label_names)
        check_label_order(gold, predicted[own], names, index, self.options.label_map)

    def run(self) -> AuditResult:
        """Audit everything that is missing; see `audit`."""
        if self.options.dry_run:
            return self._dry_run()
        started = time.perf_counter()
        self.db.parent.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(1, "store") as store_thread:
            context = open_writer(self.db)
            writer = store_thread.submit(context.__enter__).result()
            try:
                dataset = self.dataset.identified()
                run = store_thread.submit(
                    writer.begin_run, dataset, self.classifier.info, self.settings
                ).result()
                if store_thread.submit(writer.is_changed, run).result():
                    self._compare_rows(run, writer, store_thread)
                    self._settle(run, writer, store_thread, dataset)
                self._audit_blocks(run, writer, store_thread)
                changes = self._settle(run, writer, store_thread, dataset)
                seconds = time.perf_counter() - started
                if self.computed or not self._is_summarised(run):
                    store_thread.submit(self._finish, run, writer, seconds).result()
            finally:
                store_thread.submit(context.__exit__, None, None, None).result()
        compared = self._compare_predictions(run)
        store = open_store(self.db)
        return AuditResult(
            run=run,
            database=str(self.db),
            examples=self.survey.examples,
            computed=self.computed,
            reused=self.survey.examples - self.computed,
            failed=store.count("failed", run=run),
            seconds=seconds,
            warnings=(*self._warnings(), *([compared.sentence()] if compared else [])),
            guessed=self.dataset.guessed,
            predictions=asdict(compared) if compared else None,
            changes=asdict(changes) if changes else None,
            orphans=len(store.orphaned_notes(run=run)),
        )

    def _compare_rows(self, run: int, writer: Any, store_thread: ThreadPoolExecutor) -> None:
        """Store the rows of a changed dataset before any is computed.

        Only then is it known which earlier rows and notes belong to none of them.
        """
        done = 0
        for block in blocks_of(self.dataset):
            store_thread.submit(self._register, run, writer, block).result()
            done += len(block)
            self.progress("comparing rows", done, self.survey.examples)

    def _settle(
        self, run: int, writer: Any, store_thread: ThreadPoolExecutor, dataset: DatasetInfo
    ) -> Changes | None:
        """Leave the run the rows of the dataset; return what a changed dataset did to it."""
        examples, limit = self.survey.examples, self.options.limit
        settle = partial(writer.settle, whole=limit is None or examples < limit)
        return store_thread.submit(settle, run, dataset, examples).result()

    def _compare_predictions(self, run: int) -> Comparison | None:
        """Compare predictions made elsewhere, and keep what was found among the warnings."""
        column = self.options.predictions_from
        if column is None:
            return None
        found = compare(open_store(self.db), run, column, self.options.label_map)
        set_warning(self.db, run, found.beginning, found.sentence())
        return found

    def _audit_blocks(self, run: int, writer: Any, store_thread: ThreadPoolExecutor) -> None:
        """Go through the dataset block by block, computing only what is missing."""
        self.progress("auditing", 0, self.survey.examples)
        for block, encodings in _ahead(self._read_blocks()):
            missing = store_thread.submit(self._register, run, writer, block).result()
            self._advance(len(block) - len(missing))
            self._audit_block(run, writer, store_thread, block, encodings, missing)
        self.progress("auditing", self.survey.examples, self.survey.examples)

    def _audit_block(
        self,
        run: int,
        writer: Any,
        store_thread: ThreadPoolExecutor,
        block: list[Example],
        encodings: list[Any],
        missing: set[int],
    ) -> None:
        """Compute and store what is missing of one block."""
        writes: deque[Future] = deque()
        for batch in self._batches(block, encodings):
            batch = [row for row in batch if block[row].position in missing]
            if not batch:
                continue
            work = self._work([block[row] for row in batch], [encodings[row] for row in batch])
            computed = self.attributor.compute(*work[1:])
            writes.append(store_thread.submit(self._store, run, writer, work, computed))
            self.computed += len(batch)
            self._advance(len(batch))
            while len(writes) > WRITES_AHEAD:
                writes.popleft().result()
        while writes:
            writes.popleft().result()
        # Duplicates within the block take over what their first occurrence just computed.
        copied = store_thread.submit(self._register, run, writer, block).result()
        assert not copied, f"{len(copied)} examples of a finished block have no result"

    def _advance(self, examples: int) -> None:
        self.done += examples
        self.progress("auditing", min(self.done, self.survey.examples), self.survey.examples)

    def _read_blocks(self) -> Iterator[tuple[list[Example], list[Any]]]:
        """Yield blocks of examples with their encodings, in the order of the dataset."""
        for block in blocks_of(self.dataset):
            yield block, self._encode(block)

    def _encode(self, examples: list[Example]) -> list[Any]:
        return encode_examples(self.classifier, examples, self.options.long_text)

    def _register(self, run: int, writer: Any, block: list[Example]) -> set[int]:
        """Store the rows of a block; return the positions without result, first of equals only."""
        writer.add_examples(run, block, [self._gold(example) for example in block])
        return {example.position for example in writer.missing(run, block)}

    def _gold(self, example: Example) -> int | None:
        return gold_of(example, self.label_index)

    def _batches(self, block: list[Example], encodings: list[Any]) -> Iterator[list[int]]:
        gold = [self._gold(example) for example in block]
        return plan_batches(block, gold, encodings, self.batch_tokens, self.classifier.pad_token_id)

    def _work(
        self, examples: list[Example], encodings: list[Any]
    ) -> tuple[list[Example], list[Any], list[int | None]]:
        """Return a batch as the attributor takes it: examples, encodings and gold labels."""
        return examples, encodings, [self._gold(example) for example in examples]

    def _store(self, run: int, writer: Any, work: tuple, computed: list[Any]) -> None:
        """Make records of a computed batch and write them; the model does the next meanwhile."""
        writer.write_batch(run, self.attributor.records(*work, computed))

    def _is_summarised(self, run: int) -> bool:
        """Tell whether an earlier call already summarised all that this one would."""
        store = open_store(self.db)
        evaluated = store.layers(run=run)["comprehensiveness"].notna().any()
        return store.is_complete(run) and (evaluated or not self._evaluates_layers())

    def _evaluates_layers(self) -> bool:
        return self.options.evaluate and self.classifier.info.task != "regression"

    def _finish(self, run: int, writer: Any, seconds: float) -> None:
        """Summarise a run and mark it finished, without what its sample of texts does not allow."""
        failed = writer.failed_among(run, [example.position for example in self.survey.sample])
        readable = [
            example
            for example in self.survey.sample
            if example.text.strip() and example.position not in failed
        ]
        summarise = partial(self._summarise, run, writer, seconds)
        attempts = [("What layers decode to", partial(summarise, readable, False))]
        if self._evaluates_layers() and readable:
            attempts.insert(0, ("Evaluating layers", partial(summarise, readable, True)))
        attempts.append(("Summarising layers", partial(summarise, [], False)))
        first_that_works(attempts, self.left_out)
        if self._evaluates_layers() and readable:
            keep = [("What classes decode to", partial(self._keep_meanings, run, readable))]
            told = len(self.left_out)
            first_that_works(keep, self.left_out, needed=False)
            for sentence in self.left_out[told:]:
                set_warning(self.db, run, sentence, sentence)

    def _summarise(
        self, run: int, writer: Any, seconds: float, readable: list[Example], evaluates: bool
    ) -> None:
        """Summarise the layers, as far as it takes the model on a sample of the readable."""
        evaluator = None
        if evaluates:
            evaluator = open_attributor(
                self.classifier, replace(self.options, target="predicted", rule=self.settings.rule)
            )
        summarise_run(
            writer,
            run,
            self.classifier,
            readable,
            evaluator,
            seed=self.options.seed,
            batch_tokens=self.batch_tokens,
            seconds=seconds,
            warnings=self._warnings(),
            progress=self.progress,
            bypassed=self.attributor.reach.bypassed,
        )

    def _keep_meanings(self, run: int, sample: list[Example]) -> None:
        """Keep the words that classes mean, on a sample."""
        save_table(self.db, run, "meanings", sample_meanings(self.classifier, sample))

    def _dry_run(self) -> AuditResult:
        """Time one block's worth of batches and estimate the whole; nothing is stored."""
        sample = self.survey.sample
        encodings = self.classifier.encode(
            [example.text for example in sample], _pairs(sample), self.classifier.max_length
        )
        started = time.perf_counter()
        tokens = computed = 0
        for batch in self._batches(sample, encodings):
            records = self.attributor.audit(
                *self._work([sample[row] for row in batch], [encodings[row] for row in batch])
            )
            tokens += sum(len(record.token_ids) for record in records)
            computed += len(records)
            if time.perf_counter() - started > DRY_RUN_SECONDS:
                break
        seconds = time.perf_counter() - started
        share = self.survey.examples / computed
        scores = tokens * (self.classifier.info.layers + 1) * share
        return AuditResult(
            run=None,
            database=str(self.db),
            examples=self.survey.examples,
            computed=0,
            reused=0,
            failed=0,
            seconds=seconds,
            warnings=tuple(self._warnings()),
            guessed=self.dataset.guessed,
            estimate={
                "seconds": seconds * share,
                "megabytes": (scores * BYTES_A_SCORE + 2 * self.survey.characters) / 1e6,
            },
        )

    def _label_hint(self) -> str:
        """Name the column that holds the model's labels, where no column was taken for them."""
        rows = [example.metadata for example in self.survey.sample]
        names = self.dataset.info.metadata_columns
        guess = guess_columns(names, rows, self.classifier.info.label_names).get("label")
        if guess is None or not guess.sure or self.options.label_column is not None:
            return ""
        return (
            f" Column {guess.column!r} holds labels of the model; if they are the gold labels, say "
            f"--label-column {shlex.quote(guess.column)}."
        )

    def _warnings(self) -> list[str]:
        """Say what a reader of the numbers must know."""
        info = self.classifier.info
        found = list(self.proof_warnings)
        if info.lm_head_is_fallback:
            found.append(
                "No language-model head was given: features are decoded through the tied input "
                "embeddings. Give the pretrained model with --lm-head for a true decoding."
            )
        reach = self.attributor.reach
        if reach.reason is not None:
            found.append(reach.reason)
        if reach.bypassed:
            parts = ", ".join(f"{layer} ({part:.0%})" for layer, part in reach.bypassed.items())
            found.append(
                "Information flows around some layers, so their scores account for a part of the "
                f"answer only: {parts}. They are never recommended."
            )
        if self.options.label_map:
            found += self._of_label_map()
        found.extend(self.dataset.notes)
        if not self.survey.labels:
            found.append(
                f"The dataset has no labels, so right and wrong are unknown.{self._label_hint()}"
            )
        elif info.task != "single-label":
            found.append(
                f"A {info.task} model has no single right class, so right and wrong are unknown; "
                "the label of every example is kept as it is written."
            )
        return [*found, *self.left_out]

    def _of_label_map(self) -> Iterator[str]:
        """Say how labels were mapped, and what of the map was not needed."""
        label_map = self.options.label_map
        pairs = ", ".join(f"{old} = {new or 'no label'}" for old, new in label_map.items())
        yield f"Labels of the dataset were mapped: {pairs}."
        if self.options.predictions_from is None and (
            unused := unused_keys(self.survey.labels, label_map)
        ):
            yield f"No label of the dataset is {listed(unused)}, which the label map names."


def gold_of(example: Example, label_index: dict[str, int]) -> int | None:
    """Return the gold label as an index of the model's labels."""
    return label_index.get(example.label) if example.label is not None else None


def blocks_of(dataset: Iterable[Example]) -> Iterator[list[Example]]:
    """Yield the examples that are planned together."""
    rows = iter(dataset)
    while block := list(islice(rows, BLOCK)):
        yield block


def encode_examples(classifier: Any, examples: list[Example], long_text: str) -> list[Any]:
    """Tokenize examples; long texts are cut as `--long-text` says."""
    encode = classifier.encode_windows if long_text == "window" else classifier.encode
    return encode([example.text for example in examples], _pairs(examples))


def first_of_equals(block: list[Example], gold: list[int | None]) -> list[int]:
    """Return the rows whose text and gold label no earlier row of the block has."""
    first: dict[tuple, int] = {}
    for row, example in enumerate(block):
        first.setdefault((example.text, example.pair, gold[row]), row)
    return list(first.values())


def plan_batches(
    block: list[Example],
    gold: list[int | None],
    encodings: list[Any],
    batch_tokens: int,
    pad_token_id: int,
) -> Iterator[list[int]]:
    """Yield batches of rows of one layout, or of few, under the token budget.

    Only the first of equal texts takes part, whatever is stored already: the batches depend on
    the block alone, so that every engine and every restart computes the same ones.
    """
    rows = first_of_equals(block, gold)
    yield from layout_batches(rows, encodings, pad_token_id, batch_tokens)


@dataclass(frozen=True)
class _Survey:
    """What one pass over the dataset tells before anything is computed."""

    examples: int
    labels: Counter
    sample: list[Example]
    characters: int


def _survey(dataset: Dataset, seed: int) -> _Survey:
    """Count examples and labels and draw a seeded sample, in constant memory."""
    labels: Counter = Counter()
    sample: list[Example] = []
    draw = random.Random(seed)
    examples = characters = readable = 0
    for example in dataset:
        examples += 1
        readable += not example.text.isspace() and bool(example.text)
        characters += len(example.text)
        if example.label is not None:
            labels[example.label] += 1
        if len(sample) < GUARD_SAMPLE:
            sample.append(example)
        elif (place := draw.randrange(examples)) < GUARD_SAMPLE:
            sample[place] = example
    if not examples:
        raise UserError(f"{dataset.info.source} holds no examples.")
    if not readable:
        raise UserError(
            f"{dataset.info.source}: no row has a text in column {dataset.info.columns['text']!r}; "
            "choose another with --text-column."
        )
    return _Survey(examples, labels, sample, characters)


def _pairs(examples: list[Example]) -> list[str] | None:
    """Return the second texts; None where the dataset has none."""
    if not examples or examples[0].pair is None:
        return None
    return [example.pair or "" for example in examples]


def _ahead(items: Iterable) -> Iterator:
    """Yield items while a thread already makes the next one."""
    source = iter(items)
    with ThreadPoolExecutor(1, "reader") as reader:
        upcoming = reader.submit(next, source, None)
        while (item := upcoming.result()) is not None:
            upcoming = reader.submit(next, source, None)
            yield item
