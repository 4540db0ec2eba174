"""Name or folder -> classifier, tokenizer and language-model head."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from saliency_core.errors import UserError
from saliency_core.model.checkpoint import (
    from_hub,
    has_tokenizer_files,
    refuse_adapter,
    refuse_missing,
    refuse_not_finite,
)
from saliency_core.model.classifier import Classifier
from saliency_core.model.fitting import dummy_texts, fit, is_token, position_limit
from saliency_core.model.lm_head import digest_of, load_head
from saliency_core.model.proof import input_names, prove
from saliency_core.records import MEAN_EMBEDDING, ModelInfo

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
UNBOUNDED = 10**9
"""A tokenizer's model_max_length from here on means that it names none."""
REFERENCE_NORM = 0.1
"""Part of the vocabulary's median norm that the embedding of a reference token has at least."""
NAMES_AND_PLACES = {
    "_name_or_path",
    "architectures",
    "dtype",
    "id2label",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}
"""Settings of a configuration that change no logit, or that are kept beside it."""


def load_classifier(
    name: str,
    *,
    lm_head: str | None = None,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "auto",
    max_length: int | None = None,
    trust_remote_code: bool = False,
) -> Classifier:
    """Load a sequence classifier with its tokenizer and language-model head, and prove it.

    Args:
        name: folder or hub name.
        lm_head: folder or hub name of the pretrained language model; without, the tied input
            embeddings.
        revision: revision of the model on the hub.
        dtype: `float32`, `bfloat16` or `auto` (bfloat16 on a GPU, float32 on a CPU).
        device: `auto` or a torch device.
        max_length: tokens a text may have; default what the model and its tokenizer take.
        trust_remote_code: run code that the checkpoint ships.

    Raises:
        UserError: where a part is missing or does not fit, with the reason.
    """
    where = _device(device)
    kind = _dtype(dtype, where)
    common = {"revision": revision, "trust_remote_code": trust_remote_code}
    refuse_adapter(name)
    config = from_hub(AutoConfig, name, "configuration", **common)
    labels = _label_names(name, config)
    config_digest = _config_digest(config)
    model = _load_model(name, config, kind, common).to(where).eval().requires_grad_(False)
    refuse_not_finite(name, model)
    tokenizer = _load_tokenizer(name, common)
    words = _word_embeddings(name, model, tokenizer)
    head = load_head(name, lm_head, model, tokenizer, DTYPES[kind], trust_remote_code)
    reference = _reference_token_id(tokenizer, words)
    limit = _tokenizer_limit(tokenizer) or UNBOUNDED
    classifier = Classifier(
        model=model,
        tokenizer=tokenizer,
        head=head,
        info=ModelInfo(
            name=_lasting(name),
            revision=revision,
            architecture=type(model).__name__,
            label_names=labels,
            task=_task(config),
            layers=0,
            lm_head=_lasting(head.name),
            lm_head_is_fallback=head.fallback,
            causal=head.causal,
            reference=MEAN_EMBEDDING
            if reference is None
            else tokenizer.convert_ids_to_tokens(reference),
            model_digest=digest_of(list(model.state_dict().items())),
            tokenizer_digest=_tokenizer_digest(tokenizer),
            lm_head_digest=head.digest(),
            config_digest=config_digest,
        ),
        max_length=limit,
        device=where,
        dtype=kind,
        reference_token_id=reference,
        blank_token_id=next(_special_tokens(tokenizer), 0) if reference is None else reference,
        pad_token_id=_pad_token_id(config, tokenizer, words),
        padding_side="right",
        inputs=_inputs(model, tokenizer),
    )
    classifier = fit(classifier)
    limit = min(limit, position_limit(classifier) or _config_limit(model.config) or limit)
    if max_length is not None and max_length > limit:
        raise UserError(
            f"--max-length {max_length} is more than {name} can take, which is {limit}."
        )
    prove(classifier, dummy_texts(classifier))
    return replace(classifier, max_length=max_length or limit)


def _load_model(name: str, config: Any, dtype: str, common: dict[str, Any]) -> nn.Module:
    """Load the weights, all of which the checkpoint must hold, in the configuration's shapes."""
    model, loading = from_hub(
        AutoModelForSequenceClassification,
        name,
        "sequence classifier",
        config=config,
        dtype=DTYPES[dtype],
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # Refused below, in one sentence.
        **common,
    )
    refuse_missing(
        name,
        loading,
        "is not a fine-tuned classifier: it has no weights for a classification head",
        "Give the folder that the training saved.",
    )
    return model


def _load_tokenizer(name: str, common: dict[str, Any]) -> Any:
    """Load the fast tokenizer of a checkpoint, which must bring a vocabulary of its own."""
    missing = UserError(
        f"{name} has no tokenizer files (tokenizer.json, or a vocabulary such as vocab.txt); copy "
        "them from the model that it was fine-tuned from."
    )
    try:
        tokenizer = from_hub(AutoTokenizer, name, "tokenizer", **common)
    except UserError:
        if Path(name).is_dir() and not has_tokenizer_files(name, None):
            raise missing from None
        raise
    # Without files transformers makes a tokenizer of special tokens alone, and says nothing.
    if not has_tokenizer_files(name, tokenizer, common["revision"]):
        raise missing
    if not tokenizer.is_fast:
        raise UserError(
            f"The tokenizer of {name} has no fast version, so words can't be placed on the text."
        )
    return tokenizer


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise UserError(f"--device {device!r} is unknown; choose auto, cpu or cuda.") from error


