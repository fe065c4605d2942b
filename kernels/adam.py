"""Adam with a clipped gradient and the moving average, over flat buffers [S, P].

The norm of a seed's gradient is summed in two fixed stages: one launch squares and sums blocks,
each program of the next adds up these sums, which is cheaper than a third launch.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from .philox import value

BLOCK, SUMS = 1024, 1024


@triton.jit(do_not_specialize=["P"])
def _squares_kernel(gradient, stride, sums, P, BLOCK: tl.constexpr):
    s = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    g = tl.load(gradient + s * stride + i, mask=i < P, other=0.0)
    tl.store(sums + s * tl.num_programs(0) + tl.program_id(0), tl.sum(g * g, 0))


@triton.jit
def _one_less_power(count, LOG: tl.constexpr):
    """Return 1 - base^count, accurate also where the power is nearly 1; LOG: ln base."""
    x = count * LOG
    series = 1.0 + x * (1 / 2 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120 + x * (1 / 720)))))
    return tl.where(x > -0.125, -x * series, 1.0 - tl.exp(x))


@triton.jit
def _cosine_decay(step, TOTAL: tl.constexpr):
    """Return (1 + cos(pi step / TOTAL)) / 2, accurate also near 0."""
    x = (TOTAL - step).to(tl.float32) * (1.5707963267948966 / TOTAL)
    y = x * x
    series = -1 / 5040 + y * (1 / 362880 + y * (-1 / 39916800 + y * (1 / 6227020800)))
    sine = x + x * y * (-1 / 6 + y * (1 / 120 + y * series))
    return sine * sine


@triton.jit
def total_of(parts, count, SUMS: tl.constexpr):
    """Return the sum of `count` numbers, in a fixed order."""
    part = tl.zeros((SUMS,), tl.float32)
    start = 0
    # No `range`: Triton 3.6's interpreter fails on a bound known at run time.
    while start < count:
        i = start + tl.arange(0, SUMS)
        part += tl.load(parts + i, mask=i < count, other=0.0)
        start += SUMS
    return tl.sum(part, 0)


@triton.jit
def rate_at(rate, count, TOTAL: tl.constexpr):
    """Return the learning rate of update `count`, from 1; TOTAL > 0: cosine decay."""
    if TOTAL > 0:
        rate *= _cosine_decay(count - 1, TOTAL)
    return rate


@triton.jit
def adam_block(
    i, end, parameter, gradient, first, second, average, norm, rate, count, follow,
    MAX_NORM: tl.constexpr, DECAY: tl.constexpr, BETA1: tl.constexpr, BETA2: tl.constexpr,
    LOG1: tl.constexpr, LOG2: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """Take the step of a seed's numbers i < end, and move their average; return both."""
    correct1 = _one_less_power(count.to(tl.float32), LOG1)
    correct2 = _one_less_power(count.to(tl.float32), LOG2)
    mask = i < end
    g = tl.load(gradient + i, mask=mask, other=0.0)
    if MAX_NORM > 0:
        g *= tl.minimum(MAX_NORM / (norm + 1e-6), 1.0)
    m = tl.load(first + i, mask=mask, other=0.0)
    v = tl.load(second + i, mask=mask, other=0.0)
    w = tl.load(parameter + i, mask=mask, other=0.0)
    mean = tl.load(average + i, mask=mask, other=0.0)
    m = BETA1 * m + (1 - BETA1) * g
    v = BETA2 * v + (1 - BETA2) * (g * g)
    if DECAY > 0:
        w *= 1.0 - rate * DECAY
    w -= (rate / correct1) * (m / (tl.sqrt_rn(v / correct2) + EPS))
    tl.store(first + i, m, mask=mask)
    tl.store(second + i, v, mask=mask)
    tl.store(parameter + i, w, mask=mask)
    mean += follow * (w - mean)
    tl.store(average + i, mean, mask=mask)
    return w, mean


