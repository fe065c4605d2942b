"""Advantage weights of a batch (eq. 14), one program for each seed."""

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
def _larger(a, b):
    return tl.maximum(a, b, propagate_nan=_NAN)


@triton.jit
def _least(values, apart, row, live):
    """Return the lesser of both twins at `row`; apart: stride from twin to twin."""
    q0, q1 = (
        tl.load(values + row, mask=live, other=0.0),
        tl.load(values + apart + row, mask=live, other=0.0),
    )
    return tl.minimum(q0, q1, propagate_nan=_NAN)


@triton.jit
def _advantage(data, policy, data_apart, policy_apart, row, live, B, M: tl.constexpr):
    """Return (Q(s, a), A) at `row` of a seed.

    data: [2, B], values of the data's actions; policy: [2, M B], values of policy actions, V(s) is
    their mean.
    """
    q = _least(data, data_apart, row, live)
    v = _least(policy, policy_apart, row, live)
    for i in tl.range(1, M):
        v += _least(policy, policy_apart, row + i * B, live)
    return q, q - v / M


@triton.jit
def spread_of(data, policy, data_apart, policy_apart, B, M: tl.constexpr, BLOCK: tl.constexpr):
    """Return (mean Q, standard deviation of A) over the rows of a seed."""
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
    if CEILING is not None:
        exponent = tl.minimum(exponent, CEILING, propagate_nan=_NAN)
    return tl.exp(exponent)


@triton.jit
def write_weights(
    data, policy, data_apart, policy_apart, strength, spread, w, B, M: tl.constexpr,
    CEILING: tl.constexpr, EPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the weights w [B] of a seed; return their sums and largest ones, [BLOCK] each."""
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
    return total_w, most


@triton.jit
def weights_of_seed(
    data, policy, data_apart, policy_apart, strength, spread, mean_q, w, metrics, apart, B,
    M: tl.constexpr, CEILING: tl.constexpr, EPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the weights w [B] of a seed, and its four statistics at stride `apart`."""
    total_w, most = write_weights(
        data, policy, data_apart, policy_apart, strength, spread, w, B, M, CEILING, EPS, BLOCK
    )
    tl.store(metrics, mean_q)
    tl.store(metrics + apart, spread)
    tl.store(metrics + 2 * apart, tl.sum(total_w, 0) / B)
    tl.store(metrics + 3 * apart, tl.reduce(most, 0, _larger))


class Weighing(NamedTuple):
    """What the weights of a batch are computed of, and where they go."""

    data: Tensor
    """[2S, B], Q of both twins at the data's actions."""
    policy: Tensor
    """[2S, v B], Q at policy actions of the same states."""
    eta: Tensor
    """[S]"""
    w: Tensor
    """[S, B]"""
    statistics: Tensor
    """[4, S]: mean Q, standard deviation of A, mean and largest w."""


def weighing(data: Tensor, policy: Tensor, eta: Tensor, statistics: Tensor) -> Weighing:
    """Return what a kernel weighs by; data and policy: [2S, B, 1] and [2S, v B, 1].

    Raises ValueError for another shape.
    """
    G, B, _ = data.shape
    if policy.shape[0] != G or policy.shape[1] % B or eta.shape != (G // 2,):
        raise ValueError(f"values {list(data.shape)} and {list(policy.shape)} do not fit")
    w = torch.empty((G // 2, B), dtype=torch.float32, device=data.device)
    return Weighing(data, policy, eta, w, statistics)


def _ceiling(maximum: float | None) -> float | None:
    """Return the clamp of the exponent; None for none, since 0 is the clamp of w at 1."""
    return None if maximum is None else math.log(maximum)


def weighing_constants(
    given: Weighing | None, maximum: float | None, eps: float
) -> dict[str, float | None]:
    """Return the constants of a kernel that weighs; given: None where it does not."""
    rows, actions = (given.data.shape[1], given.policy.shape[1]) if given else (1, 1)
    return {
        "V": actions // rows, "CEILING": _ceiling(maximum), "EPS": eps,
        "BLOCK_W": min(_BLOCK, triton.next_power_of_2(rows)),
    }  # fmt: skip


@triton.jit(do_not_specialize=["B"])
def _weigh_kernel(
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


class Weights(NamedTuple):
    """Advantage weights and their statistics of each seed."""

    w: Tensor
    """[S, B]"""
    q: Tensor
    """Mean Q, [S], as the rest."""
    spread: Tensor
    """Standard deviation of A."""
    mean: Tensor
    """Mean w."""
    largest: Tensor
    """Largest w."""


def weigh(
    values: Tensor, eta: Tensor, rows: int, maximum: float | None = 100.0, eps: float = 1e-6
) -> Weights:
    """Weigh a batch by advantage (eq. 14).

    w = exp(eta max(0, A) / (std A + eps)). values: [S, 2, (1 + m) B], Q of both twins at the data's
    actions and then at m policy actions of each state, V(s) is their mean; eta: [S]; rows: B;
    maximum: clamp of w, or None. Raises ValueError for another shape.
    """
    S, twins, total = values.shape
    if twins != 2 or total % rows or total < 2 * rows or eta.shape != (S,):
        raise ValueError(
            f"values {list(values.shape)} do not hold (1 + m) x {rows} rows of 2 twins"
        )
    w = torch.empty((S, rows), dtype=torch.float32, device=values.device)
    metrics = torch.empty((4, S), dtype=torch.float32, device=values.device)
    with torch.cuda.device(values.get_device()):
        _weigh_kernel[(S,)](
            values.contiguous(), eta.contiguous(), w, metrics, rows, M=total // rows - 1,
            CEILING=_ceiling(maximum), EPS=eps, BLOCK=_BLOCK, num_warps=4,
            enable_fp_fusion=True,
        )  # fmt: skip
    return Weights(w, *metrics.unbind(0))
