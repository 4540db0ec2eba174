"""One batch of encodings -> saliency of every layer: model, maps, decoding and words together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saliency_core.errors import UserError
from saliency_core.model.classifier import Classifier, Encoding, token_batches
from saliency_core.records import AuditedExample, Example, Saliency
from saliency_core.saliency.decoding import (
    carrying_positions,
    column_offsets,
    decode,
    decoding_weights,
)
from saliency_core.saliency.path import embeddings_on_path, path_maps, path_nodes
from saliency_core.words import words_of

BLANK_BYTES = 1_000_000_000
"""Memory the cached blank states may take; the least recently used go first."""
MULTI_LABEL_THRESHOLD = 0.5


@dataclass(frozen=True)
class BatchMaps:
    """Saliency of one batch, padding included."""

    saliency: Tensor
    """(target, layer, batch, token) decoded, special tokens zero."""
    local: Tensor
    """(target, layer, batch, token) undecoded."""
    pooled: Tensor | None
    norm: Tensor | None
    explained: Tensor
    """(target, layer, batch)."""
    logits: Tensor
    """(batch, class)."""
    weights: Tensor
    """(target, batch, class)."""
    own: Tensor
    """(batch, token) bool: real and not special."""


class Attributor:
    """Computes saliency of every layer; keeps the blanks of every layout it has met."""

    def __init__(
        self,
        classifier: Classifier,
        *,
        steps: int = 4,
        target: str = "predicted",
        batch_tokens: int | None = None,
        variants: bool = False,
    ) -> None:
        """Check the target against the model's labels."""
        self.classifier = classifier
        self.batch_tokens = batch_tokens or classifier.default_batch_tokens
        self.nodes = path_nodes(steps)
        self.target = target
        self.variants = variants
        self.blanks: OrderedDict[tuple, tuple[list[Tensor], Tensor]] = OrderedDict()
        self.blank_bytes = 0
        self.class_index = self._class_index()

    def _class_index(self) -> int | None:
        if not self.target.startswith("class:"):
            if self.target not in ("predicted", "gold"):
                raise UserError(
                    f"--target {self.target!r} is unknown; choose predicted, gold or class:NAME."
                )
            if self.target == "gold" and self.classifier.info.task != "single-label":
                raise UserError(
                    f"--target gold needs one gold class an example; {self.classifier.info.name} "
                    f"is a {self.classifier.info.task} model. Choose predicted or class:NAME."
                )
            return None
        name = self.target.removeprefix("class:")
        names = self.classifier.info.label_names
        if name not in names:
            raise UserError(f"--target {self.target!r}: choose class:NAME of {', '.join(names)}.")
        return names.index(name)

    def maps(
        self,
        encodings: Sequence[Encoding],
        gold: Sequence[int | None],
        decided: Tensor | None = None,
    ) -> BatchMaps:
        """Return the maps of one batch: m forward passes, and m backward passes a target.

        Args:
            encodings: the batch.
            gold: gold label of every row, None where unknown.
            decided: (batch, class) logits that decide the target in place of the batch's own.
        """
        classifier = self.classifier
        batch = classifier.collate(encodings)
        mask = batch["attention_mask"].bool()
        own = self._own(encodings, mask)
        blank_states, blank_logits = self._blank_batch(encodings, mask)
        share = [1.0]
        with self._on_path(batch["input_ids"], own, share):
            maps = path_maps(
                lambda: classifier.forward(batch),
                share,
                self.nodes,
                blank_states,
                blank_logits,
                lambda logits: self._targets(logits if decided is None else decided, gold),
                self.variants,
            )
        local, beside = self._layers(maps.local)
        saliency = self._decoded(maps.states, local, batch["input_ids"], own)
        pooled = None
        if maps.pooled is not None:
            pooled, beside_pooled = self._layers(maps.pooled / mask.sum(1)[:, None])
            pooled = pooled + beside_pooled
        norm = None if maps.norm is None else self._layers(maps.norm)[0]
        local = local + beside
        return BatchMaps(
            saliency=saliency + beside,
            local=local,
            pooled=pooled,
            norm=norm,
            explained=local.sum(-1) / maps.change.unsqueeze(1),
            logits=maps.logits,
            weights=maps.weights,
            own=own,
        )

    def _own(self, encodings: Sequence[Encoding], mask: Tensor) -> Tensor:
        """Return (batch, token) bool: real tokens that are not special."""
        own = np.zeros(mask.shape, bool)
        side = self.classifier.padding_side
        for row, encoding in enumerate(encodings):
            length = len(encoding.special)
            start = 0 if side == "right" else mask.shape[1] - length
            own[row, start : start + length] = ~encoding.special
        return torch.from_numpy(own).to(mask.device)

    def _on_path(
        self, input_ids: Tensor, own: Tensor, share: list[float]
    ) -> AbstractContextManager[None]:
        """Return the context in which the model reads embeddings between blank and text."""
        blank_ids = torch.where(own, self.classifier.blank_token_id, input_ids)

        def blank_of(ids: Tensor) -> Tensor:
            if ids.data_ptr() == input_ids.data_ptr():
                return blank_ids
            # The decoder of an encoder-decoder reads the same text behind its start token.
            return torch.cat([ids[:, :1], blank_ids[:, :-1]], dim=1)

        return embeddings_on_path(self.classifier.embeddings, blank_of, share)

    def _layers(self, maps: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return the maps of the layers, and what a decoder's embeddings add to every one.

        A decoder reads a token one position later than the encoder does.
        """
        if not self.classifier.is_encoder_decoder:
            return maps, 0.0
        later = maps[:, -1:]
        beside = torch.zeros_like(later)
        beside[..., :-1] = later[..., 1:]
        return maps[:, :-1], beside

    def layer_maps(
        self, encodings: Sequence[Encoding], batch_tokens: int
    ) -> dict[str, list[list[np.ndarray]]]:
        """Return the maps of the first target, special tokens left out.

        Returns:
            Variant -> (layer, example) arrays of (token,): `saliency`, where variants were asked
            for also `local`, `pooled` and `norm` (METHOD section 3).
        """
        names = ("saliency", "local", "pooled", "norm") if self.variants else ("saliency",)
        layers = self.classifier.info.layers + 1
        maps = {name: [[np.empty(0)] * len(encodings) for _ in range(layers)] for name in names}
        order = np.argsort([len(encoding.input_ids) for encoding in encodings], kind="stable")
        lengths = [len(encodings[row].input_ids) for row in order]
        for places in token_batches(lengths, batch_tokens):
            rows = [int(order[place]) for place in places]
            found = self.maps([encodings[row] for row in rows], [None] * len(rows))
            own = found.own.cpu().numpy()
            for name in names:
                scores = getattr(found, name)[0].float().cpu().numpy()  # (layer, batch, token)
                for place, row in enumerate(rows):
                    for layer in range(layers):
                        maps[name][layer][row] = scores[layer, place, own[place]]
        return maps

    @torch.no_grad()
    def _decoded(
        self, states: tuple[Tensor, ...], local: Tensor, input_ids: Tensor, own: Tensor
    ) -> Tensor:
        """Return S for every target and layer, (target, layer, batch, token)."""
        head = self.classifier.head
        columns = head.embeddings[input_ids]  # (batch, token, embedding)
        bias = head.bias[input_ids] if head.bias is not None else None
        offsets = column_offsets(input_ids, own, bias, head.causal)
        decoded = torch.zeros_like(local)
        for layer, positions in enumerate(carrying_positions(local)):
            state, rows, scores = states[layer], offsets, local[:, layer]
            if positions is not None:
                state, rows = _at(positions, state), _at(positions, offsets)
                scores = scores.gather(-1, positions.expand(len(scores), -1, -1))
            normed = self.classifier.normed_last and layer == local.shape[1] - 1
            weights = decoding_weights(head.features(state, normed), columns, rows)
            for target in range(len(local)):
                decoded[target, layer] = decode(weights, scores[target])
        return decoded

    def _targets(self, logits: Tensor, gold: Sequence[int | None]) -> Tensor:
        """Return (target, batch, class) weights: the run's target, then contrast where wrong."""
        predicted = logits.argmax(-1)
        rows = torch.arange(len(logits), device=logits.device)
        first = torch.zeros_like(logits)
        if self.class_index is not None:
            first[:, self.class_index] = 1
            return first.unsqueeze(0)
        if self.classifier.info.task == "multi-label":
            return _labels_above_threshold(logits)
        known = torch.tensor(
            [-1 if label is None else label for label in gold], device=logits.device
        )
        wrong = (known >= 0) & (known != predicted)
        chosen = torch.where(known >= 0, known, predicted) if self.target == "gold" else predicted
        first[rows, chosen] = 1
        if not wrong.any():
            return first.unsqueeze(0)
        contrast = torch.zeros_like(logits)
        contrast[rows[wrong], predicted[wrong]] = 1
        contrast[rows[wrong], known[wrong]] -= 1
        return torch.stack([first, contrast])

    def _blank_batch(
        self, encodings: Sequence[Encoding], mask: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Return the blanks' states, padded like the batch, and their logits."""
        keys = [self._layout(encoding) for encoding in encodings]
        for key, encoding in zip(keys, encodings, strict=True):
            if key not in self.blanks:
                self._add_blank(key, encoding)
        distinct = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        found = [self.blanks[key] for key in distinct]
        for key in distinct:
            self.blanks.move_to_end(key)
        rows = torch.tensor([distinct[key] for key in keys], device=mask.device)
        width = mask.shape[1]
        states = []
        for layer in zip(*(states for states, _ in found), strict=True):
            padded = layer[0].new_zeros(len(found), width, layer[0].shape[-1])
            for place, state in enumerate(layer):
                start = 0 if self.classifier.padding_side == "right" else width - len(state)
                padded[place, start : start + len(state)] = state
            states.append(padded[rows] if len(found) > 1 else padded)
        self._forget_blanks()
        return states, torch.stack([logits for _, logits in found])[rows]

    def _layout(self, encoding: Encoding) -> tuple:
        """Return all that the states of an encoding's blank depend on."""
        blank = self.classifier.blank(encoding)
        # Some models look for the padding token among the ids of the text itself.
        pad = self.classifier.pad_token_id
        pads = tuple(place for place, token in enumerate(encoding.input_ids) if token == pad)
        return blank.input_ids, blank.type_ids, pads

    @torch.no_grad()
    def _add_blank(self, key: tuple, encoding: Encoding) -> None:
        """Run the blank of a new layout; alone, so that it never depends on its neighbours.

        The model gets the ids of the text and the embeddings of the blank, as on the path.
        """
        batch = self.classifier.collate([encoding])
        own = self._own([encoding], batch["attention_mask"])
        with self._on_path(batch["input_ids"], own, [0.0]):
            hidden, logits = self.classifier.forward(batch)
        entry = ([state[0] for state in hidden], logits[0])
        self.blanks[key] = entry
        self.blank_bytes += _bytes(entry)

    def _forget_blanks(self) -> None:
        while self.blank_bytes > BLANK_BYTES and len(self.blanks) > 1:
            _, oldest = self.blanks.popitem(last=False)
            self.blank_bytes -= _bytes(oldest)

    def audit(
        self,
        examples: Sequence[Example],
        encodings: Sequence[Encoding],
        gold: Sequence[int | None],
    ) -> list[AuditedExample]:
        """Return what the store writes for one batch; a broken example fails alone."""
        return self.records(examples, encodings, gold, self.compute(encodings, gold))

    def compute(
        self, encodings: Sequence[Encoding], gold: Sequence[int | None]
    ) -> list[ExampleMaps | str | None]:
        """Return the maps of each example, or why it has none; None where it holds no token."""
        found: dict[int, ExampleMaps | str | None] = {}
        plain = []
        for row, encoding in enumerate(encodings):
            if encoding.special.all():
                found[row] = None
            elif encoding.windows:
                found[row] = self._windowed(encoding, gold[row])
            else:
                plain.append(row)
        found |= self._rows(plain, encodings, gold)
        return [found[row] for row in range(len(encodings))]

    def records(
        self,
        examples: Sequence[Example],
        encodings: Sequence[Encoding],
        gold: Sequence[int | None],
        computed: Sequence[ExampleMaps | str | None],
    ) -> list[AuditedExample]:
        """Return what the store writes of what `compute` found; needs no model."""
        return [
            self._audited(
                example, encoding, label, _nothing_to_read(example) if row is None else row
            )
            for example, encoding, label, row in zip(
                examples, encodings, gold, computed, strict=True
            )
        ]

    def _rows(
        self, rows: list[int], encodings: Sequence[Encoding], gold: Sequence[int | None]
    ) -> dict[int, ExampleMaps | str]:
        """Return the maps of each row; where the model refuses a batch, halves are tried."""
        if not rows:
            return {}
        try:
            maps = self.maps([encodings[row] for row in rows], [gold[row] for row in rows])
        except (RuntimeError, ValueError, IndexError) as error:
            if len(rows) == 1:
                return {rows[0]: f"The model failed: {_first_line(error)}"}
            half = len(rows) // 2
            return self._rows(rows[:half], encodings, gold) | self._rows(
                rows[half:], encodings, gold
            )
        return dict(zip(rows, _split(maps), strict=True))

    def _windowed(self, encoding: Encoding, gold: int | None) -> ExampleMaps | str:
        """Return the maps of a text in overlapping windows (METHOD section 3).

        The mean of the windows' logits decides the target; a token's score is that of the window
        in which it stands most central; the explained part is the mean over windows.
        """
        windows = encoding.windows
        logits = self.classifier.logits(windows, self.batch_tokens).mean(0)
        decided = torch.from_numpy(logits).to(self.classifier.device)
        parts: list[ExampleMaps] = []
        size = max(1, self.batch_tokens // len(windows[0].input_ids))
        for start in range(0, len(windows), size):
            some = windows[start : start + size]
            try:
                maps = self.maps(some, [gold] * len(some), decided.expand(len(some), -1))
            except (RuntimeError, ValueError, IndexError) as error:
                return f"The model failed: {_first_line(error)}"
            parts += _split(maps)
        chosen = most_central(encoding.window_starts, [row.scores.shape[-1] for row in parts])
        tokens = np.arange(len(chosen)) - np.array(encoding.window_starts)[chosen]
        columns = [parts[w].scores[:, :, t] for w, t in zip(chosen, tokens, strict=True)]
        return ExampleMaps(
            scores=np.stack(columns, axis=-1),
            explained=np.mean([row.explained for row in parts], axis=0),
            logits=logits,
            weights=parts[0].weights,
        )

    def _audited(
        self, example: Example, encoding: Encoding, gold: int | None, row: ExampleMaps | str
    ) -> AuditedExample:
        """Return one example as a record."""
        if isinstance(row, str):
            return _failed(example, encoding, gold, row)
        if not (np.isfinite(row.logits).all() and np.isfinite(row.scores).all()):
            return _failed(example, encoding, gold, "The model returned NaN or infinite numbers.")
        own = ~encoding.special
        spans, sides = encoding.spans[own], encoding.sides[own]
        words = words_of((example.text, example.pair or ""), spans, sides)
        token_ids = np.array(encoding.input_ids, np.int32)[own]
        regression = self.classifier.info.task == "regression"
        return AuditedExample(
            example=example,
            gold=gold,
            predicted=None if regression else int(row.logits.argmax()),
            logits=row.logits,
            probabilities=self.classifier.probabilities(row.logits),
            token_ids=token_ids,
            spans=spans,
            sides=sides,
            word_of_token=words.word_of_token,
            words=words.words,
            word_spans=words.spans,
            chars_seen=encoding.chars_seen,
            chars_total=encoding.chars_total,
            saliency=tuple(
                Saliency(row.scores[number].astype(np.float16), row.explained[number], name)
                for number, name in enumerate(self._target_names(row.weights))
                if name is not None
            ),
            explanation=top_tokens(row.scores[0], token_ids),
        )

    def _target_names(self, weights: np.ndarray) -> list[str | None]:
        """Return the name of each target of an example, None where it has none.

        Args:
            weights: (target, class).
        """
        if self.classifier.info.task == "multi-label" and self.class_index is None:
            names = self.classifier.info.label_names
            return [f"label:{names[row.argmax()]}" if row.any() else None for row in weights]
        return [self.target, *("contrast" if row.any() else None for row in weights[1:])]


@dataclass(frozen=True)
class ExampleMaps:
    """The maps of one example as numpy arrays, special tokens left out."""

    scores: np.ndarray
    """(target, layer, token)."""
    explained: np.ndarray
    """(target, layer)."""
    logits: np.ndarray
    """(class,)."""
    weights: np.ndarray
    """(target, class)."""


def _split(maps: BatchMaps) -> list[ExampleMaps]:
    """Return the maps of a batch row by row; everything leaves the device once."""
    saliency = maps.saliency.float().cpu().numpy()
    explained = maps.explained.float().cpu().numpy()
    logits = maps.logits.float().cpu().numpy()
    weights = maps.weights.float().cpu().numpy()
    own = maps.own.cpu().numpy()
    return [
        ExampleMaps(
            saliency[:, :, row][:, :, own[row]], explained[:, :, row], logits[row], weights[:, row]
        )
        for row in range(len(logits))
    ]


def _at(positions: Tensor, values: Tensor) -> Tensor:
    """Return (batch, position, ...) the values (batch, token, ...) at positions of each row."""
    return values.gather(1, positions.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def _labels_above_threshold(logits: Tensor) -> Tensor:
    """Return (target, batch, class) weights: a row's labels above threshold, highest first.

    The highest label always counts, so that a text without any label still says why.
    """
    order = logits.argsort(dim=-1, descending=True, stable=True)
    above = torch.sigmoid(logits.float()) > MULTI_LABEL_THRESHOLD
    counts = above.sum(-1).clamp(min=1)  # (batch,)
    weights = logits.new_zeros(int(counts.max()), *logits.shape)
    for number in range(len(weights)):
        rows = torch.nonzero(counts > number).squeeze(-1)
        weights[number, rows, order[rows, number]] = 1
    return weights


def most_central(starts: Sequence[int], lengths: Sequence[int]) -> np.ndarray:
    """Return the window in which each token of a long text stands nearest to the middle.

    Args:
        starts: first token of every window, among the tokens of the text.
        lengths: number of its tokens.
    """
    places = np.arange(starts[-1] + lengths[-1])[:, None]  # (token, 1)
    first, last = np.array(starts), np.array(starts) + np.array(lengths) - 1
    away = np.abs(places - (first + last) / 2)
    return np.where((places >= first) & (places <= last), away, np.inf).argmin(1)


def _nothing_to_read(example: Example) -> str:
    if example.text.strip() or (example.pair or "").strip():
        return "The text holds no token that the model reads."
    return "The text is empty."


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def top_tokens(scores: np.ndarray, token_ids: np.ndarray, count: int = 3) -> np.ndarray:
    """Return (layer, 3) vocabulary ids of the most salient tokens, -1 where fewer are positive."""
    result = np.full((len(scores), count), -1, np.int32)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]  # (layer, 3)
    chosen = np.where(np.take_along_axis(scores, best, 1) > 0, token_ids[best], -1)
    result[:, : chosen.shape[1]] = chosen
    return result


def _failed(example: Example, encoding: Encoding, gold: int | None, reason: str) -> AuditedExample:
    """Return the record of an example without scores."""
    none = np.zeros(0, np.int32)
    return AuditedExample(
        example=example,
        gold=gold,
        predicted=None,
        logits=np.zeros(0, np.float32),
        probabilities=np.zeros(0, np.float32),
        token_ids=none,
        spans=none.reshape(0, 2),
        sides=none.astype(np.int8),
        word_of_token=none,
        words=(),
        word_spans=none.reshape(0, 2),
        chars_seen=encoding.chars_seen,
        chars_total=encoding.chars_total,
        saliency=(),
        failure=reason,
    )


def _bytes(entry: tuple[list[Tensor], Tensor]) -> int:
    return sum(state.numel() * state.element_size() for state in entry[0])
