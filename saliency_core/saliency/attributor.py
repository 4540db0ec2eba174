"""One batch of encodings -> saliency of every layer: model, rule and decoding together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saliency_core.errors import UserError, first_line
from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding, run_in_halves
from saliency_core.records import AuditedExample, Example
from saliency_core.saliency.decoding import (
    carrying_positions,
    column_offsets,
    decode,
    decoding_weights,
)
from saliency_core.saliency.maps import ExampleMaps, LayerMaps
from saliency_core.saliency.path import path_maps, path_nodes
from saliency_core.saliency.references import layout_batches, layout_of, pair_up, reading_references
from saliency_core.saliency.secant import secant_maps
from saliency_core.saliency.targets import Targets
from saliency_core.saliency.to_records import to_record
from saliency_core.saliency.windows import join_windows

RULES = ("secant", "path")
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05}
"""How far the sum of a layer may be from the difference of the target: as a part of it, or in
logits where that is more. Half precision is stated apart: its rounding alone exceeds 1e-3."""
DUMMY_TEXTS = ("a test", "another test, which is longer than the first", "this is no test at all")
"""Run before an audit, to see whether the secant rule reaches every layer of a model."""


@dataclass(frozen=True)
class BatchMaps:
    """Saliency of one batch, padding included."""

    saliency: Tensor
    """(target, layer, batch, token) decoded, special tokens zero."""
    local: Tensor
    """(target, layer, batch, token) undecoded."""
    pooled: Tensor | None
    norm: Tensor | None
    total: Tensor
    """(target, layer, batch) sums of the local map."""
    change: Tensor
    """(target, batch) y(text) - y(reference)."""
    logits: Tensor
    """(batch, class)."""
    weights: Tensor
    """(target, batch, class)."""
    own: Tensor
    """(batch, token) bool: real and not special."""


@dataclass(frozen=True)
class Reach:
    """How far the secant rule reaches into a model."""

    rule: str
    """What computes the model's examples: `secant`, or `path` where the secant does not add up."""
    bypassed: dict[int, float]
    """Layers around which information flows -> the part of the change that they carry."""
    reason: str | None = None
    """Why it is not the rule that was asked for."""


