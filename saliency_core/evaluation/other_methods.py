"""Other saliency methods on the same examples, to measure ours against.

Captum's own implementations where it has the method; attention methods and the gradient norm from
the model itself. Perturbation methods explain the predicted class's probability, which is what
faithfulness measures; gradient methods explain its logit, as ours does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
"""Perturbed texts an example for LIME and KernelSHAP."""
LIME_KERNEL_WIDTH = 25.0
"""In percent of cosine distance, as the authors of LIME have it for texts."""

Maps = list[np.ndarray]
"""A (token,) array of scores an example, special tokens left out."""


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


def _gradient_norm(
    classifier: Classifier, encodings: Sequence[Encoding], predicted: np.ndarray, seed: int
) -> Maps:
    def norm(
        call: Callable[..., Any],
        embeddings: Tensor,
        target: Tensor,
        inputs: tuple[Any, ...],
        own: Tensor,
    ) -> Tensor:
        gradient = torch.autograd.grad(
            call(embeddings, *inputs).gather(1, target[:, None]).sum(), embeddings
        )[0]
        return gradient.norm(dim=-1)

    return _by_embeddings(classifier, encodings, predicted, norm)


def _gradient_times_input(
    classifier: Classifier, encodings: Sequence[Encoding], predicted: np.ndarray, seed: int
) -> Maps:
    from captum.attr import InputXGradient

    def product(
        call: Callable[..., Any],
        embeddings: Tensor,
        target: Tensor,
        inputs: tuple[Any, ...],
        own: Tensor,
    ) -> Tensor:
        found = InputXGradient(call).attribute(
            embeddings, target=target, additional_forward_args=inputs
        )
        return found.sum(-1)

    return _by_embeddings(classifier, encodings, predicted, product)


def _integrated_gradients(reference: str) -> Callable[..., Maps]:
    def maps(
        classifier: Classifier, encodings: Sequence[Encoding], predicted: np.ndarray, seed: int
    ) -> Maps:
        from captum.attr import IntegratedGradients

        def integral(
            call: Callable[..., Any],
            embeddings: Tensor,
            target: Tensor,
            inputs: tuple[Any, ...],
            own: Tensor,
        ) -> Tensor:
            nothing = torch.zeros_like(embeddings)
            if reference == "mask":
                mask_id = torch.tensor(classifier.blank_token_id, device=embeddings.device)
                nothing = nothing + classifier.embeddings[0](mask_id)
            start = torch.where(own.unsqueeze(-1), nothing, embeddings.detach())
            found = IntegratedGradients(call).attribute(
                embeddings,
                start,
                target=target,
                additional_forward_args=inputs,
                n_steps=PATH_STEPS,
                internal_batch_size=max(1, len(embeddings)),
            )
            return found.sum(-1)

        return _by_embeddings(classifier, encodings, predicted, integral)

    return maps


def _by_embeddings(
    classifier: Classifier,
    encodings: Sequence[Encoding],
    predicted: np.ndarray,
    score: Callable[[Callable[..., Any], Tensor, Tensor, tuple[Any, ...], Tensor], Tensor],
) -> Maps:
    """Return maps of a method that asks how the logits depend on the word embeddings.

    Args:
        classifier: the model under audit.
        encodings: the examples.
        predicted: (example,) the class to explain.
        score: (logits of embeddings and further inputs, embeddings (batch, token, hidden), class
            (batch,), further inputs, tokens that are not special (batch, token)) ->
            (batch, token).
    """
    maps: Maps = [np.empty(0)] * len(encodings)
    for rows in length_batches(encodings, classifier.default_batch_tokens):
        some = [encodings[row] for row in rows]
        batch = classifier.collate(some)
        own = _own(classifier, some, batch["input_ids"].shape[1])
        names = list(batch)

        def logits(embeddings: Tensor, *inputs: Tensor, names: list[str] = names) -> Tensor:
            with _embeddings_given(classifier, embeddings):
                return classifier.model(**dict(zip(names, inputs, strict=True))).logits

        embeddings = classifier.embeddings[0](batch["input_ids"]).detach().requires_grad_(True)
        target = torch.from_numpy(predicted[rows]).to(embeddings.device)
        places = torch.from_numpy(own).to(embeddings.device)
        found = score(logits, embeddings, target, tuple(batch.values()), places)
        _place(maps, rows, found, own)
    return maps


@contextmanager
def _embeddings_given(classifier: Classifier, embeddings: Tensor) -> Iterator[None]:
    """Let the input-embedding module return these embeddings."""
    hook = classifier.embeddings[0].register_forward_hook(lambda *call: embeddings)
    try:
        yield
    finally:
        hook.remove()


# Attention.


def _attention_rollout(
    classifier: Classifier, encodings: Sequence[Encoding], predicted: np.ndarray, seed: int
) -> Maps:
    def rollout(attentions: tuple[Tensor, ...], score: Tensor) -> Tensor:
        flow = _identity_like(attentions[0][:, 0])
        for attention in attentions:
            # Half of what a position says comes through its residual connection.
            flow = (0.5 * attention.mean(1) + 0.5 * _identity_like(flow)) @ flow
        return flow

    return _by_attention(classifier, encodings, predicted, rollout)


def _gradient_weighted_attention(
    classifier: Classifier, encodings: Sequence[Encoding], predicted: np.ndarray, seed: int
) -> Maps:
    def relevance(attentions: tuple[Tensor, ...], score: Tensor) -> Tensor:
        gradients = torch.autograd.grad(score, attentions)
        flow = _identity_like(attentions[0][:, 0])
        for attention, gradient in zip(attentions, gradients, strict=True):
            flow = flow + (attention * gradient).clamp(min=0).mean(1) @ flow
        return flow

    return _by_attention(classifier, encodings, predicted, relevance)


def _by_attention(
    classifier: Classifier,
    encodings: Sequence[Encoding],
    predicted: np.ndarray,
    flow: Callable[[tuple[Tensor, ...], Tensor], Tensor],
) -> Maps:
    """Return maps of a method that follows attention from where the classifier reads.

    Args:
        classifier: the model under audit.
        encodings: the examples.
        predicted: (example,) the class to explain.
        flow: (attention of every block (batch, head, i, j), sum of the logits to explain) ->
            (batch, i, j).
    """
    maps: Maps = [np.empty(0)] * len(encodings)
    reads = _reading_positions(classifier, encodings[0])
    with _attention_weights(classifier):
        for rows in length_batches(encodings, classifier.default_batch_tokens):
            some = [encodings[row] for row in rows]
            batch = classifier.collate(some)
            embeddings = classifier.embeddings[0](batch["input_ids"]).detach().requires_grad_(True)
            with _embeddings_given(classifier, embeddings):
                output = classifier.model(**batch, output_attentions=True)
            target = torch.from_numpy(predicted[rows]).to(embeddings.device)
            score = output.logits.gather(1, target[:, None]).sum()
            found = flow(output.attentions, score)
            weights = reads(batch["attention_mask"].float()).unsqueeze(-1)  # (batch, i, 1)
            own = _own(classifier, some, found.shape[-1])
            _place(maps, rows, (weights * found).sum(1), own)
    return maps


def _reading_positions(classifier: Classifier, encoding: Encoding) -> Callable[[Tensor], Tensor]:
    """Return a function from a mask (batch, token) to the weight of the positions read.

    The classifier reads those whose last state has a gradient: the first, the last or all.
    """
    batch = classifier.collate([encoding])
    embeddings = classifier.embeddings[0](batch["input_ids"]).detach().requires_grad_(True)
    with _embeddings_given(classifier, embeddings):
        states, logits = classifier.forward(batch)
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


def _occlusion(
    classifier: Classifier, encodings: Sequence[Encoding], predicted: np.ndarray, seed: int
) -> Maps:
    from captum.attr import FeatureAblation

    def ablation(call: Callable[..., Any], own: Tensor, chunk: int) -> Tensor:
        return FeatureAblation(call).attribute(
            own, baselines=classifier.blank_token_id, perturbations_per_eval=chunk
        )

    return _by_perturbation(classifier, encodings, predicted, ablation)


def _sampling(classifier: Classifier, chunk: int) -> dict[str, int]:
    blank = classifier.blank_token_id
    return {"baselines": blank, "n_samples": SAMPLES, "perturbations_per_eval": chunk}


def _lime(
    classifier: Classifier, encodings: Sequence[Encoding], predicted: np.ndarray, seed: int
) -> Maps:
    from captum.attr import Lime

    torch.manual_seed(seed)

    def surrogate(call: Callable[..., Any], own: Tensor, chunk: int) -> Tensor:
        method = Lime(call, _linear_model(penalty=1.0), similarity_func=_lime_kernel)
        return method.attribute(own, **_sampling(classifier, chunk))

    return _by_perturbation(classifier, encodings, predicted, surrogate)


def _kernel_shap(
    classifier: Classifier, encodings: Sequence[Encoding], predicted: np.ndarray, seed: int
) -> Maps:
    from captum.attr import KernelShap

    torch.manual_seed(seed)

    def surrogate(call: Callable[..., Any], own: Tensor, chunk: int) -> Tensor:
        if own.shape[1] == 1:
            # One token bears the whole change; there is no coalition to draw.
            return torch.ones(1, 1)
        method = KernelShap(call)
        method.interpretable_model = _linear_model(penalty=0.0)
        return method.attribute(own, **_sampling(classifier, chunk))

    return _by_perturbation(classifier, encodings, predicted, surrogate)


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


@torch.no_grad()
def _by_perturbation(
    classifier: Classifier,
    encodings: Sequence[Encoding],
    predicted: np.ndarray,
    score: Callable[[Callable[..., Any], Tensor, int], Tensor],
) -> Maps:
    """Return maps of a method that asks for the probability of perturbed texts.

    Args:
        classifier: the model under audit.
        encodings: the examples.
        predicted: (example,) the class to explain.
        score: (probability (perturbation,) of own ids (perturbation, token), own ids (1, token),
            perturbations to run at once) -> (1, token).
    """
    maps = []
    for encoding, label in zip(encodings, predicted.tolist(), strict=True):
        batch = classifier.collate([encoding])
        places = torch.from_numpy(np.flatnonzero(~encoding.special))

        def chance(
            own: Tensor, batch: dict[str, Any] = batch, places: Tensor = places, label: int = label
        ) -> Any:
            inputs = {name: values.repeat(len(own), 1) for name, values in batch.items()}
            inputs["input_ids"][:, places] = own.to(classifier.device)
            logits = classifier.model(**inputs).logits.float().cpu().numpy()
            return torch.from_numpy(classifier.probabilities(logits)[:, label])

        own = batch["input_ids"][:, places].cpu()
        chunk = max(1, classifier.default_batch_tokens // len(encoding.input_ids))
        maps.append(score(chance, own, chunk)[0].numpy())
    return maps


def _own(classifier: Classifier, encodings: Sequence[Encoding], width: int) -> np.ndarray:
    """Return (batch, token) bool: real tokens that are not special."""
    own = np.zeros((len(encodings), width), bool)
    for row, encoding in enumerate(encodings):
        length = len(encoding.special)
        start = 0 if classifier.padding_side == "right" else width - length
        own[row, start : start + length] = ~encoding.special
    return own


def _place(maps: Maps, rows: list[int], scores: Tensor, own: np.ndarray) -> None:
    """Put (batch, token) scores where they belong, padding and special tokens left out."""
    for row, of_row, places in zip(rows, scores.detach().float().cpu().numpy(), own, strict=True):
        maps[row] = of_row[places]


OTHER_METHODS: dict[str, Callable[..., Maps]] = {
    "random": _random,
    "attention rollout": _attention_rollout,
    "gradient norm": _gradient_norm,
    "gradient × input": _gradient_times_input,
    "gradient-weighted attention": _gradient_weighted_attention,
    "integrated gradients, zero": _integrated_gradients("zero"),
    "integrated gradients, mask": _integrated_gradients("mask"),
    "leave-one-out occlusion": _occlusion,
    "LIME": _lime,
    "KernelSHAP": _kernel_shap,
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
