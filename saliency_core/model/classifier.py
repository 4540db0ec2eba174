"""Name or folder -> classifier, tokenizer and language-model head; the one user of transformers."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
from saliency_core.records import ModelInfo

# The command line shows one progress bar, that of the audit.
transformers.utils.logging.disable_progress_bar()

FINAL_NORMS = ("norm", "final_layernorm", "ln_f", "final_layer_norm", "final_norm")
"""Names under which a base model keeps the norm of its last state; searched in this order."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
UNBOUNDED = 100_000
"""A tokenizer's model_max_length above this means that it names none."""
DEFAULT_MAX_LENGTH = 512
WINDOW_OVERLAP = 0.25
"""Part of a window that its neighbour holds too."""
TOKENIZED_TOGETHER = 64
"""Texts given to the tokenizer at once: it holds every token of a text, also those cut off."""


@dataclass(frozen=True)
class Encoding:
    """One text (or pair) as the model reads it."""

    input_ids: tuple[int, ...]
    special: np.ndarray
    """(token,) bool."""
    spans: np.ndarray
    """(token, 2) int32 characters in the text (side 0) or the pair (side 1)."""
    sides: np.ndarray
    """(token,) int8."""
    type_ids: tuple[int, ...] | None
    chars_seen: int
    chars_total: int
    windows: tuple[Encoding, ...] = ()
    """Overlapping pieces the model can take, of a text that it can't take whole."""
    window_starts: tuple[int, ...] = ()
    """First token of every window, among the tokens of the text without special ones."""


class LanguageModelHead:
    """The pretrained head f_lm(h)[v] = features(h) . embeddings[v] + bias[v]."""

    def __init__(self, model: nn.Module, causal: bool, name: str, fallback: bool = False) -> None:
        """Keep a language model whose head decodes states; its blocks are never run."""
        self.model = model
        self.causal = causal
        self.name = name
        self.fallback = fallback
        output = model.get_output_embeddings() if not fallback else model.get_input_embeddings()
        self.output = output
        self.embeddings: Tensor = output.weight.detach()
        bias = getattr(output, "bias", None)
        self.bias: Tensor | None = bias.detach() if bias is not None else None
        # The states of an encoder-decoder are its encoder's, which no final norm of ours follows.
        self.final_norm = None if model.config.is_encoder_decoder else _final_norm(model.base_model)

    def features(self, states: Tensor, normed: bool) -> Tensor:
        """Return what the head multiplies with its output embeddings.

        Args:
            states: (batch, token, hidden) hidden states of one layer.
            normed: the states already went through the model's final norm.

        Returns:
            (batch, token, embedding).
        """
        if self.final_norm is not None and not normed:
            states = self.final_norm(states)
        if self.fallback:
            return states
        return _before_output(self.model, self.output, states)

    def digest(self) -> str:
        """Return a digest of everything of the head that changes a score."""
        norm = [] if self.final_norm is None else list(self.final_norm.named_parameters())
        if self.fallback:
            return _digest([*norm, ("embeddings", self.embeddings)])
        base = {id(parameter) for parameter in self.model.base_model.parameters()}
        own = [
            (name, parameter.detach())
            for name, parameter in self.model.named_parameters()
            if id(parameter) not in base
        ]
        return _digest([*own, *norm, ("output", self.embeddings)])


