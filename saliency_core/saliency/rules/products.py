"""Products of two things that both depend on the text: each factor meets the mean of the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from saliency_core.saliency.references import Pairing, wide
from saliency_core.saliency.rules.common import Operation, depends, with_references
from saliency_core.saliency.rules.elementwise import RULES as ELEMENTWISE
from saliency_core.saliency.rules.elementwise import Elementwise, sigmoid_slope, square_slope


class Product(Function):
    """a ∘ b: m_a = m (b + b°) / 2, m_b = m (a + a°) / 2; the Shapley value of two factors."""

    @staticmethod
    def forward(ctx: Any, pairing: Pairing, a: Tensor, b: Tensor) -> Tensor:
        """Return a times b."""
        ctx.pairing = pairing
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx: Any, m: Tensor) -> tuple[Tensor | None, ...]:
        """Return the multipliers of a and b."""
        a, b = ctx.saved_tensors
        m = wide(ctx.pairing.of_texts(m))
        m_a, m_b = m * ctx.pairing.means(b), m * ctx.pairing.means(a)
        return None, with_references(ctx.pairing, m_a, a), with_references(ctx.pairing, m_b, b)


class MatrixProduct(Function):
    """A B: m_A = m B̄ᵀ, m_B = Āᵀ m with the means of text and reference, as for every product."""

    @staticmethod
    def forward(ctx: Any, pairing: Pairing, a: Tensor, b: Tensor) -> Tensor:
        """Return the matrix product."""
        ctx.pairing = pairing
        ctx.save_for_backward(a, b)
        return a @ b

    @staticmethod
    def backward(ctx: Any, m: Tensor) -> tuple[Tensor | None, ...]:
        """Return the multipliers of A and B."""
        a, b = ctx.saved_tensors
        m = wide(ctx.pairing.of_texts(m))
        m_a = m @ ctx.pairing.means(b).transpose(-1, -2)
        m_b = ctx.pairing.means(a).transpose(-1, -2) @ m
        return None, with_references(ctx.pairing, m_a, a), with_references(ctx.pairing, m_b, b)


class Bilinear(Function):
    """f(a, b), linear in either: the gradients of f(·, b̄) and f(ā, ·)."""

    @staticmethod
    def forward(ctx: Any, pairing: Pairing, function: Operation, a: Tensor, b: Tensor) -> Tensor:
        """Return f(a, b)."""
        ctx.pairing, ctx.function = pairing, function
        ctx.save_for_backward(a, b)
        # A view that a custom function returns can't be written into later.
        return function(a, b).clone()

    @staticmethod
    def backward(ctx: Any, m: Tensor) -> tuple[Tensor | None, ...]:
        """Return the multipliers of a and b."""
        factors = [ctx.pairing.means(values).requires_grad_(True) for values in ctx.saved_tensors]
        with torch.enable_grad():
            product = ctx.function(*factors)
        found = torch.autograd.grad(product, factors, wide(ctx.pairing.of_texts(m)))
        pairs = zip(found, ctx.saved_tensors, strict=True)
        return None, None, *(with_references(ctx.pairing, m_u, u) for m_u, u in pairs)


def product(pairing: Pairing, function: Operation, a: Any, b: Any) -> Tensor | None:
    """A product of two things, by the rule where both depend on the text."""
    if not (depends(a) and depends(b)):
        return a * b
    if a is b and pairing.fits(a):
        return Elementwise.apply(pairing, torch.square, square_slope, a)
    return Product.apply(pairing, a, b) if pairing.fits(a) and pairing.fits(b) else None


def matrix_product(pairing: Pairing, function: Operation, a: Tensor, b: Tensor) -> Tensor | None:
    """A matrix product, by the rule where both sides depend on the text."""
    if not (depends(a) and depends(b)):
        return a @ b
    return MatrixProduct.apply(pairing, a, b) if pairing.fits(a) and pairing.fits(b) else None


def _sum_and_product(
    pairing: Pairing,
    function: Operation,
    input: Tensor,
    batch1: Tensor,
    batch2: Tensor,
    *,
    beta: float = 1,
    alpha: float = 1,
) -> Tensor | None:
    """baddbmm: beta c + alpha A B."""
    product = matrix_product(pairing, function, batch1, batch2)
    return None if product is None else beta * input + alpha * product


def _einsum(pairing: Pairing, function: Operation, equation: Any, *operands: Any) -> Tensor | None:
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    moving = [place for place, value in enumerate(operands) if depends(value)]
    if len(moving) != 2 or not all(pairing.fits(operands[place]) for place in moving):
        return None

    def contract(a: Tensor, b: Tensor) -> Tensor:
        values = list(operands)
        values[moving[0]], values[moving[1]] = a, b
        return torch.einsum(equation, *values)

    return Bilinear.apply(pairing, contract, *(operands[place] for place in moving))


def _quotient_of(
    pairing: Pairing, function: Operation, a: Any, b: Any, rounding_mode: Any = None
) -> Tensor | None:
    """A / b is a times the reciprocal of b."""
    if rounding_mode is not None:
        return None
    if not depends(b):
        return a / b
    inverse = ELEMENTWISE["reciprocal"](pairing, torch.reciprocal, b)
    return None if inverse is None else product(pairing, function, a, inverse)


def _swapped(rule: Operation) -> Operation:
    return lambda pairing, function, b, a: rule(pairing, function, a, b)


def _gated(pairing: Pairing, function: Operation, x: Tensor, dim: int = -1) -> Tensor | None:
    """glu: a sigmoid(b)."""
    a, b = x.chunk(2, dim)
    gate = Elementwise.apply(pairing, torch.sigmoid, sigmoid_slope, b) if pairing.fits(b) else None
    return None if gate is None else product(pairing, function, a, gate)


RULES: dict[str, Operation] = {
    **dict.fromkeys(("mul", "multiply", "rmul", "imul"), product),
    **dict.fromkeys(("div", "divide", "true_divide", "truediv", "itruediv", "idiv"), _quotient_of),
    **dict.fromkeys(("rdiv", "rtruediv"), _swapped(_quotient_of)),
    **dict.fromkeys(("matmul", "bmm"), matrix_product),
    "rmatmul": _swapped(matrix_product),
    "baddbmm": _sum_and_product,
    "einsum": _einsum,
    "glu": _gated,
}
