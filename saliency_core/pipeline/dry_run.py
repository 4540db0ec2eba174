"""What an audit would take: some batches of the sample are computed, nothing is stored."""

from __future__ import annotations

import time
from pathlib import Path

from saliency_core.pipeline.batching import encode_examples
from saliency_core.pipeline.inputs import AuditInputs
from saliency_core.pipeline.options import AuditResult

DRY_RUN_SECONDS = 5.0
"""How long a dry run computes before it estimates."""
BYTES_PER_SCORE = 4.0
"""Budget of the file for one token at one layer."""


def estimate(inputs: AuditInputs, place: Path) -> AuditResult:
    """Time the batches of the sample and estimate the whole."""
    sample, survey, classifier = inputs.survey.sample, inputs.survey, inputs.classifier
    encodings = encode_examples(classifier, sample)
    started = time.perf_counter()
    tokens = computed = 0
    for rows in inputs.batches(sample, encodings):
        examples = [sample[row] for row in rows]
        records = inputs.attributor.audit(
            examples, [encodings[row] for row in rows], inputs.gold(examples)
        )
        tokens += sum(len(record.token_ids) for record in records)
        computed += len(records)
        if time.perf_counter() - started > DRY_RUN_SECONDS:
            break
    seconds = time.perf_counter() - started
    share = survey.examples / computed
    scores = tokens * (classifier.info.layers + 1) * share
    return AuditResult(
        run=None,
        database=str(place),
        examples=survey.examples,
        computed=0,
        reused=0,
        failed=0,
        seconds=seconds,
        warnings=tuple(inputs.warnings()),
        guessed=inputs.dataset.guessed,
        estimate={
            "seconds": seconds * share,
            "megabytes": (scores * BYTES_PER_SCORE + 2 * survey.characters) / 1e6,
        },
    )
