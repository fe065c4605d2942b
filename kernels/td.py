"""The TD loss of a double-Q critic, or of one critic, and its gradient (eq. 16)."""

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
    DISCOUNT: tl.constexpr, TWINS: tl.constexpr = 2,
):  # fmt: skip
    """Return the TD target at `row` of a seed; following: [TWINS, M B], target values."""
    at0 = following + row
    # A single critic is its own twin.
    at1 = at0 + (TWINS - 1) * M * B
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
    values,  # [S, TWINS, B]
    following,  # [S, TWINS, M B]
    reward,  # [S, B]
    mask,  # [S, B]
    reward_seed,
    reward_row,
    mask_seed,
    mask_row,
    loss,  # [S]
    gradient,  # [S, TWINS, B]
    B,
    M: tl.constexpr,
    DISCOUNT: tl.constexpr,
    TWINS: tl.constexpr,
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
            following + s * TWINS * M * B, reward + s * reward_seed, reward_row,
            mask + s * mask_seed, mask_row, row, live, B, M, DISCOUNT, TWINS,
        )  # fmt: skip
        slope = tl.div_rn(2.0, B.to(tl.float32))
        squares = tl.zeros((BLOCK,), tl.float32)
        for twin in tl.static_range(TWINS):
            at = (s * TWINS + twin) * B + row
            d = tl.load(values + at, mask=live, other=0.0) - target
            squares += d * d
            tl.store(gradient + at, slope * d, mask=live)
        total += tl.where(live, squares, 0.0)
        start += BLOCK
    tl.store(loss + s, tl.sum(total, 0) / B)


def td_loss(
    values: Tensor, following: Tensor, reward: Tensor, mask: Tensor, discount: float
) -> tuple[Tensor, Tensor]:
    """Return (loss [S], d loss / d values [S, T, B]) (eq. 16).

    values: [S, T, B], Q of T = 2 twins or of one critic; following: [S, T, m B], their target
    networks at m next actions of each row, the best of them counts; reward and mask: [S, B], of any
    strides. The loss is the sum over twins of the batch mean of (Q - target)^2, target = r +
    discount mask min over twins. Raises ValueError for another shape.
    """
    S, twins, B = values.shape
    if twins not in (1, 2) or following.shape[:2] != (S, twins) or following.shape[2] % B:
        raise ValueError(f"values {list(values.shape)} and {list(following.shape)} do not fit")
    if reward.shape != (S, B) or mask.shape != (S, B):
        raise ValueError(f"reward and mask must be [{S}, {B}]")
    loss = torch.empty((S,), dtype=torch.float32, device=values.device)
    gradient = torch.empty((S, twins, B), dtype=torch.float32, device=values.device)
    with torch.cuda.device(values.get_device()):
        _td_kernel[(S,)](
            values.contiguous(), following.contiguous(), reward, mask, *reward.stride(),
            *mask.stride(), loss, gradient, B, M=following.shape[2] // B, DISCOUNT=discount,
            TWINS=twins, BLOCK=_BLOCK, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return loss, gradient
