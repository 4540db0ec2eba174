"""Other saliency methods on the same examples, to measure ours against.

Captum's own implementations where it has the method; attention methods and the gradient norm from
the model itself. Perturbation methods explain the predicted class's probability, which is what
faithfulness measures; gradient methods explain its logit, as ours does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saliency_core.errors import UserError
from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding, length_batches

PATH_STEPS = 20
"""Points of integrated gradients."""
SAMPLES = 100
"""Perturbed texts per example for LIME and KernelSHAP."""
LIME_KERNEL_WIDTH = 25.0
"""In percent of cosine distance, as the authors of LIME have it for texts."""

Maps = list[np.ndarray]
"""A (token,) array of scores per example, special tokens left out."""
Method = Callable[[Classifier, Sequence[Encoding], np.ndarray, int], Maps]
"""(the model, the examples, (example,) the class to explain, a seed) -> maps."""


def other_method_maps(
    classifier: Classifier,
    encodings: Sequence[Encoding],
    method: str,
    *,
    predicted: np.ndarray,
    seed: int = 0,
) -> Maps:
    """Return the map of every example by another method.

    Args:
        classifier: the model under audit.
        encodings: the examples.
        method: one of `OTHER_METHODS`.
        predicted: (example,) the class to explain.
        seed: of the methods that draw.

    Raises:
        UserError: the method is unknown, needs Captum, or can't read this model.
    """
    if method not in OTHER_METHODS:
        raise UserError(f"No method is called {method!r}; choose from {', '.join(OTHER_METHODS)}.")
    if classifier.is_encoder_decoder:
        raise UserError("The other methods read models of one stack, not encoder-decoders.")
    if method in FROM_CAPTUM and not find_spec("captum"):
        raise UserError(f"The method {method} is Captum's: pip install captum.")
    return OTHER_METHODS[method](classifier, encodings, predicted, seed)


def available_methods() -> list[str]:
    """Return the methods that can run here: those of Captum only where it is installed."""
    return [name for name in OTHER_METHODS if name not in FROM_CAPTUM or find_spec("captum")]


def _random(
    classifier: Classifier, encodings: Sequence[Encoding], predicted: np.ndarray, seed: int
) -> Maps:
    draw = np.random.default_rng(seed)
    return [draw.random((~encoding.special).sum()) for encoding in encodings]


# Gradients at the input embeddings.


@dataclass(frozen=True)
class _Batch:
    """A batch as methods read it that ask how the logits depend on the word embeddings."""

    classifier: Classifier
    inputs: dict[str, Tensor]
    """What the model is given; the embeddings take the place of the ids."""
    embeddings: Tensor
    """(batch, token, hidden)."""
    target: Tensor
    """(batch,) the class to explain."""
    own: Tensor
    """(batch, token) whether a token is not special."""
    mask: Tensor
    """(hidden,) the embedding of the mask."""

    @property
    def values(self) -> tuple[Tensor, ...]:
        """Return the inputs as `logits` takes them."""
        return tuple(self.inputs.values())

    def logits(self, embeddings: Tensor, *values: Tensor) -> Tensor:
        """Return the (batch, class) logits of embeddings."""
        with _embeddings_given(self.classifier, embeddings):
            return self.classifier.model(**dict(zip(self.inputs, values, strict=True))).logits


def _batch_of(
    classifier: Classifier, encodings: Sequence[Encoding], predicted: np.ndarray
) -> _Batch:
    table = classifier.embeddings[0]
    inputs = classifier.collate(encodings)
    embeddings = table(inputs["input_ids"]).detach().requires_grad_(True)
    device = embeddings.device
    return _Batch(
        classifier,
        inputs,
        embeddings,
        target=torch.from_numpy(predicted).to(device),
        own=torch.from_numpy(classifier.own_tokens(encodings, embeddings.shape[1])).to(device),
        mask=table(torch.tensor(classifier.blank_token_id, device=device)).detach(),
    )


def _by_batches(
    classifier: Classifier,
    encodings: Sequence[Encoding],
    predicted: np.ndarray,
    score: Callable[[_Batch], Tensor],
) -> Maps:
    """Return the maps of (batch, token) scores, padding and special tokens left out."""
    maps: Maps = [np.empty(0)] * len(encodings)
    for rows in length_batches(encodings, classifier.default_batch_tokens):
        batch = _batch_of(classifier, [encodings[row] for row in rows], predicted[rows])
        scores = score(batch).detach().float().cpu().numpy()
        for row, of_row, places in zip(rows, scores, batch.own.cpu().numpy(), strict=True):
            maps[row] = of_row[places]
    return maps


def _gradient_norm(batch: _Batch) -> Tensor:
    logits = batch.logits(batch.embeddings, *batch.values)
    (gradient,) = torch.autograd.grad(
        logits.gather(1, batch.target[:, None]).sum(), batch.embeddings
    )
    return gradient.norm(dim=-1)


def _gradient_times_input(batch: _Batch) -> Tensor:
    from captum.attr import InputXGradient

    return (
        InputXGradient(batch.logits)
        .attribute(batch.embeddings, target=batch.target, additional_forward_args=batch.values)
        .sum(-1)
    )


def _integrated_gradients(batch: _Batch, reference: Tensor) -> Tensor:
    """Integrate from the tokens replaced by `reference`, special ones as they are."""
    from captum.attr import IntegratedGradients

    start = torch.where(batch.own.unsqueeze(-1), reference, batch.embeddings.detach())
    found = IntegratedGradients(batch.logits).attribute(
        batch.embeddings,
        start,
        target=batch.target,
        additional_forward_args=batch.values,
        n_steps=PATH_STEPS,
        internal_batch_size=max(1, len(batch.embeddings)),
    )
    return found.sum(-1)


def _by_embeddings(score: Callable[[_Batch], Tensor]) -> Method:
    """Return the method that scores (batch, token) from how logits depend on the embeddings."""
    return lambda classifier, encodings, predicted, seed: _by_batches(
        classifier, encodings, predicted, score
    )


@contextmanager
def _embeddings_given(classifier: Classifier, embeddings: Tensor) -> Iterator[None]:
    """Let the input-embedding module return these embeddings."""
    hook = classifier.embeddings[0].register_forward_hook(lambda *call: embeddings)
    try:
        yield
    finally:
        hook.remove()


# Attention.


def _attention_rollout(attentions: tuple[Tensor, ...], score: Tensor) -> Tensor:
    flow = _identity_like(attentions[0][:, 0])
    for attention in attentions:
        # Half of what a position says comes through its residual connection.
        flow = (0.5 * attention.mean(1) + 0.5 * _identity_like(flow)) @ flow
    return flow


def _gradient_weighted_attention(attentions: tuple[Tensor, ...], score: Tensor) -> Tensor:
    gradients = torch.autograd.grad(score, attentions)
    flow = _identity_like(attentions[0][:, 0])
    for attention, gradient in zip(attentions, gradients, strict=True):
        flow = flow + (attention * gradient).clamp(min=0).mean(1) @ flow
    return flow


def _by_attention(flow: Callable[[tuple[Tensor, ...], Tensor], Tensor]) -> Method:
    """Return the method that follows attention from where the classifier reads.

    Args:
        flow: (attention of every block (batch, head, i, j), sum of the logits to explain) ->
            (batch, i, j).
    """

    def maps(
        classifier: Classifier, encodings: Sequence[Encoding], predicted: np.ndarray, seed: int
    ) -> Maps:
        reads = _reading_positions(_batch_of(classifier, encodings[:1], predicted[:1]))

        def score(batch: _Batch) -> Tensor:
            with _attention_weights(classifier), _embeddings_given(classifier, batch.embeddings):
                output = classifier.model(**batch.inputs, output_attentions=True)
            flows = flow(output.attentions, output.logits.gather(1, batch.target[:, None]).sum())
            weights = reads(batch.inputs["attention_mask"].float()).unsqueeze(-1)  # (batch, i, 1)
            return (weights * flows).sum(1)

        return _by_batches(classifier, encodings, predicted, score)

    return maps


def _reading_positions(batch: _Batch) -> Callable[[Tensor], Tensor]:
    """Return a function from a mask (batch, token) to the weight of the positions read.

    The classifier reads those whose last state, in a batch of one, has a gradient: the first, the
    last or all.
    """
    with _embeddings_given(batch.classifier, batch.embeddings):
        states, logits = batch.classifier.forward(batch.inputs)
    read = torch.autograd.grad(logits[0, 0], states[-1])[0][0].norm(dim=-1).nonzero()[:, 0]
    if len(read) > 1:
        return lambda mask: mask / mask.sum(1, keepdim=True)
    if int(read[0]) == 0:
        return lambda mask: ((mask.cumsum(1) == 1) & (mask > 0)).float()
    return lambda mask: ((mask.flip(1).cumsum(1).flip(1) == 1) & (mask > 0)).float()


@contextmanager
def _attention_weights(classifier: Classifier) -> Iterator[None]:
    """Let the model compute its attention in the way that returns the weights."""
    before = classifier.model.config._attn_implementation
    classifier.model.set_attn_implementation("eager")
    try:
        yield
    finally:
        classifier.model.set_attn_implementation(before)


def _identity_like(matrices: Tensor) -> Tensor:
    return torch.eye(matrices.shape[-1], device=matrices.device).expand_as(matrices)


# Perturbation.


Chance = Callable[..., Tensor]
"""(perturbation,) probability of own ids (perturbation, token)."""


def _occlusion(chance: Chance, own: Tensor, choices: dict[str, int]) -> Tensor:
    from captum.attr import FeatureAblation

    return FeatureAblation(chance).attribute(own, **choices)


def _lime(chance: Chance, own: Tensor, choices: dict[str, int]) -> Tensor:
    from captum.attr import Lime

    method = Lime(chance, _linear_model(penalty=1.0), similarity_func=_lime_kernel)
    return method.attribute(own, n_samples=SAMPLES, **choices)


def _kernel_shap(chance: Chance, own: Tensor, choices: dict[str, int]) -> Tensor:
    from captum.attr import KernelShap

    if own.shape[1] == 1:
        # One token bears the whole change; there is no coalition to draw.
        return torch.ones(1, 1)
    method = KernelShap(chance)
    method.interpretable_model = _linear_model(penalty=0.0)
    return method.attribute(own, n_samples=SAMPLES, **choices)


def _lime_kernel(original: Tensor, perturbed: Tensor, kept: Tensor, **options: Any) -> Tensor:
    """Return LIME's weight of a perturbed text: exponential in the cosine distance of presence."""
    distance = 100 * (1 - kept.float().mean(-1).sqrt())
    return torch.exp(-(distance**2) / LIME_KERNEL_WIDTH**2).sqrt()


