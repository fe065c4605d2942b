"""The end of a learner's pass in one launch: its losses summed, the norm of each seed, Adam, the
moving average, and the seeds that diverged; and the end of an update.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .adam import BLOCK, SUMS, adam_block, constants, rate_at, total_of
from .philox import value

_PARTS, _CELLS = 64, 512


@triton.jit
def _finite(x):
    return (x == x) & (tl.abs(x) < float("inf"))


@triton.jit(do_not_specialize=["P", "step", "blocks", "parts"])
def _step_kernel(
    parameter,  # [S, P], as are the next four
    gradient,
    first,
    second,
    average,
    sums,  # [S, blocks], of squares of the gradient
    losses,  # [TERMS, S, parts]
    terms,  # [TERMS, S]: where their sums go
    norms,  # [S]
    rates,  # [S]
    diverged,  # [S]: the step at which a seed diverged, or -1
    step,  # from 0, scalar or pointer
    blocks,
    parts,
    P,
    TERMS: tl.constexpr,
    EMA_RATE: tl.constexpr,
    MAX_NORM: tl.constexpr,
    TOTAL: tl.constexpr,
    BETA1: tl.constexpr,
    BETA2: tl.constexpr,
    LOG1: tl.constexpr,
    LOG2: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK: tl.constexpr,
    SUMS: tl.constexpr,
    PARTS: tl.constexpr,
):
    s, seeds = tl.program_id(1).to(tl.int64), tl.num_programs(1)
    writes = tl.program_id(0) == 0
    norm = tl.sqrt_rn(total_of(sums + s * blocks, blocks, SUMS))
    sound = _finite(norm)
    for k in tl.static_range(TERMS):
        loss = total_of(losses + (k * seeds + s) * parts, parts, PARTS)
        sound &= _finite(loss)
        if writes:
            tl.store(terms + k * seeds + s, loss)

    now = value(step)
    # Another program of the seed may have written its step already: it found the same.
    before = tl.load(diverged + s)
    if writes:
        tl.store(norms + s, norm)
        if (before < 0) & (sound == 0):
            tl.store(diverged + s, now.to(tl.int64))
    # A seed that has diverged keeps its last parameters, and leaves the others alone.
    end = tl.where(sound & (before < 0), P, 0)
    count = now + 1
    at = s * P
    adam_block(
        tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), end, parameter + at, gradient + at,
        first + at, second + at, average + at, norm, rate_at(tl.load(rates + s), count, TOTAL),
        count, EMA_RATE, MAX_NORM, BETA1, BETA2, LOG1, LOG2, EPS,
    )  # fmt: skip


def take_step(
    buffers: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    sums: Tensor,
    losses: Tensor,
    terms: Tensor,
    norms: Tensor,
    rate: Tensor,
    diverged: Tensor,
    step: int | Tensor,
    ema_rate: float,
    max_norm: float | None,
    decay_over: int | None,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Take one Adam step of every seed in place, and move the average.

    buffers: parameter, gradient, first, second, average, [S, P] float32 contiguous; sums: [S, n],
    whose sum is the square of a seed's norm; losses: [terms, S, parts], whose sums go into `terms`
    [terms, S], as the norm goes into norms [S]; diverged: [S] int64, the step at which a seed's
    loss or norm was not finite, -1 before: such a seed stays as it is; step: from 0, an integer or
    a 0-d integer tensor on the device; decay_over: length of a cosine decay of the rate [S]. Raises
    ValueError when a buffer is not of these.
    """
    S, P = buffers[0].shape
    if any(x.shape != (S, P) or not x.is_contiguous() for x in buffers):
        raise ValueError(f"every buffer must be [{S}, {P}] float32, contiguous")
    count, _, parts = losses.shape
    with torch.cuda.device(rate.get_device()):
        _step_kernel[(triton.cdiv(P, BLOCK), S)](
            *buffers, sums, losses, terms, norms, rate, diverged, step, sums.shape[1], parts, P,
            TERMS=count, EMA_RATE=ema_rate, MAX_NORM=max_norm or 0.0, TOTAL=decay_over or 0,
            BLOCK=BLOCK, SUMS=SUMS, PARTS=_PARTS, num_warps=4, enable_fp_fusion=True,
            **constants(betas, eps),
        )  # fmt: skip


@triton.jit(do_not_specialize=["step", "S"])
def _account_kernel(
    metrics,  # [COUNT, S]
    total,  # [COUNT, S]
    limits,  # [LOSSES]
    bad_step,  # [LOSSES, S]
    step,  # scalar or pointer
    S,
    COUNT: tl.constexpr,
    LOSSES: tl.constexpr,
    ADVANCE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    now = value(step)
    start = 0
    while start < COUNT * S:
        i = start + tl.arange(0, BLOCK)
        inside, judged = i < COUNT * S, i < LOSSES * S
        x = tl.load(metrics + i, mask=inside, other=0.0)
        tl.store(total + i, tl.load(total + i, mask=inside, other=0.0) + x, mask=inside)
        sound = _finite(x) & (tl.abs(x) <= tl.load(limits + i // S, mask=judged, other=0.0))
        before = tl.load(bad_step + i, mask=judged, other=0)
        fresh = judged & (before < 0) & (sound == 0)
        tl.store(bad_step + i, 0 * before + now.to(tl.int64), mask=fresh)
        start += BLOCK
    if ADVANCE:
        tl.debug_barrier()
        tl.store(step, now + 1)


def account(
    metrics: Tensor,
    total: Tensor,
    limits: Tensor,
    bad_step: Tensor,
    step: int | Tensor,
    advance: bool = False,
) -> None:
    """Add metrics [n, S] to total, and note in bad_step [losses, S] int64 the first step at which a
    loss, of which the first rows are, was not finite or beyond its limit; limits: [losses].

    advance: count `step`, a 0-d int64 tensor on the device, one on. Raises ValueError when a shape
    is not of these.
    """
    count, S = metrics.shape
    losses = limits.shape[0]
    if total.shape != (count, S) or bad_step.shape != (losses, S) or losses > count:
        raise ValueError(f"totals of {count} metrics and {losses} losses do not fit {S} seeds")
    with torch.cuda.device(metrics.get_device()):
        _account_kernel[(1,)](
            metrics.contiguous(), total, limits, bad_step, step, S, COUNT=count, LOSSES=losses,
            ADVANCE=advance, BLOCK=_CELLS, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
