"""The losses of the actor (eq. 17, 18)."""

from __future__ import annotations

from torch import Tensor

from gtp_fast.reference.flow_map import clean_action
from gtp_fast.reference.perturb import Perturbation


def consistency_residual(d_t: Tensor, d_u: Tensor, q_t: Tensor, q_u: Tensor) -> Tensor:
    """Return Phi_theta(a_t, t, tau) - Phi_minus(a_u, u, tau) with the noise cancelled: [..., A].

    d_t = phi_theta - a and d_u = phi_minus - a. The direct difference of two numbers as large as
    tau z loses every digit in float32; q_t d_t - q_u d_u is the same quantity, since
    tau (t - u) / (t u) = q_t - q_u.
    """
    return q_t[..., None] * d_t - q_u[..., None] * d_u


def flow_map_loss(
    student: Tensor, teacher: Tensor, a: Tensor, p: Perturbation, w: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the w-weighted consistency loss and flow loss (eq. 17, 18), [S] each.

    Sums over A, means over B. student: raw network outputs [S, 2B, A] for the rows (t, tau), then
    (t, t); teacher: outputs of the average network [S, B, A]; a: [S, B, A]; w: [S, B]. Gradients
    flow to `student` alone.
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