def _linear_model(penalty: float) -> Any:
    """Return a weighted ridge regression as Captum takes it; its own ones need scikit-learn."""
    from captum._utils.models.model import Model

    class Linear(Model):  # type: ignore[misc]  # Captum ships no types.
        """Least squares with an intercept; the smallest solution where there are many."""

        def fit(self, train_data: Any, **options: Any) -> None:
            features, outputs, weights = (part.double() for part in next(iter(train_data)))
            weights = weights / weights.sum()
            centre, level = weights @ features, weights @ outputs
            root = (weights * len(weights)).sqrt()[:, None]
            design = root * (features - centre)
            goal = root * (outputs - level)[:, None]
            if penalty:
                size = features.shape[1]
                design = torch.cat([design, penalty**0.5 * torch.eye(size, dtype=torch.double)])
                goal = torch.cat([goal, goal.new_zeros(size, 1)])
            self.weights = torch.linalg.lstsq(design, goal, driver="gelsd").solution[:, 0]

        def representation(self) -> Tensor:
            return self.weights[None].float()

        def __call__(self, features: Tensor) -> Tensor:
            return features.double() @ self.weights

    return Linear()


def _by_perturbation(score: Callable[[Chance, Tensor, dict[str, int]], Tensor]) -> Method:
    """Return the method that asks for the probability of perturbed texts.

    Args:
        score: (probability of perturbed ids, own ids (1, token), what Captum is given of the
            reference and of the perturbations run at once) -> (1, token).
    """

    @torch.no_grad()
    def maps(
        classifier: Classifier, encodings: Sequence[Encoding], predicted: np.ndarray, seed: int
    ) -> Maps:
        torch.manual_seed(seed)
        found = []
        for encoding, label in zip(encodings, predicted.tolist(), strict=True):
            batch = classifier.collate([encoding])
            places = torch.from_numpy(np.flatnonzero(~encoding.special))

            def chance(
                own: Tensor,
                batch: dict[str, Any] = batch,
                places: Tensor = places,
                label: int = label,
            ) -> Tensor:
                inputs = {name: values.repeat(len(own), 1) for name, values in batch.items()}
                inputs["input_ids"][:, places] = own.to(classifier.device)
                logits = classifier.model(**inputs).logits.float().cpu().numpy()
                return torch.from_numpy(classifier.probabilities(logits)[:, label])

            own = batch["input_ids"][:, places].cpu()
            at_once = max(1, classifier.default_batch_tokens // len(encoding.input_ids))
            choices = {"baselines": classifier.blank_token_id, "perturbations_per_eval": at_once}
            found.append(score(chance, own, choices)[0].numpy())
        return found

    return maps


OTHER_METHODS: dict[str, Method] = {
    "random": _random,
    "attention rollout": _by_attention(_attention_rollout),
    "gradient norm": _by_embeddings(_gradient_norm),
    "gradient × input": _by_embeddings(_gradient_times_input),
    "gradient-weighted attention": _by_attention(_gradient_weighted_attention),
    "integrated gradients, zero": _by_embeddings(
        lambda batch: _integrated_gradients(batch, torch.zeros_like(batch.mask))
    ),
    "integrated gradients, mask": _by_embeddings(
        lambda batch: _integrated_gradients(batch, batch.mask)
    ),
    "leave-one-out occlusion": _by_perturbation(_occlusion),
    "LIME": _by_perturbation(_lime),
    "KernelSHAP": _by_perturbation(_kernel_shap),
}
"""Abnar & Zuidema 2020 (rollout), Chefer et al. 2021 (gradient-weighted attention), Sundararajan
et al. 2017 (integrated gradients), Ribeiro et al. 2016 (LIME), Lundberg & Lee 2017 (SHAP)."""
FROM_CAPTUM = {
    "gradient × input",
    "integrated gradients, zero",
    "integrated gradients, mask",
    "leave-one-out occlusion",
    "LIME",
    "KernelSHAP",
}
