"""Name or folder -> classifier, tokenizer and language-model head; the one user of transformers."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from saliency_core.errors import UserError
from saliency_core.model.classifier import Classifier
from saliency_core.model.lm_head import LanguageModelHead, digest_of, final_norm
from saliency_core.records import ModelInfo

# The command line shows one progress bar, that of the audit.
transformers.utils.logging.disable_progress_bar()

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
UNBOUNDED = 100_000
"""A tokenizer's model_max_length above this means that it names none."""
DEFAULT_MAX_LENGTH = 512


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
    """Load a sequence classifier with its tokenizer and language-model head, and check them.

    Args:
        name: folder or hub name.
        lm_head: folder or hub name of the pretrained language model; the checkpoint's own head
            where it has one, else the tied input embeddings.
        revision: revision on the hub.
        dtype: `float32`, `bfloat16` or `auto` (bfloat16 on a GPU, float32 on a CPU).
        device: `auto` or a torch device.
        max_length: tokens a text may have; default the model's own limit.
        trust_remote_code: run code that the checkpoint ships.

    Raises:
        UserError: where a part is missing or does not fit, with the reason.
    """
    where = _device(device)
    kind = _dtype(dtype, where)
    common = {"revision": revision, "trust_remote_code": trust_remote_code}
    config = _from_hub(AutoConfig, name, "configuration", **common)
    model, loading = _from_hub(
        AutoModelForSequenceClassification,
        name,
        "sequence classifier",
        config=config,
        dtype=DTYPES[kind],
        output_loading_info=True,
        **common,
    )
    _refuse_missing(name, loading, "a classification head", "It is not a fine-tuned classifier")
    tokenizer = _from_hub(AutoTokenizer, name, "tokenizer", **common)
    if not tokenizer.is_fast:
        raise UserError(
            f"The tokenizer of {name} has no fast version, so words can't be placed on the text."
        )
    model = model.to(where).eval().requires_grad_(False)
    model.config.use_cache = False
    _check_vocabulary(name, model, tokenizer)
    head = _load_head(name, lm_head, model, tokenizer, where, kind, trust_remote_code)
    blank_id = _blank_token_id(tokenizer)
    classifier = Classifier(
        model=model,
        tokenizer=tokenizer,
        head=head,
        info=_info(name, revision, model, tokenizer, head, blank_id),
        max_length=_max_length(max_length, model.config, tokenizer, name),
        device=where,
        dtype=kind,
        blank_token_id=blank_id,
        pad_token_id=_pad_token_id(model.config, tokenizer, blank_id),
        padding_side="right",
        takes_type_ids=_takes_type_ids(model),
    )
    classifier = replace(classifier, normed_last=_check_on_dummy(classifier))
    return replace(classifier, padding_side=_padding_side(classifier))


def _from_hub(factory: Any, name: str, what: str, **options: Any) -> Any:
    """Call from_pretrained; what a user can cause becomes one sentence."""
    if _looks_like_path(name) and not Path(name).exists():
        raise UserError(f"There is no folder {name!r}; give a model folder or a hub name.")
    try:
        return factory.from_pretrained(name, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"Can't load the {what} of {name!r}: {reason}") from error


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def _refuse_missing(name: str, loading: dict, what: str, why: str) -> None:
    missing = sorted(loading["missing_keys"])
    if missing:
        raise UserError(
            f"{name} has no weights for {what}: {', '.join(missing[:4])}"
            f"{' ...' if len(missing) > 4 else ''} would be random. {why}."
        )


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


def _max_length(wanted: int | None, config: Any, tokenizer: Any, name: str) -> int:
    """Return the tokens a text may have: what is asked for, within what the model can take."""
    limits = [tokenizer.model_max_length]
    positions = getattr(config, "max_position_embeddings", None)
    if positions:
        # RoBERTa-like models start counting positions after the padding index.
        offset = config.pad_token_id + 1 if _offsets_positions(config) else 0
        limits.append(positions - offset)
    limit = min((int(value) for value in limits if 0 < value < UNBOUNDED), default=UNBOUNDED)
    if wanted is not None and wanted > limit:
        raise UserError(f"--max-length {wanted} is more than {name} can take, which is {limit}.")
    return wanted or min(limit, DEFAULT_MAX_LENGTH)


