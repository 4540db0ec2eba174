"""An audit: blocks of examples -> misses -> model -> saliency -> one transaction a batch."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from saliency_core.errors import UserError
from saliency_core.pipeline.batching import blocks_of
from saliency_core.pipeline.computing import RunResults, Tally, compute_here
from saliency_core.pipeline.dry_run import estimate
from saliency_core.pipeline.external_predictions import Comparison, compare
from saliency_core.pipeline.inputs import AuditInputs, open_attributor, open_inputs
from saliency_core.pipeline.layer_summary import sample_meanings, summarise_run
from saliency_core.pipeline.options import AuditOptions, AuditResult
from saliency_core.pipeline.sample_steps import first_that_works
from saliency_core.progress import Progress, silent
from saliency_core.records import Example
from saliency_core.store import open_store, open_writer, save_table
from saliency_core.store.read.results import set_warning
from saliency_core.store.write.former import Changes


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
    progress = progress or silent
    _check_engine(options)
    place = options.output or db
    if place is None or (options.output and db):
        raise UserError("Give the SQLite file (--db) or the folder of blocks (--output), not both.")
    inputs = open_inputs(str(model), dataset, options, progress)
    if options.dry_run:
        return estimate(inputs, Path(place))
    if options.output:
        from saliency_core.pipeline.ray.engine import compute_into_folder

        return compute_into_folder(inputs, Path(place), progress)
    return Audit(inputs, Path(place), progress).run()


def _check_engine(options: AuditOptions) -> None:
    """Refuse an engine that is unknown or absent, or choices of another one."""
    if options.engine == "ray":
        from saliency_core.pipeline.ray.engine import check_installed

        return check_installed()
    if options.engine != "local":
        raise UserError(f"--engine {options.engine!r} is unknown; choose local or ray.")
    if options.workers is not None:
        raise UserError("--workers is for --engine ray; the local engine is one process.")
    if options.output is not None:
        raise UserError("--output is for --engine ray; the local engine writes into --db FILE.")
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)


class Audit:
    """One call of `audit` that writes a run into a file."""

    def __init__(self, inputs: AuditInputs, db: Path, progress: Progress) -> None:
        """Take what is computed from, and where it goes."""
        self.inputs = inputs
        self.options = inputs.options
        self.db = db
        self.progress = progress
        self.left_out: list[str] = []
        """What could not be computed on a sample of the texts, in sentences."""

    def run(self) -> AuditResult:
        """Audit everything that is missing; see `audit`."""
        started = time.perf_counter()
        inputs, examples = self.inputs, self.inputs.survey.examples
        tally = Tally(examples, self.progress)
        self.db.parent.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(1, "store") as store_thread:
            context = open_writer(self.db)
            writer = store_thread.submit(context.__enter__).result()
            try:
                dataset = inputs.dataset.identified()
                run = store_thread.submit(
                    writer.begin_run, dataset, inputs.classifier.info, inputs.settings
                ).result()
                results = RunResults(inputs, run, writer, store_thread, tally)
                whole = self.options.limit is None or examples < self.options.limit
                settle = partial(writer.settle, run, dataset, examples, whole=whole)
                if store_thread.submit(writer.is_changed, run).result():
                    self._compare_rows(results)
                    store_thread.submit(settle).result()
                self._compute(results)
                changes: Changes | None = store_thread.submit(settle).result()
                seconds = time.perf_counter() - started
                if tally.computed or not self._is_summarised(run):
                    store_thread.submit(self._finish, run, writer, seconds).result()
            finally:
                store_thread.submit(context.__exit__, None, None, None).result()
        compared = self._compare_predictions(run)
        audited = open_store(self.db).run(run)
        return AuditResult(
            run=run,
            database=str(self.db),
            examples=examples,
            computed=tally.computed,
            reused=examples - tally.computed,
            failed=audited.filter("failed").count(),
            seconds=seconds,
            warnings=(*self._warnings(), *([compared.sentence()] if compared else [])),
            guessed=inputs.dataset.guessed,
            predictions=asdict(compared) if compared else None,
            changes=asdict(changes) if changes else None,
            orphans=len(audited.orphaned_notes()),
        )

    def _compute(self, results: RunResults) -> None:
        """Compute what is missing: in this process, or by a pool of workers on Ray."""
        if self.options.engine == "ray":
            from saliency_core.pipeline.ray.engine import compute_on_ray

            compute_on_ray(results)
        else:
            compute_here(results)

    def _compare_rows(self, results: RunResults) -> None:
        """Store the rows of a changed dataset before any is computed.

        Only then is it known which earlier rows and notes belong to none of them.
        """
        done = 0
        for block in blocks_of(self.inputs.dataset):
            results.register(block)
            done += len(block)
            self.progress("comparing rows", done, self.inputs.survey.examples)

    def _compare_predictions(self, run: int) -> Comparison | None:
        """Compare predictions made elsewhere, and keep what was found among the warnings."""
        column = self.options.predictions_from
        if column is None:
            return None
        found = compare(open_store(self.db).run(run), column, self.options.label_map)
        set_warning(self.db, run, found.beginning, found.sentence())
        return found

    def _is_summarised(self, run: int) -> bool:
        """Tell whether an earlier call already summarised all that this one would."""
        audited = open_store(self.db).run(run)
        evaluated = audited.layers()["comprehensiveness"].notna().any()
        return audited.is_complete() and (evaluated or not self._evaluates_layers())

    def _evaluates_layers(self) -> bool:
        return self.options.evaluate and self.inputs.classifier.info.task != "regression"

    def _finish(self, run: int, writer: Any, seconds: float) -> None:
        """Summarise a run and mark it finished, without what its sample of texts does not allow."""
        sample = self.inputs.survey.texts
        failed = writer.failed_among(run, [example.position for example in sample])
        readable = [example for example in sample if example.position not in failed]
        summarise = partial(self._summarise, run, writer, seconds)
        attempts = [("What layers decode to", partial(summarise, readable, False))]
        if self._evaluates_layers() and readable:
            attempts.insert(0, ("Evaluating layers", partial(summarise, readable, True)))
        attempts.append(("Summarising layers", partial(summarise, [], False)))
        first_that_works(attempts, self.left_out)
        if self._evaluates_layers() and readable:
            keep = [("What classes decode to", partial(self._keep_meanings, run, readable))]
            before = len(self.left_out)
            first_that_works(keep, self.left_out, needed=False)
            for sentence in self.left_out[before:]:
                set_warning(self.db, run, sentence, sentence)

    def _summarise(
        self, run: int, writer: Any, seconds: float, readable: list[Example], evaluates: bool
    ) -> None:
        """Summarise the layers, as far as it takes the model on a sample of the readable."""
        inputs, evaluator = self.inputs, None
        if evaluates:
            evaluator = open_attributor(
                inputs.classifier,
                replace(self.options, target="predicted", rule=inputs.settings.rule),
            )
        summarise_run(
            writer,
            run,
            inputs.classifier,
            readable,
            evaluator,
            seed=self.options.seed,
            batch_tokens=inputs.batch_tokens,
            seconds=seconds,
            warnings=self._warnings(),
            progress=self.progress,
            bypassed=inputs.attributor.reach.bypassed,
        )

    def _keep_meanings(self, run: int, sample: list[Example]) -> None:
        """Keep the words that classes mean, on a sample."""
        save_table(self.db, run, "meanings", sample_meanings(self.inputs.classifier, sample))

    def _warnings(self) -> list[str]:
        """Say what a reader of the numbers must know."""
        return [*self.inputs.warnings(), *self.left_out]
