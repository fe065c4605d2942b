"""One Adam step and the moving average in native code, as `reference.adam` defines them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gtp_fast.reference import adam
from gtp_fast.system import native


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
    """Do `guarded(plain)` of `reference.adam` in one pass of native code, float32 on the CPU."""
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
        adam.BETAS,
        adam.EPSILON,
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
    """Do `reference.tally` in one pass of native code, float32 on the CPU."""
    if not all(x.is_contiguous() for x in (metrics, total, limits, bad_step)):
        raise ValueError("what an update is accounted in must be contiguous")
    native.module().tally(
        metrics.data_ptr(), (len(metrics), len(bad_step), metrics.shape[1]),
        limits.data_ptr(), int(step), total.data_ptr(), bad_step.data_ptr(),
    )  # fmt: skip
    if advance and isinstance(step, Tensor):
        step.add_(1)
