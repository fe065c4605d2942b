"""Gradients of fused forms: they fill the flat buffer, and have no second derivative."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gtp_fast.errors import UserError
from gtp_fast.networks.parameters import Parameters
from gtp_fast.ops.operands import output

_slices: dict[int, Tensor] = {}


Backward = Callable[..., tuple[Tensor | None, ...]]


def first_order(backward: Backward) -> Backward:
    """Let the backward of a fused form raise UserError under create_graph=True.

    PyTorch's once_differentiable would say nothing where the gradient from above is a constant, and
    what the second derivative adds would be lost.
    """

    @functools.wraps(backward)
    def refusing(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # PyTorch enables gradients in a backward pass for create_graph=True alone.
        if torch.is_grad_enabled():
            raise UserError(
                "A fused form has no second derivative: leave out create_graph=True, or take "
                "--backend reference."
            )
        return backward(ctx, *gradients)

    return refusing


@contextmanager
def _offered(parameters: Sequence[Tensor], slices: Sequence[Tensor]) -> Iterator[None]:
    addresses = [p.data_ptr() for p in parameters]
    _slices.update(zip(addresses, slices, strict=True))
    try:
        yield
    finally:
        for address in addresses:
            _slices.pop(address, None)


def destination(parameter: Tensor) -> Tensor:
    """Return memory for a parameter's gradient.

    It is the parameter's slice of the flat buffer, once per `differentiate`; a new tensor after.
    """
    slice_ = _slices.pop(parameter.data_ptr(), None)
    return output(*parameter.shape) if slice_ is None else slice_


def differentiate(parameters: Parameters, loss: Tensor) -> None:
    """Compute `Parameters.differentiate` without a copy of the gradients written in place."""
    leaves, slices = (list(x.values()) for x in (parameters.views, parameters.gradient_views))
    with _offered(leaves, slices):
        parts = torch.autograd.grad(loss, leaves)
    # A gradient that several passes add to comes back as their sum, in memory of its own.
    away = [pair for pair in zip(slices, parts, strict=True) if pair[0] is not pair[1]]
    if away:
        torch._foreach_copy_([slice_ for slice_, _ in away], [part for _, part in away])


def summed_to(gradient: Tensor, like: Tensor) -> Tensor:
    """Sum a gradient [G, B, n] over the groups and rows that an input was repeated for."""
    groups, rows, width = like.shape
    if gradient.shape == like.shape:
        return gradient
    share, repeats = gradient.shape[0] // groups, gradient.shape[1] // rows
    return gradient.view(groups, share, repeats, rows, width).sum((1, 2))


FORMS = {
    "reference": Parameters.differentiate,
    "native": differentiate,
}