class _Reached(Exception):
    """Carries the input of the output embeddings out of a head."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


def _before_output(model: nn.Module, output: nn.Module, states: Tensor) -> Tensor:
    """Run a language model's head on given states and stop before the vocabulary product.

    The base model is replaced for the moment by one that returns the states: whatever the head
    is called and made of in this architecture, it then runs as its authors wrote it.
    """

    def stop(module: nn.Module, arguments: tuple) -> None:
        raise _Reached(arguments[0])

    hook = output.register_forward_pre_hook(stop)
    base = model.base_model
    # Some causal models call the decoder inside their base model and not the base model itself.
    bodies = [body for body in (base, getattr(base, "decoder", None)) if body is not None]
    forwards = [body.forward for body in bodies]
    try:
        for body in bodies:
            body.forward = lambda *arguments, **options: (
                transformers.modeling_outputs.BaseModelOutput(last_hidden_state=states)
            )
        ids = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
        model(input_ids=ids)
    except _Reached as reached:
        return reached.features
    finally:
        for body, forward in zip(bodies, forwards, strict=True):
            body.forward = forward
        hook.remove()
    raise AssertionError("the head never reached its output embeddings")


def _final_norm(base: nn.Module) -> nn.Module | None:
    for holder in (base, getattr(base, "decoder", None)):
        for name in FINAL_NORMS:
            norm = getattr(holder, name, None)
            if isinstance(norm, nn.Module):
                return norm
    return None


def _digest(tensors: Sequence[tuple[str, Tensor]]) -> str:
    """Return a SHA-256 over names, types, shapes and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().view(-1)
        total.update(flat.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


@dataclass
class Classifier:
    """A sequence classifier ready to be audited."""

    model: nn.Module
    tokenizer: Any
    head: LanguageModelHead
    info: ModelInfo
    max_length: int
    device: torch.device
    dtype: str
    blank_token_id: int
    pad_token_id: int
    padding_side: str
    takes_type_ids: bool
    normed_last: bool = False

    @property
    def embeddings(self) -> list[nn.Module]:
        """Return the input-embedding modules: several share a weight in an encoder-decoder."""
        weight = self.model.get_input_embeddings().weight
        return [
            module
            for module in self.model.modules()
            if isinstance(module, nn.Embedding) and module.weight is weight
        ]

    def reference_embedding(self, module: nn.Module) -> Tensor:
        """Return (embedding,) what an embedding module gives for the reference token."""
        return module.forward(torch.tensor([[self.blank_token_id]], device=self.device))[0, 0]

    @property
    def is_encoder_decoder(self) -> bool:
        """Return whether a decoder reads the text once more beside the encoder."""
        return bool(self.model.config.is_encoder_decoder)

    @property
    def default_batch_tokens(self) -> int:
        """Tokens a batch, padding included: what keeps this kind of machine busy."""
        return 16384 if self.device.type == "cuda" else 1024

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        max_length: int | None = None,
    ) -> list[Encoding]:
        """Tokenize texts; long ones are truncated (the longer side of a pair first)."""
        found: list[Encoding] = []
        for start in range(0, len(texts), TOKENIZED_TOGETHER):
            part = slice(start, start + TOKENIZED_TOGETHER)
            found += self._encode(
                texts[part], pairs[part] if pairs is not None else None, max_length
            )
        return found

    def _encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int | None
    ) -> list[Encoding]:
        """Tokenize a few texts."""
        encoded = self.tokenizer(
            list(texts),
            list(pairs) if pairs is not None else None,
            truncation="longest_first" if pairs is not None else True,
            max_length=max_length or self.max_length,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        rows = pairs or [None] * len(texts)
        return [
            self._encoding(encoded, row, text, pair)
            for row, (text, pair) in enumerate(zip(texts, rows, strict=True))
        ]

    def encode_windows(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        max_length: int | None = None,
    ) -> list[Encoding]:
        """Tokenize texts; long ones are cut into overlapping windows, long pairs truncated."""
        whole = self.encode(texts, pairs, max_length)
        if pairs is not None:
            return whole
        long = [row for row, found in enumerate(whole) if found.chars_seen < found.chars_total]
        for row in long:
            whole[row] = self._windows(texts[row], max_length or self.max_length)
        return whole

    def _windows(self, text: str, max_length: int) -> Encoding:
        """Return the encoding of a long text: all its tokens, and the windows over them."""
        content = max_length - self.tokenizer.num_special_tokens_to_add()
        overlap = int(content * WINDOW_OVERLAP)
        encoded = self.tokenizer(
            text,
            truncation=True,
            max_length=max_length,
            stride=overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        count = len(encoded["input_ids"])
        windows = [self._encoding(encoded, row, text, None) for row in range(count)]
        starts = tuple(row * (content - overlap) for row in range(count))
        fresh = [
            np.flatnonzero(~window.special)[overlap if row else 0 :]
            for row, window in enumerate(windows)
        ]
        ids = [np.array(w.input_ids)[own] for w, own in zip(windows, fresh, strict=True)]
        spans = np.concatenate([w.spans[own] for w, own in zip(windows, fresh, strict=True)])
        return Encoding(
            input_ids=tuple(np.concatenate(ids).tolist()),
            special=np.zeros(len(spans), bool),
            spans=spans,
            sides=np.zeros(len(spans), np.int8),
            type_ids=None,
            chars_seen=len(text),
            chars_total=len(text),
            windows=tuple(windows),
            window_starts=starts,
        )

    def _encoding(self, encoded: Any, row: int, text: str, pair: str | None) -> Encoding:
        """Return one row of what the tokenizer returned."""
        sides = np.array(
            [-1 if side is None else side for side in encoded.sequence_ids(row)], np.int8
        )
        type_ids = encoded.get("token_type_ids")
        spans = np.array(encoded["offset_mapping"][row], np.int32).reshape(-1, 2)
        return Encoding(
            input_ids=tuple(encoded["input_ids"][row]),
            # White space alone says nothing, though some tokenizers have tokens for it.
            special=(sides < 0)
            | np.array(encoded["special_tokens_mask"][row], bool)
            | (not (text.strip() or (pair or "").strip())),
            spans=spans,
            sides=np.maximum(sides, 0).astype(np.int8),
            type_ids=tuple(type_ids[row]) if type_ids is not None else None,
            chars_seen=self._chars_seen(
                text, pair, spans, sides, bool(encoded.encodings[row].overflowing)
            ),
            chars_total=len(text) + len(pair or ""),
        )

    @staticmethod
    def _chars_seen(
        text: str, pair: str | None, spans: np.ndarray, sides: np.ndarray, is_cut: bool
    ) -> int:
        """Return the characters the model read: all of them only if no token was left out.

        A tokenizer may drop marks and white space at the end of a text; nothing was cut there.
        Tokens of white space, or of some bytes of the last character, may be cut.
        """
        total = len(text) + len(pair or "")
        if not is_cut:
            return total
        seen = 0
        for side, content in enumerate((text, pair)):
            if content is None:
                continue
            own = spans[sides == side]
            end = int(own[:, 1].max()) if len(own) else 0
            seen += len(content) if not content[end:].strip() else end
        return min(seen, total - 1)

    def collate(self, encodings: Sequence[Encoding]) -> dict[str, Tensor]:
        """Return the padded model inputs."""
        width = max(len(encoding.input_ids) for encoding in encodings)
        ids = np.full((len(encodings), width), self.pad_token_id, np.int64)
        mask = np.zeros_like(ids)
        types = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            length = len(encoding.input_ids)
            real = slice(0, length) if self.padding_side == "right" else slice(width - length, None)
            ids[row, real] = encoding.input_ids
            mask[row, real] = 1
            if encoding.type_ids is not None:
                types[row, real] = encoding.type_ids
        batch = {"input_ids": ids, "attention_mask": mask}
        if self.takes_type_ids:
            batch["token_type_ids"] = types
        return {name: torch.from_numpy(array).to(self.device) for name, array in batch.items()}

    def blank(self, encoding: Encoding) -> Encoding:
        """Return the blank input of the same layout (METHOD section 1)."""
        ids = tuple(
            token if special else self.blank_token_id
            for token, special in zip(encoding.input_ids, encoding.special, strict=True)
        )
        return Encoding(
            ids, encoding.special, encoding.spans, encoding.sides, encoding.type_ids, 0, 0
        )

    def forward(self, batch: dict[str, Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the (layer + 1) hidden states and the logits of a padded batch.

        An encoder-decoder reads a text twice. Its layers are the encoder's; the embedding output
        of its decoder stands as one more state behind them, because only both together are all
        that a text tells the model.
        """
        output = self.model(**batch, output_hidden_states=True)
        if self.is_encoder_decoder:
            states = (*output.encoder_hidden_states, output.decoder_hidden_states[0])
        else:
            states = tuple(output.hidden_states)
        return states, output.logits

    def logits(self, encodings: Sequence[Encoding], batch_tokens: int | None = None) -> np.ndarray:
        """Return the (example, class) float32 logits, without gradient, length-sorted batches."""
        read = [row for row, encoding in enumerate(encodings) if encoding.input_ids]
        order = sorted(read, key=lambda row: len(encodings[row].input_ids))
        budget = batch_tokens or 4 * self.default_batch_tokens
        # A text without any token, which some tokenizers make of an empty one, says nothing.
        result = np.zeros((len(encodings), len(self.info.label_names)), np.float32)
        with torch.inference_mode():
            for rows in token_batches([len(encodings[row].input_ids) for row in order], budget):
                chosen = [order[row] for row in rows]
                batch = self.collate([encodings[row] for row in chosen])
                result[chosen] = self.model(**batch).logits.float().cpu().numpy()
        return result

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return softmax, sigmoid (multi-label) or the output itself (regression)."""
        if self.info.task == "regression":
            return logits
        if self.info.task == "multi-label":
            return 1 / (1 + np.exp(-logits))
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        return shifted / shifted.sum(-1, keepdims=True)


def token_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut rows, in the order given, into batches of at most `budget` tokens with padding."""
    batches: list[list[int]] = []
    longest = 0
    for row, length in enumerate(lengths):
        longest = max(longest, length)
        if not batches or longest * (len(batches[-1]) + 1) > budget:
            batches.append([])
            longest = length
        batches[-1].append(row)
    return batches


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
    classifier.normed_last = _check_on_dummy(classifier)
    classifier.padding_side = _padding_side(classifier)
    return classifier


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
        model_digest=_digest(list(model.state_dict().items())),
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
    norm = classifier.head.final_norm and _final_norm(classifier.model.base_model)
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
            classifier.padding_side = side
            _, together = classifier.forward(classifier.collate([short, long]))
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
