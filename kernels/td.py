"""What joins the passes of a double-Q critic: TD loss with gradient, and advantage weights."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024
_NAN = tl.constexpr(tl.PropagateNan.ALL)


@triton.jit
def _least(values, apart, row, live):
    """Return the lesser of both twins at `row`; apart: from one twin to the other."""
    q0, q1 = (
        tl.load(values + row, mask=live, other=0.0),
        tl.load(values + apart + row, mask=live, other=0.0),
    )
    return tl.minimum(q0, q1, propagate_nan=_NAN)


@triton.jit
def td_target(
    following, reward, reward_row, mask, mask_row, row, live, B, M: tl.constexpr,
    DISCOUNT: tl.constexpr,
):  # fmt: skip
    """Return the TD target at `row` of a seed, whose target values are [2, M B]."""
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
    # One program walks all rows of a seed, so the order of the sum is fixed.
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


@triton.jit
def _advantage(data, policy, data_apart, policy_apart, row, live, B, M: tl.constexpr):
    """Return (Q(s, a), A) at `row` of a seed; data: [2, B] values of the data's actions, policy:
    [2, M B] values of policy actions, whose mean is V(s).
    """
    q = _least(data, data_apart, row, live)
    v = _least(policy, policy_apart, row, live)
    for i in tl.range(1, M):
        v += _least(policy, policy_apart, row + i * B, live)
    return q, q - v / M


@triton.jit
def spread_of(data, policy, data_apart, policy_apart, B, M: tl.constexpr, BLOCK: tl.constexpr):
    """Return (mean Q, standard deviation of A) over the rows of a seed, as `_advantage` has it."""
    total, total_q = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    start = 0
    while start < B:
        row = start + tl.arange(0, BLOCK)
        q, a = _advantage(data, policy, data_apart, policy_apart, row, row < B, B, M)
        total, total_q = total + a, total_q + q
        start += BLOCK
    mean = tl.sum(total, 0) / B

    # A second pass: the difference of two sums would lose the variance of a small advantage.
    squares = tl.zeros((BLOCK,), tl.float32)
    start = 0
    while start < B:
        row = start + tl.arange(0, BLOCK)
        _, a = _advantage(data, policy, data_apart, policy_apart, row, row < B, B, M)
        squares += tl.where(row < B, (a - mean) * (a - mean), 0.0)
        start += BLOCK
    return tl.sum(total_q, 0) / B, tl.sqrt_rn(tl.sum(squares, 0) / B)


@triton.jit
def weight_at(
    data, policy, data_apart, policy_apart, strength, spread, row, live, B, M: tl.constexpr,
    CEILING: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """Return the advantage weight at `row` of a seed."""
    _, a = _advantage(data, policy, data_apart, policy_apart, row, live, B, M)
    gain = strength * tl.maximum(a, 0.0, propagate_nan=_NAN)
    exponent = tl.div_rn(gain, tl.zeros_like(gain) + (spread + EPS))
    if CEILING > 0:
        exponent = tl.minimum(exponent, CEILING, propagate_nan=_NAN)
    return tl.exp(exponent)


@triton.jit
def weights_of_seed(
    data, policy, data_apart, policy_apart, strength, spread, mean_q, w, metrics, apart, B,
    M: tl.constexpr, CEILING: tl.constexpr, EPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the weights w [B] of a seed, and its four statistics `apart` from each other."""
    total_w, most = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    start = 0
    while start < B:
        row = start + tl.arange(0, BLOCK)
        live = row < B
        weight = weight_at(
            data, policy, data_apart, policy_apart, strength, spread, row, live, B, M, CEILING, EPS
        )
        tl.store(w + row, weight, mask=live)
        weight = tl.where(live, weight, 0.0)
        total_w, most = total_w + weight, tl.maximum(most, weight, propagate_nan=_NAN)
        start += BLOCK
    tl.store(metrics, mean_q)
    tl.store(metrics + apart, spread)
    tl.store(metrics + 2 * apart, tl.sum(total_w, 0) / B)
    tl.store(metrics + 3 * apart, tl.max(most, 0))


@triton.jit(do_not_specialize=["B"])
def _weights_kernel(
    values,  # [S, 2, (1 + M) B], the data's actions first
    eta,  # [S]
    w,  # [S, B]
    metrics,  # [4, S]
    B,
    M: tl.constexpr,
    CEILING: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    s = tl.program_id(0).to(tl.int64)
    apart = (1 + M) * B
    data = values + s * 2 * apart
    mean_q, spread = spread_of(data, data + B, apart, apart, B, M, BLOCK)
    weights_of_seed(
        data, data + B, apart, apart, tl.load(eta + s), spread, mean_q, w + s * B, metrics + s,
        tl.num_programs(0), B, M, CEILING, EPS, BLOCK,
    )  # fmt: skip


def td(
    values: Tensor, following: Tensor, reward: Tensor, mask: Tensor, discount: float
) -> tuple[Tensor, Tensor]:
    """Return (loss [S], d loss / d values [S, 2, B]) of the double-Q loss (eq. 16).

    values: [S, 2, B], Q of both twins; following: [S, 2, m B], their target networks at m next
    actions a row, of which the best backs up; reward and mask: [S, B], of any strides. The loss is
    the sum over twins of the batch mean of (Q - target)^2, target = r + discount mask min over
    twins. Raises ValueError when a shape is not of these.
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


class Weights(NamedTuple):
    """Advantage weights w [S, B], and of each seed [S]: mean Q, std of A, mean and largest w."""

    w: Tensor
    q: Tensor
    spread: Tensor
    mean: Tensor
    largest: Tensor


def weights(
    values: Tensor, eta: Tensor, rows: int, maximum: float | None = 100.0, eps: float = 1e-6
) -> Weights:
    """Weigh a batch by advantage, w = exp(eta max(0, A) / (std A + eps)) (eq. 14).

    values: [S, 2, (1 + m) B], Q of both twins at the data's actions and then at m policy actions of
    each state, whose mean is V(s); eta: [S]; rows: B; maximum: clamp of w, or None. Raises
    ValueError when a shape is not of these.
    """
    S, twins, total = values.shape
    if twins != 2 or total % rows or total < 2 * rows or eta.shape != (S,):
        raise ValueError(
            f"values {list(values.shape)} do not hold (1 + m) x {rows} rows of 2 twins"
        )
    w = torch.empty((S, rows), dtype=torch.float32, device=values.device)
    metrics = torch.empty((4, S), dtype=torch.float32, device=values.device)
    with torch.cuda.device(values.get_device()):
        _weights_kernel[(S,)](
            values.contiguous(), eta.contiguous(), w, metrics, rows, M=total // rows - 1,
            CEILING=math.log(maximum) if maximum else 0.0, EPS=eps, BLOCK=_BLOCK, num_warps=4,
            enable_fp_fusion=True,
        )  # fmt: skip
    return Weights(w, *metrics.unbind(0))
