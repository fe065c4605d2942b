"""Cloning by regression, plain and weighted by advantage (AWR, as IQL extracts its policy)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def squared_error(predicted: Tensor, action: Tensor) -> Tensor:
    """Return the mean of |mu(s) - a|^2 over batch and dimensions: [S].

    predicted, action: [S, B, A].
    """
    return (predicted - action).square().mean((-2, -1))


def awr_weights(advantage: Tensor, beta: Tensor, maximum: float = 100.0) -> Tensor:
    """Return min(exp(beta A), maximum) [S, B], beta [S]; clamped before the exponential."""
    return torch.exp(torch.clamp(beta[:, None] * advantage, max=math.log(maximum)))


def gaussian_log_density(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return log N(a; mu, diag(sigma^2)) [S, B]; action, mean: [S, B, A]; log_std: [S, A]."""
    log_std = log_std[:, None]
    z = (action - mean) * torch.exp(-log_std)
    return (-0.5 * z.square() - log_std - 0.5 * math.log(2.0 * math.pi)).sum(-1)
