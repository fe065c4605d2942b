"""The advantage weights (eq. 14)."""

from __future__ import annotations

import torch
from torch import Tensor

ADVANTAGE_SCALES = ("std", "mad")
_NORMAL = 1.4826
"""Standard deviation of a normal law over its median absolute deviation."""


def weigh(
    values: Tensor,
    eta: Tensor,
    rows: int,
    maximum: float | None = 100.0,
    scale: str = "std",
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return w [S, B] (eq. 14) and its four statistics, [S] each.

    Mean Q, scale of A, mean w, largest w. values: [twins, S, (1 + m) B], Q of B data actions, then
    of m policy actions of each state; the mean over these m is V(s). Q is the twins' minimum. eta:
    [S]; rows: B; maximum, scale: as in `advantage_weights`.
    """
    q = values.amin(0)
    data, policy = q[:, :rows], q[:, rows:].reshape(len(q), -1, rows)
    advantage = data - policy.mean(1)
    w = advantage_weights(advantage, eta, maximum=maximum, scale=scale)
    return w, data.mean(1), advantage_scale(advantage, scale)[:, 0], w.mean(1), w.amax(1)


def advantage_scale(advantage: Tensor, kind: str = "std") -> Tensor:
    """Return the scale of A [S, B] over the batch: [S, 1].

    std: standard deviation (eq. 14). mad: 1.4826 times the median absolute deviation from the
    median, which is the same for a normal law and does not feel its tails; of an even number the
    lower middle one is the median.
    """
    if kind == "std":
        return advantage.std(-1, correction=0, keepdim=True)
    if kind == "mad":
        middle = advantage.median(-1, keepdim=True).values
        return _NORMAL * (advantage - middle).abs().median(-1, keepdim=True).values
    raise ValueError(f"advantage_scale is one of {', '.join(ADVANTAGE_SCALES)}, not {kind!r}")


def advantage_weights(
    advantage: Tensor,
    eta: Tensor | float,
    eps: float = 1e-6,
    maximum: float | None = 100.0,
    scale: str = "std",
) -> Tensor:
    """Return w = exp(eta max(0, A) / (std A + eps)) (eq. 14): [S, B].

    The standard deviation is that of A over the batch, before the clamp at 0; scale: another
    `advantage_scale` in its place. eta: a number or [S]. maximum: clamp of w, applied to the
    exponent so that it cannot overflow; None for the paper's strict form, which may return
    infinity.
    """
    eta = torch.as_tensor(eta, dtype=advantage.dtype, device=advantage.device).reshape(-1, 1)
    deviation = advantage_scale(advantage, scale)
    exponent = eta * torch.clamp(advantage, min=0.0) / (deviation + eps)
    if maximum is not None:
        # Made on the device: a CUDA graph cannot capture a copy from the host.
        ceiling = torch.full_like(deviation, maximum).log()
        exponent = torch.minimum(exponent, ceiling)
    return torch.exp(exponent)
