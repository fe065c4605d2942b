"""One step of Adam and of the moving average on flat buffers, with the norm that clips it: the
PyTorch form and the native one.

All take parameter, gradient, first, second, average [S, P]; updates, from 1, an integer or a 0-d
tensor; rate [S]; ema_rate; max_norm or None; then what says which seeds stay as they are. They work
in place and return the gradient's norm of each seed [S] before it is clipped. A seed whose norm is
not finite stays as it is too: its parameters are the last good ones.

`plain` is told the seeds that stay, frozen [S]. A `Step` finds them itself, of loss [S], limit and
diverged [S], the update at which a seed diverged, -1 where it has not: one whose loss is not finite
or beyond the limit stays from then on, and is noted there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.system import native

BETAS, EPSILON = (0.9, 0.999), 1e-8
Step = Callable[..., Tensor]


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


def guarded(step: Callable[..., Tensor]) -> Step:
    """Return the `Step` around one that is told the seeds that stay, as `plain` is."""

    def guarded_step(*arguments: Any) -> Tensor:
        *buffers, updates, rate, ema_rate, max_norm, loss, limit, diverged = arguments
        healthy = diverged < 0
        learns = healthy & reference.sound(loss, limit)
        norm = step(*buffers, updates, rate, ema_rate, max_norm, ~learns)
        # What was healthy and did not learn has diverged in this update.
        fresh = healthy ^ (learns & (norm < math.inf))
        diverged.copy_(torch.where(fresh, updates - 1, diverged))
        return norm

    return guarded_step


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
    loss: Tensor,
    limit: float,
    diverged: Tensor,
) -> Tensor:
    """Do `guarded(plain)` in one pass of native code, float32 on the CPU."""
    seeds, count = parameter.shape
    rate, loss, norm = rate.contiguous(), loss.contiguous(), torch.empty(seeds)
    arrays = (parameter, gradient, first, second, average)
    if not all(array.is_contiguous() for array in (*arrays, diverged)):
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
        loss.data_ptr(),
        limit,
        diverged.data_ptr(),
        norm.data_ptr(),
        torch.get_num_threads(),
    )
    return norm


def account(
    metrics: Tensor,
    total: Tensor,
    limits: Tensor,
    bad_step: Tensor,
    step: int | Tensor,
    advance: bool = False,
) -> None:
    """Do `reference.account` in one pass of native code, float32 on the CPU."""
    if not all(x.is_contiguous() for x in (metrics, total, limits, bad_step)):
        raise ValueError("what an update is accounted in must be contiguous")
    native.module().tally(
        metrics.data_ptr(), (len(metrics), len(bad_step), metrics.shape[1]),
        limits.data_ptr(), int(step), total.data_ptr(), bad_step.data_ptr(),
    )  # fmt: skip
    if advance and isinstance(step, Tensor):
        step.add_(1)
