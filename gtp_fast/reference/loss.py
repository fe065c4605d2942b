"""The losses of the actor and the advantage weights (eq. 14, 17, 18)."""

from __future__ import annotations

import torch
from torch import Tensor

from gtp_fast.reference.flow_map import clean_action
from gtp_fast.reference.perturb import Perturbation


def consistency_residual(d_t: Tensor, d_u: Tensor, q_t: Tensor, q_u: Tensor) -> Tensor:
    """Return Phi_theta(a_t, t, tau) - Phi_minus(a_u, u, tau) with the noise cancelled: [..., A].

    d_t = phi_theta - a and d_u = phi_minus - a. The direct difference of two numbers as large as
    tau z loses every digit in float32; q_t d_t - q_u d_u is the same quantity, since tau (t - u) /
    (t u) = q_t
    - q_u.
    """
    return q_t[..., None] * d_t - q_u[..., None] * d_u


def flow_map_loss(
    student: Tensor, teacher: Tensor, a: Tensor, p: Perturbation, w: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the w-weighted consistency loss and flow loss (eq. 17, 18), each [S]: sum over A, mean
    over B.

    student: [S, 2B, A] raw network outputs for the rows (t, tau), then (t, t); teacher: [S, B, A];
    a: [S, B, A]; w: [S, B]. Gradients flow to `student` alone.
    """
    first, second = student.to(p.a_t.dtype).chunk(2, 1)
    a, w = a.to(p.a_t.dtype), w.detach()
    d_t = clean_action(p.a_t, first, p.skip_t, p.out_t) - a
    d_u = clean_action(p.a_u, teacher.detach().to(p.a_t.dtype), p.skip_u, p.out_u) - a
    residual = consistency_residual(d_t, d_u, p.q_t, p.q_u)
    flow_residual = clean_action(p.a_t, second, p.skip_t, p.out_t) - a
    return (
        (w * residual.square().sum(-1)).mean(-1),
        (w * flow_residual.square().sum(-1)).mean(-1),
    )


def weigh(
    values: Tensor, eta: Tensor, rows: int, maximum: float | None = 100.0
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return w [S, B] (eq. 14) and of each seed, [S]: mean Q, std of A, mean w, largest w.

    values: [twins, S, (1 + m) B], Q of B data actions, then of m policy actions of each state,
    whose mean is V(s). The twins' minimum counts.
    """
    q = values.amin(0)
    data, policy = q[:, :rows], q[:, rows:].reshape(len(q), -1, rows)
    advantage = data - policy.mean(1)
    w = advantage_weights(advantage, eta, maximum=maximum)
    return w, data.mean(1), advantage.std(1, correction=0), w.mean(1), w.amax(1)


def advantage_weights(
    advantage: Tensor, eta: Tensor | float, eps: float = 1e-6, maximum: float | None = 100.0
) -> Tensor:
    """Return w = exp(eta max(0, A) / (std A + eps)) (eq. 14), [S, B]; std over the batch, raw A.

    eta: a number or [S]. maximum: clamp of w, applied to the exponent so that it cannot overflow;
    None for the paper's strict form, which may return infinity.
    """
    eta = torch.as_tensor(eta, dtype=advantage.dtype, device=advantage.device).reshape(-1, 1)
    spread = advantage.std(-1, correction=0, keepdim=True)
    exponent = eta * torch.clamp(advantage, min=0.0) / (spread + eps)
    if maximum is not None:
        # Made on the device: a copy from the host could not be recorded in a CUDA graph.
        ceiling = torch.full_like(spread, maximum).log()
        exponent = torch.minimum(exponent, ceiling)
    return torch.exp(exponent)