@triton.jit(do_not_specialize=["P", "updates", "blocks"])
def _adam_kernel(
    parameter,  # [S, P], as are the next four, each with its own stride between seeds
    gradient,
    first,
    second,
    average,
    parameter_stride,
    gradient_stride,
    first_stride,
    second_stride,
    average_stride,
    sums,  # [S, blocks]
    norms,  # [S]
    rates,  # [S]
    frozen,  # [S] bytes, or unused
    updates,  # from 1, scalar or pointer
    ema_rate,  # pointer, read if EMA_RATE < 0
    blocks,
    P,
    FROZEN: tl.constexpr,
    EMA_RATE: tl.constexpr,
    MAX_NORM: tl.constexpr,
    TOTAL: tl.constexpr,
    DECAY: tl.constexpr,
    BETA1: tl.constexpr,
    BETA2: tl.constexpr,
    LOG1: tl.constexpr,
    LOG2: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK: tl.constexpr,
    SUMS: tl.constexpr,
):
    s = tl.program_id(1).to(tl.int64)
    norm = tl.sqrt_rn(total_of(sums + s * blocks, blocks, SUMS))
    if tl.program_id(0) == 0:
        tl.store(norms + s, norm)

    count = value(updates)
    follow = tl.load(ema_rate).to(tl.float32) if EMA_RATE < 0 else EMA_RATE
    # A seed that has diverged keeps its last parameters; other seeds are not affected.
    end = tl.where(norm < float("inf"), P, 0)
    if FROZEN:
        end = tl.where(tl.load(frozen + s) == 0, end, 0)
    adam_block(
        tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), end, parameter + s * parameter_stride,
        gradient + s * gradient_stride, first + s * first_stride, second + s * second_stride,
        average + s * average_stride, norm, rate_at(tl.load(rates + s), count, TOTAL), count,
        follow, MAX_NORM, DECAY, BETA1, BETA2, LOG1, LOG2, EPS,
    )  # fmt: skip


def constants(betas: tuple[float, float], eps: float, weight_decay: float) -> dict[str, float]:
    """Return Adam's settings as constants of `adam_block`."""
    logs = {"LOG1": math.log(betas[0]), "LOG2": math.log(betas[1])}
    return {"BETA1": betas[0], "BETA2": betas[1], "EPS": eps, "DECAY": weight_decay} | logs


def adam(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    average: Tensor,
    updates: int | Tensor,
    rate: Tensor,
    ema_rate: float | Tensor,
    max_norm: float | None = None,
    frozen: Tensor | None = None,
    decay_over: int | None = None,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Tensor:
    """Take one Adam step in place, move the moving average; return gradient norms [S].

    parameter, gradient, first, second, average: [S, P] float32, rows contiguous; updates: from 1,
    an integer or a 0-d integer tensor on the device; rate: [S]; ema_rate: a number or a 0-d tensor;
    max_norm: clip of a seed's norm; frozen: [S] bool, seeds that take no step; nor does a seed with
    a norm that is not finite; decay_over: length of a cosine decay of the rate, from update 1 on;
    weight_decay: the parameters first shrink by this share of the rate.
    The gradient is only read. Raises ValueError for another shape or type.
    """
    S, P = parameter.shape
    buffers = (parameter, gradient, first, second, average)
    for x in buffers:
        if x.shape != (S, P) or x.stride(1) != 1 or x.dtype != torch.float32:
            raise ValueError(f"every buffer must be [{S}, {P}] float32 with contiguous rows")
    if rate.shape != (S,) or (frozen is not None and frozen.shape != (S,)):
        raise ValueError(f"rate and frozen hold one value for each of {S} seeds")
    blocks, constant_rate = triton.cdiv(P, BLOCK), not isinstance(ema_rate, Tensor)
    sums = torch.empty((S, blocks), dtype=torch.float32, device=parameter.device)
    norms = torch.empty((S,), dtype=torch.float32, device=parameter.device)
    with torch.cuda.device(parameter.get_device()):
        _squares_kernel[(blocks, S)](
            gradient, gradient.stride(0), sums, P, BLOCK=BLOCK, num_warps=4, enable_fp_fusion=True
        )
        _adam_kernel[(blocks, S)](
            *buffers, *(x.stride(0) for x in buffers), sums, norms, rate.contiguous(),
            sums if frozen is None else frozen.view(torch.uint8), updates,
            sums if constant_rate else ema_rate, blocks, P, FROZEN=frozen is not None,
            EMA_RATE=ema_rate if constant_rate else -1.0, MAX_NORM=max_norm or 0.0,
            TOTAL=decay_over or 0, BLOCK=BLOCK, SUMS=SUMS, num_warps=4, enable_fp_fusion=True,
            **constants(betas, eps, weight_decay),
        )  # fmt: skip
    return norms
