"""The law of (t, u, tau) and the score approximation (eq. 11, 17)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gtp_fast.reference import philox
from gtp_fast.reference.flow_map import jump, precondition
from gtp_fast.reference.grid import karras_nodes
from gtp_fast.reference.philox import Stream

U_MODES = ("adjacent", "uniform")
CONSISTENCY_WEIGHTS = ("none", "gap", "nodes")
LOGNORMAL = (-1.1, 2.0)
"""Mean and standard deviation of ln t in iCT's law of t."""


class Perturbation(NamedTuple):
    """What the two losses read of times and noise; fields as in `perturb`."""

    t: Tensor
    u: Tensor
    tau: Tensor
    z: Tensor
    a_t: Tensor
    a_u: Tensor
    r_t: Tensor
    q_t: Tensor
    r_u: Tensor
    q_u: Tensor
    skip_t: Tensor
    out_t: Tensor
    skip_u: Tensor
    out_u: Tensor
    student_x: Tensor
    student_levels: Tensor
    teacher_x: Tensor
    teacher_levels: Tensor


def consistency_weight(t: Tensor, u: Tensor, num_nodes: int | Tensor, kind: str = "none") -> Tensor:
    """Return the weight of the consistency loss of jumps from t and u, of t's shape.

    none: 1 (eq. 17); gap: 1 / (t - u), of improved consistency training; nodes: N - 1.
    """
    if kind == "none":
        return torch.ones_like(t)
    if kind == "gap":
        return (t - u).reciprocal()
    if kind == "nodes":
        return torch.ones_like(t) * (num_nodes - 1)
    raise ValueError(f"consistency_weight is one of {', '.join(CONSISTENCY_WEIGHTS)}, not {kind!r}")


def scaled_jumps(p: Perturbation, num_nodes: int | Tensor, kind: str = "none") -> Perturbation:
    """Return the perturbation with q_t and q_u times the root of `consistency_weight`.

    The consistency residual alone reads them, and is linear in both: the loss of eq. 17 has that
    weight then, with no other change.
    """
    if kind == "none":
        return p
    root = consistency_weight(p.t, p.u, num_nodes, kind).sqrt()
    return p._replace(q_t=root * p.q_t, q_u=root * p.q_u)


def lognormal_cdf(count: int, t_min: float = 0.002, t_max: float = 80.0) -> Tensor:
    """Return iCT's distribution of t over N nodes as a cdf for `draw_times`: [count] int64.

    Node n has the mass of a log-normal distribution between nodes n - 1 and n, cut at t_min and
    t_max. Entry n is the mass up to node n in units of 2^-32, from 0 to 2^32: the number of uint32
    words that give a node up to n.
    """
    mean, deviation = LOGNORMAL
    nodes = karras_nodes(count, t_min, t_max, torch.float64).clamp(t_min, t_max)
    below = torch.special.ndtr((torch.log(nodes) - mean) / deviation)
    # A grid of equal times has no mass at all between its ends.
    share = ((below - below[0]) / (below[-1] - below[0])).nan_to_num(0.0)
    cdf = torch.round(2.0**32 * share).to(torch.int64)
    cdf[-1] = 2**32
    return cdf


