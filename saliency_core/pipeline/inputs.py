"""Everything an audit computes from: the dataset, the model and how their labels correspond."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from saliency_core.data.dataset import Dataset, load_examples
from saliency_core.data.labels.matching import listed, unused_keys
from saliency_core.pipeline.batching import encode_examples, gold_of, pairs_of, plan_batches
from saliency_core.pipeline.external_predictions import check_column
from saliency_core.pipeline.options import CHECKING, AuditOptions
from saliency_core.pipeline.survey import Survey, label_hint, label_index_of, survey_of
from saliency_core.progress import Progress, silent
from saliency_core.records import Doubt, Example, RunSettings

CHECKS = 4
"""Of the dataset, the model, the one on the other, and their labels."""


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


@dataclass(frozen=True)
class AuditInputs:
    """A dataset and a model that fit each other."""

    model: str
    source: Any
    options: AuditOptions
    dataset: Dataset
    survey: Survey
    classifier: Any
    attributor: Any
    label_index: dict[str, int]
    batch_tokens: int
    proof_warnings: tuple[str, ...]
    """What a proof of the model on texts of the dataset found."""

    @property
    def settings(self) -> RunSettings:
        """What of the choices decides the numbers of a run."""
        return RunSettings(
            target=self.options.target,
            rule=self.attributor.reach.rule,
            steps=self.options.steps,
            max_length=self.classifier.max_length,
            long_text=self.options.long_text,
            dtype=self.classifier.dtype,
            label_map=dict(self.options.label_map),
        )

    def gold(self, examples: list[Example]) -> list[int | None]:
        """Return the gold labels as indexes of the model's labels."""
        return [gold_of(example, self.label_index) for example in examples]

    def encode(self, examples: list[Example]) -> list[Any]:
        """Tokenize examples as the options say."""
        return encode_examples(self.classifier, examples, self.options.long_text)

    def batches(self, block: list[Example], encodings: list[Any]) -> list[list[int]]:
        """Return the rows of a block that are computed together."""
        pad_token_id = self.classifier.pad_token_id
        return plan_batches(block, self.gold(block), encodings, self.batch_tokens, pad_token_id)

    def warnings(self) -> list[str]:
        """Say what a reader of the numbers must know."""
        info, reach = self.classifier.info, self.attributor.reach
        found = list(self.proof_warnings)
        if info.lm_head_is_fallback:
            found.append(
                "No language-model head was given: features are decoded through the tied input "
                "embeddings. Give the pretrained model with --lm-head for a true decoding."
            )
        if reach.reason is not None:
            found.append(reach.reason)
        if reach.bypassed:
            parts = ", ".join(f"{layer} ({part:.0%})" for layer, part in reach.bypassed.items())
            found.append(
                f"{Doubt.BYPASSED_LAYERS}, so their scores account for only part of the "
                f"prediction: {parts}. They are never recommended."
            )
        return [*found, *self._of_label_map(), *self.dataset.notes, *self._of_labels()]

    def _of_label_map(self) -> Iterator[str]:
        """Say how labels were mapped, and what of the map was not needed."""
        label_map = self.options.label_map
        if not label_map:
            return
        pairs = ", ".join(f"{old} = {new or 'no label'}" for old, new in label_map.items())
        yield f"Labels of the dataset were mapped: {pairs}."
        if self.options.predictions_from is None and (
            unused := unused_keys(self.survey.labels, label_map)
        ):
            yield f"No label of the dataset is {listed(unused)}, which the label map names."

    def _of_labels(self) -> Iterator[str]:
        """Say why right and wrong are unknown, where they are."""
        info, named = self.classifier.info, self.options.label_column is not None
        if not self.survey.labels:
            hint = "" if named else label_hint(self.dataset, self.survey, info.label_names)
            yield f"The dataset has no labels, so right and wrong are unknown.{hint}"
        elif info.task != "single-label":
            yield (
                f"A {info.task} model has no single right class, so right and wrong are unknown; "
                "the label of every example is kept as it is written."
            )


def open_inputs(
    model: str, source: Any, options: AuditOptions, progress: Progress = silent
) -> AuditInputs:
    """Open the dataset and the model and check that their labels fit."""
    from saliency_core.model.proof import prove

    progress(CHECKING, 0, CHECKS)
    dataset = read_examples(source, options)
    survey = survey_of(dataset, options.seed)
    progress(CHECKING, 1, CHECKS)
    classifier = open_classifier(model, options)
    progress(CHECKING, 2, CHECKS)
    texts = survey.texts
    proof_warnings = prove(classifier, [example.text for example in texts], pairs_of(texts))
    progress(CHECKING, 3, CHECKS)
    label_index = label_index_of(dataset, survey, classifier, options)
    progress(CHECKING, 4, CHECKS)
    if options.predictions_from is not None:
        check_column(
            dataset,
            survey.sample,
            options.predictions_from,
            classifier.info.label_names,
            options.label_map,
            label_index,
        )
    return AuditInputs(
        model=model,
        source=source,
        options=options,
        dataset=dataset,
        survey=survey,
        classifier=classifier,
        attributor=open_attributor(classifier, options),
        label_index=label_index,
        batch_tokens=options.batch_tokens or classifier.default_batch_tokens,
        proof_warnings=tuple(proof_warnings),
    )
