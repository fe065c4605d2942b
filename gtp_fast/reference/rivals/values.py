"""Value targets and value losses of the rivals."""

from __future__ import annotations

import torch
from torch import Tensor


def softmax(values: Tensor) -> Tensor:
    """Return the softmax over the m actions of a state: [S, m, B].

    Not torch.softmax: on a CPU its rounding of a seed depends on the seed's place in the tensor.
    """
    powers = torch.exp(values - values.amax(1, keepdim=True))
    return powers / powers.sum(1, keepdim=True)


def softmax_value(values: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    """Return sum_j softmax_j(temperature Q_j) Q_j over the m actions of a state: [S, B].

    values: [S, m, B].
    """
    return (softmax(temperature * values) * values).sum(1)


def scaled_target(target: Tensor, eps: float = 1e-6) -> Tensor:
    """Divide the target by its batch standard deviation (Consistency-AC's q_norm): [S, B]."""
    return target / (target.std(-1, keepdim=True) + eps)


def expectile_loss(value: Tensor, target: Tensor, expectile: float) -> Tensor:
    """Return IQL's expectile loss (eq. 5): [S].

    Batch mean of |expectile - 1(d < 0)| d^2, d = target - V.
    """
    d = target.detach() - value
    # torch.where of two Python numbers would be float32, whatever the dtype of the values.
    return torch.where(d < 0, (1.0 - expectile) * d.square(), expectile * d.square()).mean(-1)


def guidance_loss(values: Tensor, scale: Tensor) -> Tensor:
    """Return -mean Q_i / mean |Q_j|, Diffusion-QL's L_q: [S].

    values, scale: Q_i and Q_j [S, B] of the policy's own actions. No gradient through the divisor.
    """
    return -values.mean(-1) / scale.detach().abs().mean(-1)
