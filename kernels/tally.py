"""Metrics of an update added to their totals; the first bad step of each loss."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .philox import value

_CELLS = 512


@triton.jit
def finite(x):
    return (x == x) & (tl.abs(x) < float("inf"))


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
        inside, judged = i < COUNT * S, i < LOSSES * S
        x = tl.load(metrics + i, mask=inside, other=0.0)
        tl.store(total + i, tl.load(total + i, mask=inside, other=0.0) + x, mask=inside)
        sound = finite(x) & (tl.abs(x) <= tl.load(limits + i // S, mask=judged, other=0.0))
        before = tl.load(bad_step + i, mask=judged, other=0)
        fresh = judged & (before < 0) & (sound == 0)
        tl.store(bad_step + i, 0 * before + now.to(tl.int64), mask=fresh)
        start += BLOCK
    if ADVANCE:
        tl.debug_barrier()
        tl.store(step, now + 1)


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
    loss was not finite or above its limit [losses], -1 before; advance: increment `step`, a 0-d
    int64 tensor on the device. Raises ValueError for another shape.
    """
    count, S = metrics.shape
    losses = limits.shape[0]
    if total.shape != (count, S) or bad_step.shape != (losses, S) or losses > count:
        raise ValueError(f"totals of {count} metrics and {losses} losses do not fit {S} seeds")
    with torch.cuda.device(metrics.get_device()):
        _tally_kernel[(1,)](
            metrics.contiguous(), total, limits, bad_step, step, S, COUNT=count, LOSSES=losses,
            ADVANCE=advance, BLOCK=_CELLS, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
