"""A sequence classifier ready to be audited: encode, collate, forward, logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from saliency_core.errors import UserError
from saliency_core.model.encoding import (
    Encoding,
    encode,
    encode_windows,
    length_batches,
    run_in_halves,
)
from saliency_core.model.lm_head import LanguageModelHead
from saliency_core.records import ModelInfo

VOCABULARY_PIECE = 8192
"""Tokens of the vocabulary embedded at once."""


@dataclass(frozen=True)
class Classifier:
    """A sequence classifier ready to be audited; immutable once it is built."""

    model: Any
    """A transformers model; what it is called and made of, its architecture says."""
    tokenizer: Any
    head: LanguageModelHead
    info: ModelInfo
    max_length: int
    device: torch.device
    dtype: str
    reference_token_id: int | None
    """Token of the reference input; None: the mean embedding of the vocabulary."""
    blank_token_id: int
    """Token that hides another where a method can put only a token in its place."""
    pad_token_id: int
    """Token that stands where a batch is padded."""
    padding_side: str
    inputs: frozenset[str]
    """What the model's forward gets: input_ids and of attention_mask, token_type_ids and
    position_ids those that it takes."""
    width_multiple: int = 1
    """What the width of a batch must be a multiple of, so that the model pads nothing inside."""
    states_are_views: bool = False
    """The hidden states that the model returns are views of those that its answer depends on."""
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
        return encode(self.tokenizer, texts, pairs, max_length or self.max_length)

    def encode_windows(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None
    ) -> list[Encoding]:
        """Tokenize texts; long ones are cut into overlapping windows, long pairs truncated."""
        return encode_windows(self.tokenizer, texts, pairs, self.max_length)

    def collate(self, encodings: Sequence[Encoding]) -> dict[str, Tensor]:
        """Return the padded model inputs."""
        width = max(len(encoding.input_ids) for encoding in encodings)
        width = -(-width // self.width_multiple) * self.width_multiple
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
        batch = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": types,
            "position_ids": np.maximum(mask.cumsum(1) - 1, 0),
        }
        return {
            name: torch.from_numpy(array).to(self.device)
            for name, array in batch.items()
            # What masks a text is asked for also where a model takes no mask.
            if name in self.inputs or name == "attention_mask"
        }

    def own_tokens(self, encodings: Sequence[Encoding], width: int) -> np.ndarray:
        """Return (batch, token) bool: the real tokens of a padded batch that are not special."""
        own = np.zeros((len(encodings), width), bool)
        for row, encoding in enumerate(encodings):
            length = len(encoding.special)
            start = 0 if self.padding_side == "right" else width - length
            own[row, start : start + length] = ~encoding.special
        return own

    @torch.no_grad()
    def reference_embedding(self, module: nn.Module) -> Tensor:
        """Return (embedding,) what an input-embedding module gives for the reference.

        The module's own `forward` gives it, so that what scales or adds in there takes part.
        """
        if self.reference_token_id is not None:
            token = torch.tensor([[self.reference_token_id]], device=self.device)
            return module.forward(token)[0, 0]
        ids = torch.arange(len(self.tokenizer), device=self.device)
        total = sum(
            module.forward(piece[None])[0].double().sum(0) for piece in ids.split(VOCABULARY_PIECE)
        )
        return (total / len(ids)).to(module.weight.dtype)

    def forward(self, batch: dict[str, Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the (layer + 1) hidden states and the logits of a padded batch.

        An encoder-decoder reads a text twice. Its layers are the encoder's; the embedding output
        of its decoder stands as one more state behind them, because only both together are all
        that a text tells the model.

        Some models take only texts together that hold the same number of end tokens: where no
        gradient is asked for, halves of a batch that is refused are tried.
        """
        if torch.is_grad_enabled():
            return self._forward(batch)
        parts = run_in_halves(
            list(range(len(batch["input_ids"]))),
            lambda rows: self._forward({name: value[rows] for name, value in batch.items()}),
        )
        states = tuple(torch.cat(states) for states in zip(*(s for s, _ in parts), strict=True))
        return states, torch.cat([logits for _, logits in parts])

    def _forward(self, batch: dict[str, Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        output = self.model(**self._taken(batch), output_hidden_states=True)
        if self.is_encoder_decoder:
            if getattr(output, "encoder_hidden_states", None) is None:
                raise UserError(
                    f"{self.info.name} returns no hidden states of its encoder, so its layers "
                    "can't be explained."
                )
            states = (*output.encoder_hidden_states, output.decoder_hidden_states[0])
        else:
            states = tuple(output.hidden_states)
        if self.states_are_views:
            states = tuple(_viewed(state) for state in states)
        return states, output.logits

    def _taken(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value for name, value in batch.items() if name in self.inputs}

    def features(self, states: Tensor, layer: int) -> Tensor:
        """Return what the head multiplies with its vocabulary, of the states of a layer."""
        return self.head.features(states, self.normed_last and layer == self.info.layers)

    def logits(self, encodings: Sequence[Encoding], batch_tokens: int | None = None) -> np.ndarray:
        """Return the (example, class) float32 logits, without gradient, length-sorted batches.

        A text without any token, which some tokenizers make of an empty one, says nothing: zeros.
        A text that the model refuses even alone gets NaN.
        """
        read = [row for row, encoding in enumerate(encodings) if encoding.input_ids]
        budget = batch_tokens or 4 * self.default_batch_tokens
        result = np.zeros((len(encodings), len(self.info.label_names)), np.float32)
        result[read] = np.nan

        def run(rows: list[int]) -> None:
            batch = self.collate([encodings[row] for row in rows])
            result[rows] = self.model(**self._taken(batch)).logits.float().cpu().numpy()

        with torch.inference_mode():
            for rows in length_batches(encodings, budget, read):
                run_in_halves(rows, run, alone=lambda error: None)
        return result

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return softmax, sigmoid (multi-label) or the output itself (regression)."""
        if self.info.task == "regression":
            return logits
        if self.info.task == "multi-label":
            return 1 / (1 + np.exp(-logits))
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        return shifted / shifted.sum(-1, keepdims=True)


def _viewed(state: Tensor) -> Tensor:
    """Return the tensor that a state is a view of, whole and in the same shape, else the state."""
    base = state._base
    return base if base is not None and base.shape == state.shape else state


@contextmanager
def changed_embeddings(
    modules: Sequence[nn.Module], change: Callable[[nn.Module, Tensor, Tensor], Tensor]
) -> Iterator[None]:
    """Let embedding modules return something else, from which gradients can be taken.

    `change` makes it of the module, the ids and its (row, token, embedding) embeddings.
    """

    def replace(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        found = change(module, arguments[0], output.detach())
        # A copy: some models scale their embeddings in place, which no leaf allows.
        return found.detach().requires_grad_(torch.is_grad_enabled()).clone()

    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(module.register_forward_hook(replace))
        yield
