"""Flow matching on straight lines, and the one-step losses of FQL and SSCQL.

Time runs from 0 (noise) to 1 (action): x_t = (1 - t) z + t a, with velocity a - z. Losses are means
over batch and action dimensions, as those authors take them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def bridge(z: Tensor, a: Tensor, t: Tensor) -> Tensor:
    """Return x_t = (1 - t) z + t a, [S, B, A]."""
    t = t[..., None]
    return (1.0 - t) * z + t * a


def velocity_loss(velocity: Tensor, z: Tensor, a: Tensor) -> Tensor:
    """Return the flow loss of FQL (eq. 6) and SSCQL: [S].

    Mean |v(s, x_t, t) - (a - z)|^2.
    """
    return (velocity - (a - z)).square().mean((-2, -1))


def euler_times(steps: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the times k / K of K Euler steps from 0 to 1: [K]."""
    return torch.arange(steps, dtype=dtype, device="cpu") / steps


def euler(velocity: Callable[[Tensor, Tensor], Tensor], z: Tensor, steps: int) -> Tensor:
    """Carry z to an action by K Euler steps, clipped at the end.

    velocity(x, t) -> [S, B, A], t of shape [].
    """
    x = z
    for t in euler_times(steps, z.dtype):
        x = x + velocity(x, t) / steps
    return x.clamp(-1.0, 1.0)


def distillation_loss(action: Tensor, target: Tensor) -> Tensor:
    """Return mean |mu(s, z) - target|^2 (FQL eq. 8): [S].

    The target, the flow's action from the same z, gets no gradient.
    """
    return (action - target.detach()).square().mean((-2, -1))


def completion(x_t: Tensor, output: Tensor, t: Tensor) -> Tensor:
    """Return the action that one step completes: [S, B, A].

    x_t + (1 - t) h(s, x_t, t, 1 - t).
    """
    return x_t + (1.0 - t)[..., None] * output


def completion_loss(completed: Tensor, a: Tensor) -> Tensor:
    """Return mean |a_hat - a|^2 (SSCQL's completion loss): [S]."""
    return (completed - a).square().mean((-2, -1))


def policy_value_loss(values: Tensor, normalised: bool) -> Tensor:
    """Return -mean Q of the policy's own actions, Q the mean of the twins: [S].

    values: [twins, S, B]. normalised: divide by mean |Q|, without gradient, so that the scale of
    rewards drops out.
    """
    q = values.mean(0)
    loss = -q.mean(-1)
    return loss / q.detach().abs().mean(-1) if normalised else loss
