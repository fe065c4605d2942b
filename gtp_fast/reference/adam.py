"""One Adam step (Kingma, Ba 2015) with gradient clipping, and the moving average of parameters.

`plain` takes `frozen` [S], the seeds that keep parameters and moments. A `Step` derives it from the
loss [S]: a seed freezes when its loss is not finite or above `limit`, and `diverged` [S] records
the update at which it did (-1: healthy). A seed with a gradient norm that is not finite freezes
too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtp_fast.reference.tally import finite_within

BETAS, EPSILON = (0.9, 0.999), 1e-8
Step = Callable[..., Tensor]
"""(parameter, gradient, first, second, average, updates, rate, average_rate, max_norm, loss, limit,
diverged, weight_decay=0.0) -> gradient norm [S]; weight_decay and the first nine as `plain` takes
them."""


def plain(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    average: Tensor,
    updates: int | Tensor,
    rate: Tensor,
    average_rate: float | Tensor,
    max_norm: float | None,
    frozen: Tensor,
    weight_decay: float = 0.0,
) -> Tensor:
    """Take one Adam step in place; return the gradient norm before clipping, [S].

    parameter, gradient, Adam's first and second moment, moving average: [S, P]; updates: counted
    from 1, an integer or a 0-d tensor; rate: the learning rate [S]; average_rate: the average moves
    to average + average_rate (parameter - average); max_norm: clip of the gradient norm, None for
    none; frozen: [S]; weight_decay: a step first multiplies the parameters by 1 - rate weight_decay
    (AdamW; Loshchilov, Hutter 2019).
    """
    # The corrections are taken in float64: 1 - 0.999 ** n loses four digits in float32 at n = 1.
    count = updates.double() if isinstance(updates, Tensor) else updates
    with torch.no_grad():
        norm: Tensor = torch.linalg.vector_norm(gradient, dim=1)
        still = (frozen | ~torch.isfinite(norm))[:, None]
        if max_norm is not None:
            gradient.mul_(torch.clamp(max_norm / (norm + 1e-6), max=1.0)[:, None])
        gradient.masked_fill_(still, 0.0)
        first.lerp_(torch.where(still, first, gradient), 1 - BETAS[0])
        kept = torch.full_like(norm, BETAS[1])[:, None].masked_fill(still, 1.0)
        second.mul_(kept).addcmul_(gradient, gradient, value=1 - BETAS[1])
        scale = second.sqrt().mul_((1 - BETAS[1] ** count) ** -0.5).add_(EPSILON)
        speed = (rate / (1 - BETAS[0] ** count))[:, None]
        if weight_decay:
            parameter.mul_(1 - (weight_decay * rate)[:, None].masked_fill(still, 0.0))
        parameter.sub_(torch.div(first, scale).mul_(speed.masked_fill(still, 0.0)))
        goal = torch.where(still, average, parameter)
        average.lerp_(goal, average_rate)
    return norm


def guarded(step: Callable[..., Tensor]) -> Step:
    """Return the `Step` around a function that takes `frozen`, as `plain` does."""

    def guarded_step(*arguments: Any, weight_decay: float = 0.0) -> Tensor:
        *buffers, updates, rate, average_rate, max_norm, loss, limit, diverged = arguments
        healthy = diverged < 0
        learns = healthy & finite_within(loss, limit)
        norm = step(*buffers, updates, rate, average_rate, max_norm, ~learns, weight_decay)
        # A healthy seed that did not learn has diverged in this update.
        fresh = healthy ^ (learns & (norm < math.inf))
        diverged.copy_(torch.where(fresh, updates - 1, diverged))
        return norm

    return guarded_step
