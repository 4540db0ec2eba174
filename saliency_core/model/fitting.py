"""What only running a model tells: its layers, how it takes padding, how long a text may be."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from saliency_core.errors import UserError, first_line
from saliency_core.model.classifier import Classifier, changed_embeddings
from saliency_core.model.encoding import Encoding
from saliency_core.model.lm_head import final_norm
from saliency_core.model.proof import input_names, own_logits, tolerance

DUMMIES = ("a test", "a test of a longer text, which makes it padded")


def fit(classifier: Classifier) -> Classifier:
    """Return the classifier with its layers, padding and the length it can take.

    Raises:
        UserError: its states cannot be explained, or padding changes its answers.
    """
    texts = dummy_texts(classifier)
    alone = [_alone(classifier, text) for text in texts]
    _never_padding(classifier)
    encodings = classifier.encode(texts)
    classifier = _with_states(classifier, encodings[0])
    return _with_padding(classifier, encodings, alone)


def dummy_texts(classifier: Classifier) -> tuple[str, str]:
    """Return a short and a longer text that the tokenizer makes tokens of."""
    if all(not encoding.special.all() for encoding in classifier.encode(DUMMIES)):
        return DUMMIES
    special = set(classifier.tokenizer.all_special_ids)
    vocabulary = (token for token in range(len(classifier.tokenizer)) if token not in special)
    words = [word for token in vocabulary if (word := classifier.tokenizer.decode([token]).strip())]
    return " ".join(words[:2]), " ".join(words[2:10])


def _alone(classifier: Classifier, text: str) -> np.ndarray:
    name = classifier.info.name
    try:
        logits = own_logits(classifier, text)
    except Exception as error:  # Which error depends on the architecture.
        raise UserError(
            f"{name} can't be run on {text!r}, by transformers alone: {first_line(error)}"
        ) from error
    if logits.ndim != 1 or len(logits) != len(classifier.info.label_names):
        raise UserError(
            f"{name} returns logits of shape {tuple(logits.shape)} a text for "
            f"{len(classifier.info.label_names)} labels."
        )
    if not np.isfinite(logits).all():
        raise UserError(
            f"{name} returns NaN or infinite numbers as logits, though its weights are finite; "
            "try --dtype float32."
        )
    return logits


def _never_padding(classifier: Classifier) -> None:
    """Make a model that names no padding token take batches: no token is padding to it.

    Decoder-only classifiers read the last token that is not padding. One without a padding token
    reads the last token of all; naming any token of the vocabulary would make it skip that one.
    """
    config, words = classifier.model.config, classifier.model.get_input_embeddings().weight
    for part in (config, config.get_text_config()):
        if hasattr(part, "pad_token_id") and not is_token(part.pad_token_id, words):
            part.pad_token_id = -1


def is_token(token: Any, words: Tensor) -> TypeGuard[int]:
    """Return whether this is the id of a token that has one of the input embeddings."""
    return isinstance(token, int) and 0 <= token < len(words)


def _with_states(classifier: Classifier, encoding: Encoding) -> Classifier:
    """Return the classifier with the number of its layers, all of which its logits depend on."""
    ran = _run(classifier, encoding)
    if ran.apart is not None:
        base = ran.states[ran.apart]._base
        if base is not None and base.ndim == 3 and base.shape[1] >= ran.states[0].shape[1]:
            # Padded inside to whole windows and cut again: with whole windows nothing is cut.
            whole = replace(classifier, width_multiple=base.shape[1], states_are_views=True)
            classifier, ran = whole, _run(whole, encoding)
    if ran.apart is not None:
        raise UserError(
            f"{classifier.info.name} returns copies of its hidden states (layer {ran.apart}): its "
            "logits don't depend on them, so its layers can't be explained."
        )
    layers = len(ran.states) - 1 - classifier.is_encoder_decoder
    _check_shapes(classifier, ran)
    return replace(
        classifier,
        info=replace(classifier.info, layers=layers),
        normed_last=ran.normed is not None and torch.equal(ran.normed, ran.states[layers]),
    )


@dataclass(frozen=True)
class _Run:
    """What one dummy text gave."""

    batch: dict[str, Tensor]
    states: tuple[Tensor, ...]
    logits: Tensor
    apart: int | None
    """First state that the logits do not depend on."""
    normed: Tensor | None
    """What the final norm returned, where there is one."""


def _run(classifier: Classifier, encoding: Encoding) -> _Run:
    """Run a text forward and backward through everything that an audit needs."""
    name = classifier.info.name
    batch = classifier.collate([encoding])
    normed: list[Tensor] = []
    norm = classifier.head.final_norm and final_norm(classifier.model.base_model)
    hook: Any = nullcontext()
    if norm is not None:
        hook = norm.register_forward_hook(lambda *call: normed.append(call[2].detach()))
    leaves = changed_embeddings(classifier.embeddings, lambda module, ids, found: found)
    try:
        with hook, leaves, torch.enable_grad():
            states, logits = classifier.forward(batch)
            # Nothing else has a gradient: the weights are frozen.
            if not all(state.requires_grad for state in states):
                raise UserError(f"{name}: its hidden states don't depend on its input embeddings.")
            gradients = torch.autograd.grad(logits.float().sum(), states, allow_unused=True)
    except UserError:
        raise
    except Exception as error:  # Which error depends on the architecture.
        raise UserError(
            f"{name} returns no hidden states or logits that can be explained: {first_line(error)}"
        ) from error
    apart = next((layer for layer, found in enumerate(gradients) if found is None), None)
    return _Run(batch, states, logits, apart, normed[-1] if normed else None)


def _check_shapes(classifier: Classifier, ran: _Run) -> None:
    name, shape = classifier.info.name, ran.batch["input_ids"].shape
    for layer, state in enumerate(ran.states):
        if state.ndim != 3 or state.shape[:2] != shape:
            raise UserError(
                f"{name}: the states of layer {layer} are of shape {tuple(state.shape)}, not one "
                f"a token of {tuple(shape)}; such a model has no word scores."
            )
    head = classifier.head
    try:
        features = head.features(ran.states[0].detach(), normed=False)
    except Exception as error:  # Which error depends on the architecture.
        raise UserError(
            f"The language-model head ({head.name}) can't decode the states of {name}: "
            f"{first_line(error)}"
        ) from error
    if features.shape[-1] != head.embeddings.shape[1]:
        raise UserError(
            f"The language-model head ({head.name}) gives features of size {features.shape[-1]}, "
            f"its embeddings have {head.embeddings.shape[1]}; name the pretrained model that the "
            "classifier was fine-tuned from with --lm-head."
        )


def _with_padding(
    classifier: Classifier, encodings: list[Encoding], alone: list[np.ndarray]
) -> Classifier:
    """Return the classifier with the padding that changes no logit of a text beside a longer one.

    Where padding on the left shifts the positions, the positions are given.
    """
    counted = classifier.inputs | ({"position_ids"} & input_names(classifier.model))
    apart: dict[str, float] = {}
    for side, inputs in (
        ("right", classifier.inputs),
        ("left", classifier.inputs),
        ("left", counted),
    ):
        padded = replace(classifier, padding_side=side, inputs=inputs)
        logits = padded.logits(encodings)
        if all(
            np.abs(row - own).max() <= tolerance(own, classifier.dtype)
            for row, own in zip(logits, alone, strict=True)
        ):
            return padded
        apart[side] = float(np.abs(logits - np.stack(alone)).max())
    raise UserError(
        f"{classifier.info.name}: padding changes its logits (by {apart['right']:.2g} on the "
        f"right, {apart['left']:.2g} on the left), so texts can't be audited in batches."
    )


class _Lookups(TorchFunctionMode):
    """Notes every look-up in an embedding: id of its table, rows, shape and largest token."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, int, tuple[int, ...], int]] = []

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is nn.functional.embedding and args[0].numel():
            ids, table = args[0], args[1] if len(args) > 1 else (kwargs or {})["weight"]
            self.found.append((id(table), len(table), tuple(ids.shape), int(ids.max())))
        return func(*args, **(kwargs or {}))


def position_limit(classifier: Classifier) -> int | None:
    """Return the tokens for which the model has positions; None where no table limits them.

    A table of positions is one whose largest row read grows with the text, token by token.
    """
    lengths, tables = [], []
    for text in dummy_texts(classifier):
        batch = classifier.collate(classifier.encode([text]))
        lengths.append(int(batch["attention_mask"].sum()))
        with torch.inference_mode(), _Lookups() as lookups:
            classifier.forward(batch)
        tables.append(
            {
                table: (rows, largest)
                for table, rows, shape, largest in lookups.found
                if len(shape) == 1 or (shape[0] == 1 and len(shape) == 2)
            }
        )
    words = id(classifier.model.get_input_embeddings().weight)
    limits = [
        rows - (largest - (lengths[0] - 1))
        for table, (rows, largest) in tables[0].items()
        if table != words
        and table in tables[1]
        and tables[1][table][1] - largest == lengths[1] - lengths[0]
    ]
    return min(limits, default=None)
