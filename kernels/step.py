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
from .dense import to_bf16
from .philox import value
from .tally import Account, check_totals, finite, tally_cells

_PIECES = 64


@triton.jit
def _sum_of_parts(parts, i, SPLIT: tl.constexpr, PARTS: tl.constexpr):
    """Return the sums of numbers i of parts [PARTS, SPLIT], 0 beyond them."""
    total = tl.load(parts + i, mask=i < SPLIT, other=0.0)
    for part in tl.static_range(1, PARTS):
        total += tl.load(parts + part * SPLIT + i, mask=i < SPLIT, other=0.0)
    return total


@triton.jit
def _squares_of_parts(parts, SPLIT: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr):
    """Return the sum of the squares of the sums of parts."""
    squares = tl.zeros((BLOCK,), tl.float32)
    for start in tl.static_range(0, SPLIT, BLOCK):
        total = _sum_of_parts(parts, start + tl.arange(0, BLOCK), SPLIT, PARTS)
        squares += total * total
    return tl.sum(squares, 0)


@triton.jit(do_not_specialize=["P", "step", "blocks", "pieces"])
def _step_kernel(
    parameter,  # [S, P], as are the next four
    gradient,
    first,
    second,
    average,
    copied,  # copies of parameter and average by `dense.aligned_rows`, or None
    copied_average,
    copy_stride,
    parts,  # [S, PARTS, SPLIT]: their sum is the gradient of the first SPLIT numbers; or None
    sums,  # [S, blocks], of squares of the gradient
    losses,  # [TERMS, S, pieces]
    terms,  # [TERMS, S]: their sums
    norms,  # [S]
    rates,  # [S]
    diverged,  # [S]: the step at which a seed diverged, or -1
    account,  # what adds the metrics up, or None; the step is one ahead then
    step,  # from 0, scalar or pointer
    blocks,
    pieces,
    P,
    ROW: tl.constexpr,  # of the copies
    SPLIT: tl.constexpr,
    PARTS: tl.constexpr,
    TERMS: tl.constexpr,
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
    PIECES: tl.constexpr,
    COUNT: tl.constexpr,  # rows of the metrics
    LOSSES: tl.constexpr,  # of them
    CELLS: tl.constexpr,
):
    s, seeds = tl.program_id(1).to(tl.int64), tl.num_programs(1)
    writes = tl.program_id(0) == tl.num_programs(0) - 1
    squares = total_of(sums + s * blocks, blocks, SUMS)
    at = s * P
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if parts is not None:
        parts += s * PARTS * SPLIT
        squares += _squares_of_parts(parts, SPLIT, PARTS, SUMS)
        if tl.program_id(0) * BLOCK < SPLIT:
            tl.store(gradient + at + i, _sum_of_parts(parts, i, SPLIT, PARTS), mask=i < SPLIT)
            # Read again below.
            tl.debug_barrier()
    norm = tl.sqrt_rn(squares)
    sound = finite(norm)
    if account is not None:
        metric_row = tl.arange(0, CELLS)
        cell = metric_row * seeds + s
        counts = metric_row < tl.where(writes, COUNT, 0)
        metric = tl.load(account.metrics + cell, mask=counts, other=0.0)
        # What this launch writes itself is not in memory yet.
        metric = tl.where(metric_row == account.norm, norm, metric)
    for k in tl.static_range(TERMS):
        loss = total_of(losses + (k * seeds + s) * pieces, pieces, PIECES)
        sound &= finite(loss)
        if writes:
            tl.store(terms + k * seeds + s, loss)
        if account is not None:
            metric = tl.where(metric_row == account.terms + k, loss, metric)

    now = value(step)
    if account is not None:
        now -= 1
    # Another program of the seed may have written this step already, after the same test.
    before = tl.load(diverged + s)
    if writes:
        tl.store(norms + s, norm)
        if (before < 0) & (sound == 0):
            tl.store(diverged + s, now.to(tl.int64))
    if account is not None:
        tally_cells(
            cell, counts, metric, account.total, account.limits, account.bad_step, now, seeds,
            LOSSES,
        )  # fmt: skip
    # A seed that has diverged keeps its last parameters; other seeds are not affected.
    end = tl.where(sound & (before < 0), P, 0)
    count = now + 1
    w, mean = adam_block(
        i, end, parameter + at, gradient + at,
        first + at, second + at, average + at, norm, rate_at(tl.load(rates + s), count, TOTAL),
        count, EMA_RATE, MAX_NORM, DECAY, BETA1, BETA2, LOG1, LOG2, EPS,
    )  # fmt: skip
    if copied is not None:
        place = (s * (P // ROW) + i // ROW) * copy_stride + i % ROW
        if copied.dtype.element_ty == tl.bfloat16:
            w, mean = to_bf16(w), to_bf16(mean)
        tl.store(copied + place, w, mask=i < end)
        tl.store(copied_average + place, mean, mask=i < end)


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
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
    parts: Tensor | None = None,
    copies: tuple[Tensor, Tensor] | None = None,
    account: Account | None = None,
) -> None:
    """Take one Adam step of every seed in place, and move the moving average.

    buffers: parameter, gradient, first, second, average, [S, P] float32 contiguous; sums: [S, n],
    partial sums of a seed's squared gradient; losses: [terms, S, parts], summed into `terms`
    [terms, S]; norms: [S], output; diverged: [S] int64, the first step at which a seed's loss or
    norm was not finite, -1 before: such a seed takes no step; step: from 0, an integer or a 0-d
    integer tensor on the device; rate: [S]; decay_over: length of its cosine decay; weight_decay:
    as in `adam`; parts: [S, n, m], whose n sums are still to be written as the gradient's first m
    numbers, and are not in `sums`; copies: of parameter and average by `dense.aligned_rows`, which
    follow; account: totals that the update's metrics are added to; `step` is a tensor that
    `actor_gradients` has advanced then.
    Raises ValueError for another shape of the buffers.
    """
    S, P = buffers[0].shape
    if any(x.shape != (S, P) or not x.is_contiguous() for x in buffers):
        raise ValueError(f"every buffer must be [{S}, {P}] float32, contiguous")
    count, _, pieces = losses.shape
    summands, split = (1, 0) if parts is None else parts.shape[1:]
    copied, row = ((None, None, 0), P) if copies is None else _copied(*copies)
    rows, judged = (0, 0) if account is None else _counted(account)
    # What accounts has no parameters, for which it would make all others wait.
    programs = triton.cdiv(P, BLOCK) + (account is not None)
    with torch.cuda.device(rate.get_device()):
        _step_kernel[(programs, S)](
            *buffers, *copied, parts, sums, losses, terms, norms, rate, diverged, account,
            step, sums.shape[1], pieces, P, ROW=row, SPLIT=split, PARTS=summands, TERMS=count,
            EMA_RATE=ema_rate, MAX_NORM=max_norm or 0.0, TOTAL=decay_over or 0,
            BLOCK=BLOCK, SUMS=SUMS, PIECES=_PIECES, COUNT=rows, LOSSES=judged,
            CELLS=triton.next_power_of_2(max(1, rows)), num_warps=4, enable_fp_fusion=True,
            **constants(betas, eps, weight_decay),
        )  # fmt: skip


def _counted(account: Account) -> tuple[int, int]:
    """Return the numbers of metrics and of losses among them; ValueError for another shape."""
    check_totals(*account[:4])
    return len(account.metrics), len(account.limits)


def _copied(parameter: Tensor, average: Tensor) -> tuple[tuple[Tensor, Tensor, int], int]:
    """Return what the kernel takes of two copies, and the length of their rows."""
    if parameter.shape != average.shape or parameter.stride() != average.stride():
        raise ValueError("both copies have to be of one layout")
    return (parameter, average, parameter.stride(0)), parameter.shape[1]
