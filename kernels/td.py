"""The TD loss of a double-Q critic and its gradient (eq. 16)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024
_NAN = tl.constexpr(tl.PropagateNan.ALL)


@triton.jit
def td_target(
    following, reward, reward_row, mask, mask_row, row, live, B, M: tl.constexpr,
    DISCOUNT: tl.constexpr,
):  # fmt: skip
    """Return the TD target at `row` of a seed; following: [2, M B], target values."""
    at0 = following + row
    at1 = at0 + M * B
    best0, best1 = tl.load(at0, mask=live, other=0.0), tl.load(at1, mask=live, other=0.0)
    for i in tl.range(1, M):
        next0 = tl.load(at0 + i * B, mask=live, other=0.0)
        next1 = tl.load(at1 + i * B, mask=live, other=0.0)
        best0 = tl.maximum(best0, next0, propagate_nan=_NAN)
        best1 = tl.maximum(best1, next1, propagate_nan=_NAN)
    best = tl.minimum(best0, best1, propagate_nan=_NAN)
    r = tl.load(reward + row * reward_row, mask=live, other=0.0)
    bootstraps = tl.load(mask + row * mask_row, mask=live, other=0.0)
    return r + DISCOUNT * bootstraps * best


@triton.jit(do_not_specialize=["B"])
def _td_kernel(
    values,  # [S, 2, B]
    following,  # [S, 2, M B]
    reward,  # [S, B]
    mask,  # [S, B]
    reward_seed,
    reward_row,
    mask_seed,
    mask_row,
    loss,  # [S]
    gradient,  # [S, 2, B]
    B,
    M: tl.constexpr,
    DISCOUNT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    s = tl.program_id(0).to(tl.int64)
    total = tl.zeros((BLOCK,), tl.float32)
    start = 0
    # One program reads all rows of a seed, so the order of the sum is fixed.
    while start < B:
        row = start + tl.arange(0, BLOCK)
        live = row < B
        target = td_target(
            following + s * 2 * M * B, reward + s * reward_seed, reward_row, mask + s * mask_seed,
            mask_row, row, live, B, M, DISCOUNT,
        )  # fmt: skip
        at = s * 2 * B + row
        d0 = tl.load(values + at, mask=live, other=0.0) - target
        d1 = tl.load(values + at + B, mask=live, other=0.0) - target
        total += tl.where(live, d0 * d0 + d1 * d1, 0.0)
        slope = tl.div_rn(2.0, B.to(tl.float32))
        tl.store(gradient + at, slope * d0, mask=live)
        tl.store(gradient + at + B, slope * d1, mask=live)
        start += BLOCK
    tl.store(loss + s, tl.sum(total, 0) / B)


def td_loss(
    values: Tensor, following: Tensor, reward: Tensor, mask: Tensor, discount: float
) -> tuple[Tensor, Tensor]:
    """Return (loss [S], d loss / d values [S, 2, B]) (eq. 16).

    values: [S, 2, B], Q of both twins; following: [S, 2, m B], their target networks at m next
    actions of each row, the best of them counts; reward and mask: [S, B], of any strides. The loss
    is the sum over twins of the batch mean of (Q - target)^2, target = r + discount mask min over
    twins. Raises ValueError for another shape.
    """
    S, twins, B = values.shape
    if twins != 2 or following.shape[:2] != (S, 2) or following.shape[2] % B:
        raise ValueError(f"values {list(values.shape)} and {list(following.shape)} do not fit")
    if reward.shape != (S, B) or mask.shape != (S, B):
        raise ValueError(f"reward and mask must be [{S}, {B}]")
    loss = torch.empty((S,), dtype=torch.float32, device=values.device)
    gradient = torch.empty((S, 2, B), dtype=torch.float32, device=values.device)
    with torch.cuda.device(values.get_device()):
        _td_kernel[(S,)](
            values.contiguous(), following.contiguous(), reward, mask, *reward.stride(),
            *mask.stride(), loss, gradient, B, M=following.shape[2] // B, DISCOUNT=discount,
            BLOCK=_BLOCK, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return loss, gradient
