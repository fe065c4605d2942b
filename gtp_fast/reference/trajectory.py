"""Guidance by whole episodes: rows of better episodes are drawn more often.

After Hong et al., "Harnessing mixed offline reinforcement learning datasets via trajectory
weighting", ICLR 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BANDWIDTHS = (0.03, 0.1, 0.3)
"""Squared bandwidths of the kernel, in median squared distances of first states."""
_RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0, 1e9)
_MOST = 512
"""Largest number of episodes in the fit of the regression."""


def trajectory_advantage(returns: Tensor, starts: Tensor) -> Tensor:
    """Return each episode's return minus that expected from its first state: [E] float64.

    returns: [E], or another score of an episode; starts: [E, O], first states. The expected return
    comes from a kernel ridge regression with the bandwidth and ridge of the least leave-one-out
    error. Episodes of the fit are predicted without themselves: a start that identifies its episode
    would otherwise explain its return. The result is divided by its standard deviation; it is zero
    where returns do not differ.
    """
    x, y = starts.double(), returns.double()
    mean, count = y.mean(), len(y)
    fit = torch.linspace(0, count - 1, min(count, _MOST), device=x.device).round().long()
    own, target = x[fit], y[fit] - mean
    # By a matrix product equal starts are not 0 apart: where all are one, its rounding would be the
    # unit of the bandwidth, and may explain returns by chance.
    between = torch.cdist(own, own, compute_mode="donot_use_mm_for_euclid_dist").square()
    unit = between[between > 0].median() if (between > 0).any() else between.new_ones(())
    error, advantage = target.square().mean(), y - mean
    for bandwidth in _BANDWIDTHS:
        scale = -0.5 / (bandwidth * unit)
        values, vectors = torch.linalg.eigh(torch.exp(scale * between))
        for ridge in _RIDGES:
            inverse = 1.0 / (values.clamp(min=0.0) + ridge)
            alpha = vectors @ (inverse * (vectors.T @ target))
            alone = alpha / (vectors.square() * inverse).sum(1)
            if alone.square().mean() < error:
                error = alone.square().mean()
                kernel = torch.exp(scale * torch.cdist(x, own).square())
                advantage = y - mean - kernel @ alpha
                advantage[fit] = alone
    spread = advantage.std(correction=0)
    if spread <= 1e-9 * (1.0 + y.abs().mean()):
        return torch.zeros_like(advantage)
    return advantage / spread


def trajectory_weights(
    advantage: Tensor, lengths: Tensor, eta: float, maximum: float, least_share: float = 0.0
) -> Tensor:
    """Return exp(eta max(0, A)), at most `maximum`, for trajectory advantages A [E].

    lengths: rows of each episode [E]. eta is lowered where the effective sample size of the rows
    would fall below their number times `least_share`.
    """

    def weights(strength: float) -> Tensor:
        return (strength * advantage.clamp(min=0.0)).exp().clamp(max=maximum)

    def keeps(strength: float) -> bool:
        w, n = weights(strength), lengths.double()
        share = (w * n).sum().square() / ((w.square() * n).sum() * n.sum())
        return bool(share >= least_share)

    if keeps(eta):
        return weights(eta)
    low, high = 0.0, eta
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return weights(low)
