"""The double-Q loss of the critics and its target (eq. 16)."""

from __future__ import annotations

from typing import Literal

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
    """Return r + gamma (1 - done) min_i Q_i(s', a') (eq. 16): [S, B].

    next_values: [twins, S, B]. mask is 1 - done and stays 1 at a time-out, so that a truncated
    episode still bootstraps.
    """
    return bellman(reward, mask, aggregate(next_values), discount)


def double_q_loss(values: Tensor, target: Tensor) -> Tensor:
    """Return the sum over twins of mean (target - Q_j)^2 (eq. 16): [S].

    values: [twins, S, B]; target: [S, B].
    """
    return (values - target.detach()).square().mean(-1).sum(0)


def td_loss(
    values: Tensor, next_values: Tensor, reward: Tensor, mask: Tensor, discount: float
) -> Tensor:
    """Return the double-Q loss (eq. 16) for the best of m next actions: [S].

    values: [twins, S, B]; next_values: [twins, S, m B], target values, those of action i in rows
    i B to (i + 1) B - 1; no gradient reaches them.
    """
    best = next_values.reshape(*next_values.shape[:2], -1, reward.shape[1]).amax(2)
    return double_q_loss(values, td_target(reward, mask, best, discount))
