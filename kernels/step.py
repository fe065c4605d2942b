"""The end of a learner's pass in one launch.

It sums the losses, takes the norm of each seed's gradient and Adam's step, moves the moving average
and notes the seeds that diverged.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .adam import BLOCK, SUMS, adam_block, constants, rate_at, total_of
from .philox import value
from .tally import finite

_PARTS = 64


@triton.jit(do_not_specialize=["P", "step", "blocks", "parts"])
def _step_kernel(
    parameter,  # [S, P], as are the next four
    gradient,
    first,
    second,
    average,
    sums,  # [S, blocks], of squares of the gradient
    losses,  # [TERMS, S, parts]
    terms,  # [TERMS, S]: their sums
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
    sound = finite(norm)
    for k in tl.static_range(TERMS):
        loss = total_of(losses + (k * seeds + s) * parts, parts, PARTS)
        sound &= finite(loss)
        if writes:
            tl.store(terms + k * seeds + s, loss)

    now = value(step)
    # Another program of the seed may have written this step already, after the same test.
    before = tl.load(diverged + s)
    if writes:
        tl.store(norms + s, norm)
        if (before < 0) & (sound == 0):
            tl.store(diverged + s, now.to(tl.int64))
    # A seed that has diverged keeps its last parameters; other seeds are not affected.
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
    """Take one Adam step of every seed in place, and move the moving average.

    buffers: parameter, gradient, first, second, average, [S, P] float32 contiguous; sums: [S, n],
    partial sums of a seed's squared gradient; losses: [terms, S, parts], summed into `terms`
    [terms, S]; norms: [S], output; diverged: [S] int64, the first step at which a seed's loss or
    norm was not finite, -1 before: such a seed takes no step; step: from 0, an integer or a 0-d
    integer tensor on the device; rate: [S]; decay_over: length of its cosine decay. Raises
    ValueError for another shape of the buffers.
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
