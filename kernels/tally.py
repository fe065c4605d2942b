"""Metrics of an update added to their totals; the first bad step of each loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .philox import value

_CELLS = 512


@triton.jit
def finite(x):
    return (x == x) & (tl.abs(x) < float("inf"))


@triton.jit
def tally_cells(i, live, metric, total, limits, bad_step, now, S, LOSSES: tl.constexpr):
    """Add metrics to cells i of total [n, S]; note update `now` where a loss is bad first."""
    tl.store(total + i, tl.load(total + i, mask=live, other=0.0) + metric, mask=live)
    judged = live & (i < LOSSES * S)
    limit = tl.load(limits + i // S, mask=judged, other=0.0)
    before = tl.load(bad_step + i, mask=judged, other=0)
    sound = finite(metric) & (tl.abs(metric) <= limit)
    fresh = judged & (before < 0) & (sound == 0)
    tl.store(bad_step + i, 0 * before + now.to(tl.int64), mask=fresh)


@triton.jit(do_not_specialize=["step", "S"])
def _tally_kernel(
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
        metric = tl.load(metrics + i, mask=i < COUNT * S, other=0.0)
        tally_cells(i, i < COUNT * S, metric, total, limits, bad_step, now, S, LOSSES)
        start += BLOCK
    if ADVANCE:
        tl.debug_barrier()
        tl.store(step, now + 1)


class Account(NamedTuple):
    """Metrics of an update, and where a step of its last learner adds them, as `tally` does."""

    metrics: Tensor
    """[n, S]: all but those that the step writes are written before."""
    total: Tensor
    limits: Tensor
    bad_step: Tensor
    """As `tally` takes them."""
    terms: int
    """First row of the step's losses."""
    norm: int
    """Row of the step's norm."""


def check_totals(metrics: Tensor, total: Tensor, limits: Tensor, bad_step: Tensor) -> None:
    """Raise ValueError unless metrics [n, S] and their totals fit."""
    (count, S), losses = metrics.shape, limits.shape[0]
    if total.shape != (count, S) or bad_step.shape != (losses, S) or losses > count:
        raise ValueError(f"totals of {count} metrics and {losses} losses do not fit {S} seeds")


def tally(
    metrics: Tensor,
    total: Tensor,
    limits: Tensor,
    bad_step: Tensor,
    step: int | Tensor,
    advance: bool = False,
) -> None:
    """Add metrics [n, S] to total; note the first bad step of each loss.

    The first rows of metrics are the losses. bad_step: [losses, S] int64, the first step at which a
    loss was not finite or above its limit [losses], -1 before; advance: increment `step` if it is a
    0-d int64 tensor on the device. Raises ValueError for another shape.
    """
    check_totals(metrics, total, limits, bad_step)
    count, S = metrics.shape
    advance = advance and isinstance(step, Tensor)
    with torch.cuda.device(metrics.get_device()):
        _tally_kernel[(1,)](
            metrics.contiguous(), total, limits, bad_step, step, S, COUNT=count,
            LOSSES=len(limits), ADVANCE=advance, BLOCK=_CELLS, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
