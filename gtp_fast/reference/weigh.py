"""The advantage weights (eq. 14)."""

from __future__ import annotations

import torch
from torch import Tensor


def weigh(
    values: Tensor, eta: Tensor, rows: int, maximum: float | None = 100.0
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return w [S, B] (eq. 14) and its four statistics, [S] each.

    Mean Q, std of A, mean w, largest w. values: [twins, S, (1 + m) B], Q of B data actions, then of
    m policy actions of each state; the mean over these m is V(s). Q is the twins' minimum. eta:
    [S]; rows: B; maximum: as in `advantage_weights`.
    """
    q = values.amin(0)
    data, policy = q[:, :rows], q[:, rows:].reshape(len(q), -1, rows)
    advantage = data - policy.mean(1)
    w = advantage_weights(advantage, eta, maximum=maximum)
    return w, data.mean(1), advantage.std(1, correction=0), w.mean(1), w.amax(1)


def advantage_weights(
    advantage: Tensor, eta: Tensor | float, eps: float = 1e-6, maximum: float | None = 100.0
) -> Tensor:
    """Return w = exp(eta max(0, A) / (std A + eps)) (eq. 14): [S, B].

    The standard deviation is that of A over the batch, before the clamp at 0. eta: a number or [S].
    maximum: clamp of w, applied to the exponent so that it cannot overflow; None for the paper's
    strict form, which may return infinity.
    """
    eta = torch.as_tensor(eta, dtype=advantage.dtype, device=advantage.device).reshape(-1, 1)
    deviation = advantage.std(-1, correction=0, keepdim=True)
    exponent = eta * torch.clamp(advantage, min=0.0) / (deviation + eps)
    if maximum is not None:
        # Made on the device: a CUDA graph cannot capture a copy from the host.
        ceiling = torch.full_like(deviation, maximum).log()
        exponent = torch.minimum(exponent, ceiling)
    return torch.exp(exponent)