def draw_times(
    keys: Tensor,
    step: int | Tensor,
    rows: int,
    num_nodes: int | Tensor,
    u_mode: str = "adjacent",
    cdf: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw node indices n_t > n_u >= n_tau, each [S, rows].

    n_t is uniform over 1..N-1, or has the law of a cdf [>= N] int64 as in `lognormal_cdf`, with
    2^32 in every entry past N - 1; n_tau is uniform over 0..n_t-1. `adjacent` puts n_u just below
    n_t; `uniform` draws it from n_tau..n_t-1. The base case u = tau is kept: without it the last
    hop is never trained.
    """
    w_t, w_tau, w_u, _ = (w[..., 0] for w in philox.words(keys, step, Stream.TIME, rows, 1))
    if cdf is None:
        n_t = 1 + philox.multiply_high(w_t, num_nodes - 1)
    else:
        n_t = torch.searchsorted(cdf, w_t.contiguous(), right=True)
    n_tau = philox.multiply_high(w_tau, n_t)
    if u_mode == "adjacent":
        return n_t, n_t - 1, n_tau
    if u_mode == "uniform":
        return n_t, n_tau + philox.multiply_high(w_u, n_t - n_tau), n_tau
    raise ValueError(f"u_mode is one of {', '.join(U_MODES)}, not {u_mode!r}")


def perturb_at(
    a: Tensor,
    z: Tensor,
    nodes: Tensor,
    n_t: Tensor,
    n_u: Tensor,
    n_tau: Tensor,
    *,
    kind: str = "edm",
    sigma_data: float = 0.5,
    t_min: float = 0.002,
    dtype: torch.dtype | None = None,
) -> Perturbation:
    """Noise actions in closed form at given node indices (eq. 11, 17).

    a_t = a + t z and a_u = a + u z. a, z: [S, B, A]; nodes: [>= N] ascending; n_t, n_u, n_tau:
    [S, B]. Node 0 has algebraic time 0 and the embedding of t_min. dtype: that of the network
    inputs `student_x` [S, 2B, A] (rows (t, tau), then (t, t)) and `teacher_x` [S, B, A]; their time
    levels are [S, 2B, 2] and [S, B, 2].
    """
    t, u, tau = (torch.where(n > 0, nodes[n], 0.0).to(nodes.dtype) for n in (n_t, n_u, n_tau))
    a = a.to(nodes.dtype)
    a_t, a_u = a + t[..., None] * z, a + u[..., None] * z
    (r_t, q_t), (r_u, q_u) = jump(t, tau), jump(u, tau)
    skip_t, out_t, in_t = precondition(t, kind, sigma_data, t_min)
    skip_u, out_u, in_u = precondition(u, kind, sigma_data, t_min)
    level_t, level_u, level_tau = (0.25 * torch.log(nodes[n]) for n in (n_t, n_u, n_tau))
    dtype = dtype or nodes.dtype
    student_x = (in_t[..., None] * a_t).to(dtype)
    rows_tau = torch.stack((level_t, level_tau), -1)
    rows_t = torch.stack((level_t, level_t), -1)
    return Perturbation(
        t=t, u=u, tau=tau, z=z, a_t=a_t, a_u=a_u, r_t=r_t, q_t=q_t, r_u=r_u, q_u=q_u,
        skip_t=skip_t, out_t=out_t, skip_u=skip_u, out_u=out_u,
        student_x=torch.cat((student_x, student_x), 1),
        student_levels=torch.cat((rows_tau, rows_t), 1),
        teacher_x=(in_u[..., None] * a_u).to(dtype),
        teacher_levels=torch.stack((level_u, level_tau), -1),
    )  # fmt: skip


def perturb(
    a: Tensor,
    nodes: Tensor,
    num_nodes: int | Tensor,
    keys: Tensor,
    step: int | Tensor,
    *,
    u_mode: str = "adjacent",
    cdf: Tensor | None = None,
    kind: str = "edm",
    sigma_data: float = 0.5,
    t_min: float = 0.002,
    dtype: torch.dtype | None = None,
    consistency_weight: str = "none",
    normals: Callable[..., Tensor] = philox.normals,
) -> Perturbation:
    """Draw times and z by counter and noise the actions a [S, B, A].

    See `draw_times`, `perturb_at` and `scaled_jumps`.
    """
    n_t, n_u, n_tau = draw_times(keys, step, a.shape[1], num_nodes, u_mode, cdf)
    z = normals(keys, step, Stream.NOISE, a.shape[1], a.shape[2], nodes.dtype)
    p = perturb_at(
        a, z, nodes, n_t, n_u, n_tau, kind=kind, sigma_data=sigma_data, t_min=t_min, dtype=dtype
    )
    return scaled_jumps(p, num_nodes, consistency_weight)