def _offsets_positions(config: Any) -> bool:
    return (
        config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet")
        and config.pad_token_id is not None
    )


def _blank_token_id(tokenizer: Any) -> int:
    for name in ("mask", "unk", "pad", "eos"):
        token = getattr(tokenizer, f"{name}_token_id", None)
        if token is not None:
            return int(token)
    raise UserError("The tokenizer has no mask, unknown, pad or end token to blank a text with.")


def _check_vocabulary(name: str, model: nn.Module, tokenizer: Any) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise UserError(
            f"The tokenizer of {name} knows {len(tokenizer)} tokens, its model {rows}; "
            "they don't belong together."
        )


def _pad_token_id(config: Any, tokenizer: Any, blank_id: int) -> int:
    """Return the id to pad with: the model's own, which decoder-only classifiers look for."""
    choices = (config.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, blank_id)
    chosen = next(int(token) for token in choices if token is not None and token >= 0)
    if config.pad_token_id != chosen:
        # Without one a decoder-only classifier refuses a batch of two.
        config.pad_token_id = chosen
    return chosen


def _takes_type_ids(model: nn.Module) -> bool:
    """Return whether the model tells the sides of a pair apart by token type."""
    accepted = "token_type_ids" in inspect.signature(model.forward).parameters
    # GPT-2 has no embeddings of types: it would add those of the words with these ids instead.
    return accepted and getattr(model.config, "type_vocab_size", 0) > 1


def _load_head(
    name: str,
    lm_head: str | None,
    model: nn.Module,
    tokenizer: Any,
    device: torch.device,
    dtype: str,
    trust_remote_code: bool,
) -> LanguageModelHead:
    """Return the head asked for, else the base checkpoint's, else the tied input embeddings."""
    if lm_head is None:
        return LanguageModelHead(model, _is_causal(model.config), "tied input embeddings", True)
    causal = _is_causal(model.config)
    factory = AutoModelForCausalLM if causal else AutoModelForMaskedLM
    language_model, loading = _from_hub(
        factory,
        lm_head,
        "language-model head",
        dtype=DTYPES[dtype],
        output_loading_info=True,
        trust_remote_code=trust_remote_code,
    )
    _refuse_missing(
        lm_head,
        loading,
        "the language-model head",
        "Name the pretrained model that the classifier was fine-tuned from with --lm-head",
    )
    language_model = language_model.to(device).eval().requires_grad_(False)
    head = LanguageModelHead(language_model, causal, lm_head)
    _check_head(head, lm_head, name, model, tokenizer)
    return head


def _check_head(
    head: LanguageModelHead, lm_head: str, name: str, model: nn.Module, tokenizer: Any
) -> None:
    hidden = model.config.hidden_size
    own = head.model.config.hidden_size
    if own != hidden:
        raise UserError(
            f"The language-model head {lm_head} reads states of size {own}, {name} has {hidden}."
        )
    if len(head.embeddings) < len(tokenizer):
        raise UserError(
            f"The vocabulary of {lm_head} ({len(head.embeddings)} tokens) is not that of {name} "
            f"({len(tokenizer)} tokens); give the language model it was fine-tuned from."
        )
    try:
        other = AutoTokenizer.from_pretrained(lm_head)
    except (OSError, ValueError):
        return  # A head folder without tokenizer is checked by its size alone.
    if other.get_vocab() != tokenizer.get_vocab():
        raise UserError(
            f"The vocabulary of {lm_head} differs from that of {name}; "
            "give the language model it was fine-tuned from."
        )


def _is_causal(config: Any) -> bool:
    """Return whether transformers knows this configuration as a causal model only."""
    kind = type(config)
    return kind in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and (
        kind not in transformers.MODEL_FOR_MASKED_LM_MAPPING
    )


def _task(config: Any) -> str:
    if config.num_labels == 1 or config.problem_type == "regression":
        return "regression"
    if config.problem_type == "multi_label_classification":
        return "multi-label"
    return "single-label"


def _lasting(name: str) -> str:
    """Return a folder's whole path, which holds from wherever the file is opened; else the name."""
    return str(Path(name).absolute()) if Path(name).is_dir() else name