def _dtype(dtype: str, device: torch.device) -> str:
    if dtype == "auto":
        return "bfloat16" if device.type == "cuda" else "float32"
    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype!r} is unknown; choose float32, bfloat16 or auto.")
    return dtype


def _word_embeddings(name: str, model: Any, tokenizer: Any) -> Tensor:
    """Return (vocab, embedding) the input embeddings, which the tokenizer's tokens must fit."""
    try:
        words = model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError) as error:
        raise UserError(
            f"{name} ({type(model).__name__}) has no table of input embeddings, one row per token; "
            "such a model has no word scores."
        ) from error
    if len(tokenizer) > len(words):
        raise UserError(
            f"The tokenizer of {name} knows {len(tokenizer)} tokens, its model {len(words)}; "
            "they don't belong together."
        )
    return words


def _tokenizer_limit(tokenizer: Any) -> int | None:
    """Return the tokens a text may have by the tokenizer's settings."""
    named = tokenizer.model_max_length
    return int(named) if named and 0 < named < UNBOUNDED else None


def _config_limit(config: Any) -> int | None:
    """Return the tokens a text may have by the configuration."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(positions) if positions and positions > 0 else None


def _special_tokens(tokenizer: Any) -> Iterator[int]:
    """Yield the tokens that say nothing: mask, unknown, end and padding token."""
    for name in ("mask", "unk", "eos", "pad"):
        token = getattr(tokenizer, f"{name}_token_id", None)
        if token is not None:
            yield int(token)


def _reference_token_id(tokenizer: Any, words: Tensor) -> int | None:
    """Return the token of the reference input, None for the vocabulary's mean.

    A token that was never trained has an embedding of almost nothing, at which norms inside the
    model explode.
    """
    norms = torch.cat([piece.float().norm(dim=1) for piece in words[: len(tokenizer)].split(8192)])
    least = REFERENCE_NORM * float(norms.median())
    return next((token for token in _special_tokens(tokenizer) if norms[token] >= least), None)


def _pad_token_id(config: Any, tokenizer: Any, words: Tensor) -> int:
    """Return the id to pad with: the model's own, which decoder-only classifiers look for."""
    choices = (
        getattr(config.get_text_config(), "pad_token_id", None),
        getattr(config, "pad_token_id", None),
        tokenizer.pad_token_id,
        tokenizer.eos_token_id,
        0,
    )
    return next(token for token in choices if is_token(token, words))


def _inputs(model: nn.Module, tokenizer: Any) -> frozenset[str]:
    """Return what the model is given, as transformers itself would: positions it counts itself."""
    given = {"input_ids", "attention_mask", *tokenizer.model_input_names} - {"position_ids"}
    return input_names(model) & given


def _task(config: Any) -> str:
    if config.problem_type == "multi_label_classification":
        return "multi-label"
    if config.num_labels == 1 or config.problem_type == "regression":
        return "regression"
    return "single-label"


def _label_names(name: str, config: Any) -> tuple[str, ...]:
    """Return the names of the classes in the order of the logits, each of which has its own."""
    names: dict[str, int] = {}
    for index in range(config.num_labels):
        label = str(config.id2label.get(index) or "").strip()
        if not label:
            numbers = ", ".join(str(key) for key in sorted(config.id2label))
            raise UserError(
                f"The config.json of {name} names no class {index}: its id2label names "
                f"{numbers}. Number the classes from 0 there and name each one."
            )
        if label in names:
            raise UserError(
                f"The config.json of {name} names classes {names[label]} and {index} both "
                f"{label!r}; give each class a name of its own in id2label."
            )
        names[label] = index
    return tuple(names)


def _lasting(name: str) -> str:
    """Return a folder's whole path, which holds from wherever the file is opened; else the name."""
    return str(Path(name).absolute()) if Path(name).is_dir() else name


def _config_digest(config: Any) -> str:
    """Return a digest of every setting under which the same weights give other logits."""
    settings = config.to_dict()
    # Older checkpoints keep settings of text generation here; a class that has one for itself
    # computes with it.
    generation = set(transformers.GenerationConfig().to_dict()) - set(type(config)().to_dict())
    return _json_digest(_without(settings, NAMES_AND_PLACES | generation))


def _without(settings: Any, names: set[str]) -> Any:
    if isinstance(settings, dict):
        return {key: _without(value, names) for key, value in settings.items() if key not in names}
    return settings


def _tokenizer_digest(tokenizer: Any) -> str:
    """Return a digest of the tokenizer and of the settings with which it is called."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    settings = {
        name: getattr(tokenizer, name, None)
        for name in ("truncation_side", "model_input_names", "special_tokens_map")
    }
    # Every call sets these two anew.
    return _json_digest([_without(backend, {"truncation", "padding"}), settings])


def _json_digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
