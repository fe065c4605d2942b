"""Critics: the double-Q loss (eq. 16) and the targets that the agents regress on."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Aggregate = Literal["min", "mean"]


def aggregate(values: Tensor, how: Aggregate = "min") -> Tensor:
    """Return one value of the twins, [...], by their minimum or mean; values: [twins, ...]."""
    if how == "min":
        return values.amin(0)
    if how == "mean":
        return values.mean(0)
    raise ValueError(f"twins are aggregated by min or mean, not {how!r}")


def bellman(reward: Tensor, mask: Tensor, next_value: Tensor, discount: Tensor | float) -> Tensor:
    """Return r + gamma (1 - done) V(s'): [S, B].

    mask is 1 - done and stays 1 at a time-out, so that a truncated episode still bootstraps.
    """
    return reward + discount * mask * next_value


def td_target(
    reward: Tensor, mask: Tensor, next_values: Tensor, discount: Tensor | float
) -> Tensor:
    """Return r + gamma (1 - done) min_i Q_i(s', a') (eq. 16): [S, B]; next_values: [twins, S, B].

    mask is 1 - done and stays 1 at a time-out, so that a truncated episode still bootstraps.
    """
    return bellman(reward, mask, aggregate(next_values), discount)


def softmax(values: Tensor) -> Tensor:
    """Return the softmax over the m actions of a state: [S, m, B].

    Not torch.softmax, which on a CPU rounds a seed's numbers by where they lie among the others'.
    """
    powers = torch.exp(values - values.amax(1, keepdim=True))
    return powers / powers.sum(1, keepdim=True)


def softmax_value(values: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    """Return sum_j softmax_j(temperature Q_j) Q_j over the m actions of a state: [S, B]; values:
    [S, m, B].
    """
    return (softmax(temperature * values) * values).sum(1)


def scaled_target(target: Tensor, eps: float = 1e-6) -> Tensor:
    """Return the target over its batch deviation (Consistency-AC's q_norm): [S, B]."""
    return target / (target.std(-1, keepdim=True) + eps)


def double_q_loss(values: Tensor, target: Tensor) -> Tensor:
    """Return sum over twins of the batch mean of (target - Q_j)^2 (eq. 16): [S]; values: [twins, S,
    B].
    """
    return (values - target.detach()).square().mean(-1).sum(0)


def td_loss(
    values: Tensor, following: Tensor, reward: Tensor, mask: Tensor, discount: float
) -> Tensor:
    """Return the double-Q loss (eq. 16) towards the best of m next actions of each row: [S].

    values: [twins, S, B]; following: [twins, S, m B], target values of action i in rows i B ...;
    no gradient reaches them.
    """
    best = following.reshape(*following.shape[:2], -1, reward.shape[1]).amax(2)
    return double_q_loss(values, td_target(reward, mask, best, discount))


def expectile_loss(value: Tensor, target: Tensor, expectile: float) -> Tensor:
    """Return the batch mean of |expectile - 1(d < 0)| d^2, d = target - V (IQL's eq. 5): [S]."""
    d = target.detach() - value
    # Weights of two numbers alone would be float32 whatever the values are.
    return torch.where(d < 0, (1.0 - expectile) * d.square(), expectile * d.square()).mean(-1)


def guidance_loss(values: Tensor, scale: Tensor) -> Tensor:
    """Return -mean Q_i / mean |Q_j|, no gradient through the divisor (Diffusion-QL's L_q): [S].

    values, scale: [S, B], the critics' values of the policy's own actions.
    """
    return -values.mean(-1) / scale.detach().abs().mean(-1)
