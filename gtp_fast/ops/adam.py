"""One Adam step with the moving average, and its forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtp_fast.ops.compiled import compiled
from gtp_fast.ops.context import Context
from gtp_fast.ops.operands import buffer, operand, output
from gtp_fast.reference import adam
from gtp_fast.reference.adam import Step, guarded, plain
from gtp_fast.system import native


def native_adam(
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
    weight_decay: float = 0.0,
) -> Tensor:
    """Do `guarded(plain)` of `reference.adam` in one pass of native code, float32 on the CPU.

    UserError for other shapes and dtypes, and for gaps in what is written.
    """
    seeds, count = parameter.shape
    arrays = (parameter, gradient, first, second, average)
    for array in arrays:
        buffer(array, (seeds, count), "a buffer of the optimiser")
    buffer(diverged, (seeds,), "diverged", torch.int64)
    rate, loss = operand(rate, (seeds,), "rate"), operand(loss, (seeds,), "loss")
    norm = output(seeds)
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
        weight_decay,
        loss.data_ptr(),
        limit,
        diverged.data_ptr(),
        norm.data_ptr(),
        torch.get_num_threads(),
    )
    return norm


def compiled_adam() -> Callable[..., Tensor]:
    """Return the optimiser's plain form compiled; the number of the update goes in as a tensor."""
    inner = compiled(plain)

    def step(*arguments: Any) -> Tensor:
        *buffers, updates, rate, ema_rate, max_norm, frozen, weight_decay = arguments
        count = torch.as_tensor(updates, device=rate.device)
        result: Tensor = inner(*buffers, count, rate, ema_rate, max_norm, frozen, weight_decay)
        return result

    return step


def triton_adam(*arguments: Any) -> Tensor:
    """Do `reference.adam.plain` in two launches: the norm's first sums, then the rest."""
    from gtp_fast.kernels import adam as kernel

    *buffers, weight_decay = arguments
    norm: Tensor = kernel.adam(
        *buffers, weight_decay=weight_decay, betas=adam.BETAS, eps=adam.EPSILON
    )
    return norm


FORMS: dict[str, Callable[[Context], Step]] = {
    "reference": lambda _: guarded(plain),
    "compiled": lambda _: guarded(compiled_adam()),
    "native": lambda _: native_adam,
    "triton": lambda _: guarded(triton_adam),
}
