"""One step of Adam and of the moving average on flat buffers, with the norm that clips it: the
PyTorch form and the native one.

Both take parameter, gradient, first, second, average [S, P]; updates, from 1, an integer or a 0-d
tensor; rate [S]; ema_rate; max_norm or None; frozen [S], the seeds that stay as they are. They work
in place and return the gradient's norm of each seed [S] before it is clipped. A seed whose norm is
not finite stays as it is too: its parameters are the last good ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gtp_fast import native

BETAS, EPSILON = (0.9, 0.999), 1e-8


def plain(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    average: Tensor,
    updates: int | Tensor,
    rate: Tensor,
    ema_rate: float | Tensor,
    max_norm: float | None,
    frozen: Tensor,
) -> Tensor:
    """Do `reference.adam` and `reference.polyak` by operations of PyTorch, on any device."""
    # The corrections are taken in float64: 1 - 0.999 ** n loses four digits in float32 at n = 1.
    count = updates.double() if isinstance(updates, Tensor) else updates
    with torch.no_grad():
        norm: Tensor = torch.linalg.vector_norm(gradient, dim=1)
        still = (frozen | ~torch.isfinite(norm))[:, None]
        if max_norm is not None:
            gradient.mul_(torch.clamp(max_norm / (norm + 1e-6), max=1.0)[:, None])
        gradient.masked_fill_(still, 0.0)
        first.lerp_(gradient, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        scale = second.sqrt().mul_((1 - BETAS[1] ** count) ** -0.5).add_(EPSILON)
        speed = (rate / (1 - BETAS[0] ** count))[:, None]
        parameter.sub_(torch.div(first, scale).mul_(speed.masked_fill(still, 0.0)))
        ahead = torch.where(still, average, parameter)
        average.lerp_(ahead, ema_rate)
    return norm


def fused(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    average: Tensor,
    updates: int | Tensor,
    rate: Tensor,
    ema_rate: float | Tensor,
    max_norm: float | None,
    frozen: Tensor,
) -> Tensor:
    """Do the same in one pass of native code, float32 on the CPU."""
    seeds, count = parameter.shape
    rate, norm = rate.contiguous(), torch.empty(seeds)
    arrays = (parameter, gradient, first, second, average)
    if not all(array.is_contiguous() for array in arrays):
        raise ValueError("the buffers of the optimiser must be contiguous")
    native.module().adam(
        [array.data_ptr() for array in arrays],
        seeds,
        count,
        rate.data_ptr(),
        float(updates),
        BETAS,
        EPSILON,
        float(ema_rate),
        math.inf if max_norm is None else max_norm,
        frozen.data_ptr(),
        norm.data_ptr(),
        torch.get_num_threads(),
    )
    return norm