class Attributor:
    """Computes saliency of every layer."""

    def __init__(
        self,
        classifier: Classifier,
        *,
        rule: str = "secant",
        steps: int = 4,
        target: str = "predicted",
        batch_tokens: int | None = None,
        variants: bool = False,
    ) -> None:
        """Check the target against the model's labels, and the rule against the model.

        `steps` are the nodes of the path rule; `batch_tokens` are of a batch, padding included;
        `variants` also keeps the undecoded, the pooled and the multipliers' map.
        """
        if rule not in RULES:
            raise UserError(f"--rule {rule!r} is unknown; choose {' or '.join(RULES)}.")
        self.classifier = classifier
        self.batch_tokens = batch_tokens or classifier.default_batch_tokens
        self.nodes = path_nodes(steps)
        self.targets = Targets(classifier.info, target)
        self.variants = variants
        self.reach = Reach(rule, {})
        if rule == "secant":
            self.reach = self._reach()

    def _reach(self) -> Reach:
        """Try the secant rule on dummy texts.

        Where the embedding output adds up, every operation behind it is exact, and a later layer
        that does not add up does not carry all of the information. Where it does not, an operation
        has no rule.
        """
        encodings = [e for e in self.classifier.encode(list(DUMMY_TEXTS)) if not e.special.all()]
        if not encodings:
            return Reach("secant", {})
        try:
            maps = self.maps(encodings, [None] * len(encodings))
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            return Reach("path", {}, f"The secant rule fails on this model: {first_line(error)}")
        away = self._away(maps).amax((0, 2))  # (layer,)
        parts = (maps.total[0] / maps.change[0]).median(-1).values
        if away[0] > 1:
            return Reach(
                "path",
                {},
                "One of this model's operations has no secant rule: its scores would add up to "
                f"{parts[0]:.1%} of its answer. They come from the path rule, which adds up only "
                "roughly.",
            )
        missing = [layer for layer in range(len(away)) if away[layer] > 1]
        return Reach("secant", {layer: float(parts[layer]) for layer in missing})

    def _away(self, maps: BatchMaps) -> Tensor:
        """Return (target, layer, batch) distances from completeness, in tolerances."""
        tolerance = TOLERANCE[self.classifier.dtype]
        change = maps.change.unsqueeze(1)  # (target, 1, batch)
        away = (maps.total - change).abs() / (tolerance * change.abs().clamp(min=1.0))
        return away.nan_to_num(nan=0.0)

    def maps(
        self,
        encodings: Sequence[Encoding],
        gold: Sequence[int | None],
        decided: Tensor | None = None,
        rule: str | None = None,
    ) -> BatchMaps:
        """Return the maps of one batch: one forward and one backward pass per target, or m of each.

        Args:
            encodings: the batch.
            gold: gold label of every row, None where unknown.
            decided: (batch, class) logits that decide the target in place of the batch's own.
            rule: another rule than the model's.
        """
        classifier = self.classifier
        layouts = [layout_of(encoding, classifier.pad_token_id) for encoding in encodings]
        order, models, pairing = pair_up(layouts)

        def targets(logits: Tensor) -> Tensor:
            known = [gold[row] for row in order]
            return self.targets.weights(logits if decided is None else decided[order], known)

        texts = [encodings[row] for row in order]
        rows = [*texts, *(encodings[row] for row in models)]
        batch = classifier.collate(rows)
        ids = batch["input_ids"]
        own = torch.from_numpy(classifier.own_tokens(rows, ids.shape[1])).to(ids.device)
        call, share = partial(classifier.forward, batch), [1.0]
        with reading_references(
            classifier.embeddings, classifier.reference_embedding, ids, own, pairing, share
        ):
            if (rule or self.reach.rule) == "secant":
                maps = secant_maps(call, pairing, targets, self.variants)
            else:
                maps = path_maps(call, share, self.nodes, pairing, targets, self.variants)
        ids, own = ids[: pairing.texts], own[: pairing.texts]
        found = self._decode(maps, ids, own, batch["attention_mask"][: pairing.texts])
        return found if order == sorted(order) else _in_order(found, np.argsort(order))

    def _decode(self, maps: LayerMaps, ids: Tensor, own: Tensor, mask: Tensor) -> BatchMaps:
        """Return the maps of a batch with those of its layers decoded."""
        local, beside = self._layers(maps.local)
        saliency = self._decoded(maps.states, local, ids, own)
        pooled = None
        if maps.pooled is not None:
            pooled, beside_pooled = self._layers(maps.pooled / mask.sum(1)[:, None])
            pooled = pooled + beside_pooled
        local = local + beside
        return BatchMaps(
            saliency=saliency + beside,
            local=local,
            pooled=pooled,
            norm=None if maps.norm is None else self._layers(maps.norm)[0],
            total=local.sum(-1),
            change=maps.change,
            logits=maps.logits,
            weights=maps.weights,
            own=own,
        )

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
            for also `local`, `pooled` and `norm`.
        """
        names = ("saliency", "local", "pooled", "norm") if self.variants else ("saliency",)
        layers = self.classifier.info.layers + 1
        maps = {name: [[np.empty(0)] * len(encodings) for _ in range(layers)] for name in names}

        def fill(rows: list[int]) -> None:
            found = self.maps([encodings[row] for row in rows], [None] * len(rows))
            own = found.own.cpu().numpy()
            for name in names:
                scores = getattr(found, name)[0].float().cpu().numpy()  # (layer, batch, token)
                for place, row in enumerate(rows):
                    for layer in range(layers):
                        maps[name][layer][row] = scores[layer, place, own[place]]

        for rows in layout_batches(
            range(len(encodings)), encodings, self.classifier.pad_token_id, batch_tokens
        ):
            run_in_halves(rows, fill)
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
            weights = decoding_weights(self.classifier.features(state, layer), columns, rows)
            for target in range(len(local)):
                decoded[target, layer] = decode(weights, scores[target])
        return decoded

    def audit(
        self, examples: Sequence[Example], encodings: Sequence[Encoding], gold: Sequence[int | None]
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
        rows = self._rows([encodings[row] for row in plain], [gold[row] for row in plain])
        found |= dict(zip(plain, rows, strict=True))
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
            to_record(self.classifier, self.targets.names, *row)
            for row in zip(examples, encodings, gold, computed, strict=True)
        ]

    def _rows(
        self, encodings: list[Encoding], gold: list[int | None], decided: Tensor | None = None
    ) -> list[ExampleMaps | str]:
        """Return the maps of each row; where the model refuses a batch, halves are tried.

        A row that the secant rule does not reach is computed again by the path rule.
        """

        def maps_of(rows: list[int], rule: str | None = None) -> BatchMaps:
            some = [encodings[row] for row in rows], [gold[row] for row in rows]
            return self.maps(*some, None if decided is None else decided[rows], rule)

        def run(rows: list[int]) -> list[ExampleMaps | str]:
            maps = maps_of(rows)
            found: list[ExampleMaps | str] = [*_split(maps)]
            for place in self.not_reached(maps):
                (again,) = _split(maps_of([rows[place]], "path"))
                found[place] = replace(again, incomplete=True)
            return found

        if not encodings:
            return []
        parts: list[list[ExampleMaps | str]] = run_in_halves(
            list(range(len(encodings))),
            run,
            alone=lambda error: [f"The model failed: {first_line(error)}"],
        )
        return [row for part in parts for row in part]

    def not_reached(self, maps: BatchMaps) -> list[int]:
        """Return the rows whose sums fail at a layer that carries all of the information."""
        if self.reach.rule != "secant":
            return []
        carrying = [
            layer for layer in range(maps.total.shape[1]) if layer not in self.reach.bypassed
        ]
        away = self._away(maps)[:, carrying].amax((0, 1))  # (batch,)
        return torch.nonzero(away > 1).squeeze(-1).tolist()

    def _windowed(self, encoding: Encoding, gold: int | None) -> ExampleMaps | str:
        """Return the maps of a text in overlapping windows; the mean logits decide the target."""
        windows = encoding.windows
        logits = self.classifier.logits(windows, self.batch_tokens).mean(0)
        decided = torch.from_numpy(logits).to(self.classifier.device)
        parts: list[ExampleMaps | str] = []
        size = max(1, self.batch_tokens // len(windows[0].input_ids))
        for start in range(0, len(windows), size):
            some = list(windows[start : start + size])
            parts += self._rows(some, [gold] * len(some), decided.expand(len(some), -1))
        whole = [part for part in parts if not isinstance(part, str)]
        failed = next((part for part in parts if isinstance(part, str)), None)
        return failed or join_windows(whole, encoding.window_starts, logits)


def _in_order(maps: BatchMaps, order: np.ndarray) -> BatchMaps:
    """Return the maps of a batch with its rows in another order."""
    rows = torch.from_numpy(order)

    def sorted_by(axis: int, values: Any) -> Any:
        return None if values is None else values.index_select(axis, rows.to(values.device))

    axes = {"change": 1, "logits": 0, "weights": 1, "own": 0}
    return BatchMaps(
        **{name: sorted_by(axes.get(name, 2), values) for name, values in vars(maps).items()}
    )


def _split(maps: BatchMaps) -> list[ExampleMaps]:
    """Return the maps of a batch row by row; everything leaves the device once."""
    leaving = (maps.saliency, maps.total, maps.change, maps.logits, maps.weights)
    saliency, total, change, logits, weights = (values.float().cpu().numpy() for values in leaving)
    own = maps.own.cpu().numpy()
    return [
        ExampleMaps(
            saliency[:, :, row][:, :, own[row]],
            total[:, :, row],
            change[:, row],
            logits[row],
            weights[:, row],
        )
        for row in range(len(logits))
    ]


def _at(positions: Tensor, values: Tensor) -> Tensor:
    """Return (batch, position, ...) the values (batch, token, ...) at positions of each row."""
    return values.gather(1, positions.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
