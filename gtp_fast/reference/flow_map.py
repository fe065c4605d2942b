"""The flow map Phi and its preconditioning (eq. 4)."""

from __future__ import annotations

import torch
from torch import Tensor

PRECONDITIONINGS = ("edm", "cm", "none")


def precondition(
    t: Tensor, kind: str = "edm", sigma_data: float = 0.5, t_min: float = 0.002
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (c_skip, c_out, c_in), of t's shape: phi = c_skip a_t + c_out F(c_in a_t)."""
    variance = sigma_data * sigma_data
    scale = torch.rsqrt(t * t + variance)
    if kind == "edm":
        return variance * scale * scale, t * sigma_data * scale, scale
    if kind == "cm":
        shifted = torch.clamp(t, min=t_min) - t_min
        return (
            variance / (shifted * shifted + variance),
            sigma_data * shifted * scale,
            torch.ones_like(t),
        )
    if kind == "none":
        return torch.zeros_like(t), torch.ones_like(t), scale
    raise ValueError(f"precondition is one of {', '.join(PRECONDITIONINGS)}, not {kind!r}")


def jump(t: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """Return r = tau / t and q = 1 - r (eq. 4).

    q is computed as (t - tau) / t; (1, 0) where tau = t, also at 0.
    """
    safe = torch.where(t > 0, t, torch.ones_like(t))
    still = t == tau
    r = torch.where(still, torch.ones_like(t), tau / safe)
    q = torch.where(still, torch.zeros_like(t), (t - tau) / safe)
    return r, q


def clean_action(a_t: Tensor, output: Tensor, skip: Tensor, out: Tensor) -> Tensor:
    """Return the clean action phi = c_skip a_t + c_out F: [..., A].

    skip, out: c_skip and c_out, [...].
    """
    return skip[..., None] * a_t + out[..., None] * output


def flow_map(a_t: Tensor, phi: Tensor, t: Tensor, tau: Tensor) -> Tensor:
    """Return the flow map Phi of eq. 4: [..., A].

    Phi = (tau / t) a_t + (1 - tau / t) phi; bit-exactly a_t where tau = t.
    """
    r, q = jump(t, tau)
    return r[..., None] * a_t + q[..., None] * phi
