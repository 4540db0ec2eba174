"""The pretrained language-model head that decodes hidden states, loaded or tied."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from saliency_core.errors import UserError
from saliency_core.model.checkpoint import from_hub, has_tokenizer_files, refuse_missing

FINAL_NORMS = ("norm", "final_layernorm", "ln_f", "final_layer_norm", "final_norm")
"""Names under which a base model keeps the norm of its last state; searched in this order."""


class LanguageModelHead:
    """The pretrained head f_lm(h)[v] = features(h) . embeddings[v] + bias[v]."""

    def __init__(self, model: Any, causal: bool, name: str, fallback: bool = False) -> None:
        """Keep a language model whose head decodes states; its blocks are never run."""
        self.model = model
        self.causal = causal
        self.name = name
        self.fallback = fallback
        self.output = model.get_input_embeddings() if fallback else model.get_output_embeddings()
        self.embeddings: Tensor = self.output.weight.detach()
        bias = getattr(self.output, "bias", None)
        self.bias: Tensor | None = bias.detach() if bias is not None else None
        # The states of an encoder-decoder are its encoder's, which no final norm of ours follows.
        self.final_norm = None if model.config.is_encoder_decoder else final_norm(model.base_model)

    def features(self, states: Tensor, normed: bool) -> Tensor:
        """Return what the head multiplies with its output embeddings, (batch, token, embedding).

        `states` are those of one layer, (batch, token, hidden); `normed` tells that they already
        went through the model's final norm.
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
            return digest_of([*norm, ("embeddings", self.embeddings)])
        base = {id(parameter) for parameter in self.model.base_model.parameters()}
        own = [
            (name, parameter.detach())
            for name, parameter in self.model.named_parameters()
            if id(parameter) not in base
        ]
        return digest_of([*own, *norm, ("output", self.embeddings)])


class _Reached(Exception):
    """Carries the input of the output embeddings, its one argument, out of a head."""


def _before_output(model: Any, output: nn.Module, states: Tensor) -> Tensor:
    """Run a language model's head on given states and stop before the vocabulary product.

    The base model is replaced for the moment by one that returns the states: whatever the head
    is called and made of in this architecture, it then runs as its authors wrote it.
    """

    def stop(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        raise _Reached(arguments[0])

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
        with output.register_forward_pre_hook(stop):
            model(input_ids=ids)
    except _Reached as reached:
        return reached.args[0]
    finally:
        for body, forward in zip(bodies, forwards, strict=True):
            body.forward = forward
    raise AssertionError("the head never reached its output embeddings")


def final_norm(base: nn.Module) -> nn.Module | None:
    """Return the norm of a base model's last state, where it has one."""
    for holder in (base, getattr(base, "decoder", None)):
        for name in FINAL_NORMS:
            norm = getattr(holder, name, None)
            if isinstance(norm, nn.Module):
                return norm
    return None


def digest_of(tensors: Sequence[tuple[str, Tensor]]) -> str:
    """Return a SHA-256 over names, types, shapes and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().view(-1)
        total.update(flat.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def load_head(
    name: str,
    lm_head: str | None,
    model: nn.Module,
    tokenizer: Any,
    dtype: torch.dtype,
    trust_remote_code: bool,
) -> LanguageModelHead:
    """Return the head asked for, else the base checkpoint's, else the tied input embeddings."""
    if lm_head is None:
        return LanguageModelHead(model, is_causal(model.config), "tied input embeddings", True)
    causal = is_causal(model.config)
    factory = AutoModelForCausalLM if causal else AutoModelForMaskedLM
    language_model, loading = from_hub(
        factory,
        lm_head,
        "language-model head",
        dtype=dtype,
        output_loading_info=True,
        trust_remote_code=trust_remote_code,
    )
    refuse_missing(
        lm_head,
        loading,
        "has no weights for the language-model head",
        "Name the pretrained model that the classifier was fine-tuned from with --lm-head.",
    )
    language_model = language_model.to(model.device).eval().requires_grad_(False)
    head = LanguageModelHead(language_model, causal, lm_head)
    _check_head(head, lm_head, name, model, tokenizer)
    return head


def _check_head(
    head: LanguageModelHead, lm_head: str, name: str, model: Any, tokenizer: Any
) -> None:
    hidden = model.config.get_text_config().hidden_size
    own = head.model.config.get_text_config().hidden_size
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
    except Exception:  # Whatever is wrong there, the classifier's own tokenizer is the one used.
        return
    # A head folder without tokenizer is checked by its size alone.
    if has_tokenizer_files(lm_head, other) and other.get_vocab() != tokenizer.get_vocab():
        raise UserError(
            f"The vocabulary of {lm_head} differs from that of {name}; "
            "give the language model it was fine-tuned from."
        )


def is_causal(config: Any) -> bool:
    """Return whether transformers knows this configuration as a causal model only."""
    kind = type(config)
    return kind in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and (
        kind not in transformers.MODEL_FOR_MASKED_LM_MAPPING
    )