def _info(
    name: str,
    revision: str | None,
    model: nn.Module,
    tokenizer: Any,
    head: LanguageModelHead,
    blank_id: int,
) -> ModelInfo:
    config = model.config
    labels = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    return ModelInfo(
        name=_lasting(name),
        revision=revision,
        architecture=type(model).__name__,
        label_names=labels,
        task=_task(config),
        layers=config.num_hidden_layers,
        lm_head=_lasting(head.name),
        lm_head_is_fallback=head.fallback,
        causal=head.causal,
        blank_token=tokenizer.convert_ids_to_tokens(blank_id),
        model_digest=digest_of(list(model.state_dict().items())),
        tokenizer_digest=hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        lm_head_digest=head.digest(),
    )


def _check_on_dummy(classifier: Classifier) -> bool:
    """Run one tiny text through everything an audit needs; refuse with the reason, not mid-run.

    Returns:
        Whether the last state already went through the final norm.
    """
    name = classifier.info.name
    batch = classifier.collate(classifier.encode(["a test"]))
    reached = []
    normed = []
    hooks = [
        module.register_forward_hook(
            lambda module, arguments, output: reached.append(1) or output.requires_grad_(True)
        )
        for module in classifier.embeddings
    ]
    norm = classifier.head.final_norm and final_norm(classifier.model.base_model)
    if norm is not None:
        hooks.append(norm.register_forward_hook(lambda *call: normed.append(call[2].detach())))
    try:
        with torch.enable_grad():
            hidden, logits = classifier.forward(batch)
    except (AttributeError, TypeError) as error:
        raise UserError(f"{name} returns no hidden states or logits: {error}.") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not reached or not all(state.requires_grad for state in hidden):
        raise UserError(f"{name}: its hidden states don't depend on its input embeddings.")
    _check_shapes(classifier, batch, hidden, logits)
    return bool(normed) and torch.equal(normed[-1], hidden[classifier.info.layers])


def _check_shapes(
    classifier: Classifier, batch: dict[str, Tensor], hidden: tuple[Tensor, ...], logits: Tensor
) -> None:
    name = classifier.info.name
    layers = classifier.info.layers
    if len(hidden) != layers + 1 + classifier.is_encoder_decoder:
        raise UserError(f"{name} returns {len(hidden)} hidden states for {layers} layers.")
    for layer, state in enumerate(hidden):
        if state.shape[:2] != batch["input_ids"].shape:
            raise UserError(
                f"{name}: the states of layer {layer} are of shape {tuple(state.shape)}, not one "
                f"a token of {tuple(batch['input_ids'].shape)}; such a model has no word scores."
            )
    if logits.shape[1:] != (len(classifier.info.label_names),):
        raise UserError(
            f"{name} returns logits of shape {tuple(logits.shape)} for "
            f"{len(classifier.info.label_names)} labels."
        )
    features = classifier.head.features(hidden[0].detach(), normed=False)
    if features.shape[-1] != classifier.head.embeddings.shape[1]:
        raise UserError(
            f"The language-model head ({classifier.head.name}) gives features of size "
            f"{features.shape[-1]}, its embeddings have {classifier.head.embeddings.shape[1]}; "
            "name the pretrained model that the classifier was fine-tuned from with --lm-head."
        )


def _padding_side(classifier: Classifier) -> str:
    """Return the side on which padding changes no logit of a short text beside a long one."""
    short, long = classifier.encode(["a test", "a test of a longer text, which makes it padded"])
    logits = {}
    with torch.inference_mode():
        _, alone = classifier.forward(classifier.collate([short]))
        for side in ("right", "left"):
            padded = replace(classifier, padding_side=side)
            _, together = padded.forward(padded.collate([short, long]))
            if torch.allclose(alone[0], together[0], rtol=0, atol=_tolerance(alone)):
                return side
            logits[side] = float((alone[0] - together[0]).abs().max())
    raise UserError(
        f"{classifier.info.name}: padding changes its logits (by {logits['right']:.2g} on the "
        f"right, {logits['left']:.2g} on the left), so texts can't be audited in batches."
    )


def _tolerance(logits: Tensor) -> float:
    """Return the rounding that another batch shape may cause."""
    return (0.1 if logits.dtype == torch.bfloat16 else 1e-3) * max(1.0, float(logits.abs().max()))
