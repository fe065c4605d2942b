"""The double-Q critic (eq. 16)."""

from __future__ import annotations

from torch import Tensor


def td_target(
    reward: Tensor, mask: Tensor, next_values: Tensor, discount: Tensor | float
) -> Tensor:
    """Return r + gamma (1 - done) min_i Q_i(s', a') (eq. 16): [S, B]; next_values: [twins, S, B].

    mask is 1 - done and stays 1 at a time-out, so that a truncated episode still bootstraps.
    """
    return reward + discount * mask * next_values.amin(0)


def double_q_loss(values: Tensor, target: Tensor) -> Tensor:
    """Return sum over twins of the batch mean of (target - Q_j)^2 (eq. 16): [S]; values: [twins, S,
    B].
    """
    return (values - target.detach()).square().mean(-1).sum(0)
