"""K-step samplers as plans around phi: where it is evaluated, and what follows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gtp_fast.reference.flow_map import jump


class Plan(NamedTuple):
    """Evaluations of phi(a, t, told) in order; after each, with the phi of the one before (0):

        a <- keep a + gain phi + carry phi_before + spread z

    Every field is [evaluations], float64; the last one's spread is 0.
    """

    t: Tensor
    told: Tensor
    keep: Tensor
    gain: Tensor
    carry: Tensor
    spread: Tensor


def map_plan(times: Tensor) -> Plan:
    """Return the flow map's own sampler (eq. 15) over descending times [K + 1]."""
    t, tau = times[:-1], times[1:]
    zero = torch.zeros_like(t)
    return Plan(t, tau, *jump(t, tau), zero, zero)


def euler_plan(times: Tensor) -> Plan:
    """Return Euler steps of the field (a - phi(a, t, t)) / t: DDIM."""
    plan = map_plan(times)
    return plan._replace(told=plan.t)


def heun_plan(times: Tensor) -> Plan:
    """Return Heun steps of the same field: two evaluations a step, one in the step to time 0.

    The first evaluation goes to the Euler point, keep a + gain phi; the second one goes back to
    the middle of both slopes, which the point before can be rebuilt for: (a - gain phi) / keep.
    """
    t, tau = times[:-1], times[1:]
    r, q = jump(t, tau)
    half = 0.5 * (tau - t)[:-1]
    early, late = t[:-1], tau[:-1]
    before = 1 + half / early
    second = Plan(
        t=late,
        told=late,
        keep=before / r[:-1] + half / late,
        gain=-half / late,
        carry=-before * q[:-1] / r[:-1] - half / early,
        spread=torch.zeros_like(late),
    )
    first = euler_plan(times)
    return Plan(*(_woven(one, other) for one, other in zip(first, second, strict=True)))


def consistency_plan(times: Tensor) -> Plan:
    """Return a consistency model's multistep sampler: jump to time 0, add fresh noise, repeat."""
    t, tau = times[:-1], times[1:]
    zero = torch.zeros_like(t)
    return Plan(t, zero, zero, zero + 1, zero, tau)


def _woven(first: Tensor, second: Tensor) -> Tensor:
    """Put the entries of `second` behind those of `first`, of which there is one more."""
    return torch.cat((torch.stack((first[:-1], second), -1).flatten(), first[-1:]))
