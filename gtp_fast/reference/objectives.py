"""Other methods as choices of one flow map: the targets of Phi_theta(a_t, t, tau).

A point x at time r is kept as its displacement x - (a + r z), so that the noise, as large as T,
cancels in every residual (see `consistency_residual`). A jump takes a displacement delta to
`flow_map(delta, phi - a, t, s)`; the score approximation has displacement 0 at every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from gtp_fast.reference.flow_map import flow_map, jump
from gtp_fast.reference.grid import RHO

FLOW_WEIGHTS = ("none", "edm")
ORDERS = {"euler": 1, "heun": 2}
"""Order of each solver of the learned field."""
HUBER_SCALE = 0.00054

Offset = Callable[[Tensor, Tensor, Tensor], Tensor]
"""phi - a at a displacement [S, B, A], from time t to time s, both [S, B]: [S, B, A]."""


def solve(
    offset: Offset,
    delta: Tensor,
    t: Tensor,
    u: Tensor,
    steps: int,
    order: int = 1,
    floor: Tensor | float = 0.0,
) -> Tensor:
    """Return the displacement at u by a solver of the field: [S, B, A].

    The ODE is dx/dr = (x - phi(x, r, r)) / r, from t.

    Euler (order 1) or Heun (order 2) in `steps` steps, evenly spaced in r^(1/7). A Heun step that
    ends at time 0, where the field has no value, is an Euler step. No step starts below `floor`,
    the smallest time that a learned field has seen: from there it goes on in one.

    With a = z = 0 displacements are the points themselves and offset is phi: the K-step sampler of
    a flow-matching policy.
    """
    root_t, root_u = t ** (1 / RHO), u ** (1 / RHO)
    inner = [(root_t + i / steps * (root_u - root_t)) ** RHO for i in range(1, steps)]
    # Equal times make a step of length 0.
    inner = [
        torch.maximum(r, torch.as_tensor(floor, dtype=r.dtype, device=r.device)) for r in inner
    ]
    for r, s in pairwise((t, *inner, u)):
        d = offset(delta, r, r)
        ahead = flow_map(delta, d, r, s)
        if order == 2:
            safe = torch.where(s > 0, s, torch.ones_like(s))[..., None]
            slope = (delta - d) / r[..., None]
            second = (ahead - offset(ahead, s, s)) / safe
            heun = delta + 0.5 * (s - r)[..., None] * (slope + second)
            ahead = torch.where((s > 0)[..., None], heun, ahead)
        delta = ahead
    return delta


def half_jumps(offset: Offset, delta: Tensor, t: Tensor, m: Tensor, tau: Tensor) -> Tensor:
    """Return the displacement at tau after jumps to m and tau (Shortcut): [S, B, A].

    Where m = tau no node lies between t and tau: the jump is then the base case, one Euler step of
    phi(., t, t), which the flow loss teaches.
    """
    first = offset(delta, t, torch.where(m == tau, t, m))
    delta = flow_map(delta, first, t, m)
    return flow_map(delta, offset(delta, m, tau), m, tau)


def mean_flow_target(
    phi: Callable[[Tensor, Tensor], Tensor], a: Tensor, z: Tensor, t: Tensor, tau: Tensor
) -> Tensor:
    """Return the target phi* - a of the Mean Flow identity: [S, B, A].

    The average velocity (a_t - phi) / t must equal z - (t - tau) d/dt of itself along the line a +
    t z; solved for phi: phi* = r a + q phi - (t - tau) dphi/dt. phi: (a_t, t) -> [S, B, A]; the
    derivative is taken forward (torch.func.jvp) along (z, 1) and no gradient is kept.
    """
    with torch.no_grad():
        value, slope = torch.func.jvp(  # type: ignore[misc]
            phi, (a + t[..., None] * z, t), (z, torch.ones_like(t))
        )
        _, q = jump(t, tau)
        target: Tensor = q[..., None] * (value - a) - (t - tau)[..., None] * slope
        return target


def distance(residual: Tensor, huber: bool = False) -> Tensor:
    """Return the squared length of residuals [S, B, A], or pseudo-Huber of iCT: [S, B].

    Pseudo-Huber is sqrt(|d|^2 + c^2) - c with c = 0.00054 sqrt(A).
    """
    square = residual.square().sum(-1)
    if not huber:
        return square
    scale = HUBER_SCALE * math.sqrt(residual.shape[-1])
    # As a fraction: the difference of two numbers near c would lose the small residuals.
    return square / (torch.sqrt(square + scale * scale) + scale)


def flow_weight(t: Tensor, kind: str = "none", sigma_data: float = 0.5) -> Tensor:
    """Return the weight of the flow loss at time t, of t's shape.

    none: 1; edm: EDM's (t^2 + sd^2) / (t sd)^2.
    """
    if kind == "none":
        return torch.ones_like(t)
    if kind == "edm":
        return (t * t + sigma_data * sigma_data) / (t * sigma_data).square()
    raise ValueError(f"flow_weight is one of {', '.join(FLOW_WEIGHTS)}, not {kind!r}")
