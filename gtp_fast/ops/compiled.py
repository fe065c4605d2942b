"""Every operation of the reference under torch.compile, one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.reference import Perturbation
from gtp_fast.reference.adam import plain
from gtp_fast.reference.philox import Stream


def mlp() -> Callable[..., Tensor]:
    """Return `reference.mlp` compiled."""
    return torch.compile(reference.mlp, dynamic=False)


def adam() -> Callable[..., Tensor]:
    """Return the optimiser's plain form compiled; the number of the update goes in as a tensor."""
    inner: Any = torch.compile(plain, dynamic=False)

    def step(*arguments: Any) -> Tensor:
        *buffers, updates, rate, ema_rate, max_norm, frozen = arguments
        count = torch.as_tensor(updates, device=rate.device)
        result: Tensor = inner(*buffers, count, rate, ema_rate, max_norm, frozen)
        return result

    return step


def perturb(normals: Callable[..., Tensor]) -> Callable[..., Perturbation]:
    """Return `reference.perturb` with its arithmetic compiled; what is drawn stays as it is."""
    inner = torch.compile(reference.perturb_at, dynamic=False)

    def draw(
        a: Tensor,
        nodes: Tensor,
        num_nodes: int | Tensor,
        keys: Tensor,
        step: int | Tensor,
        *,
        u_mode: str = "adjacent",
        cdf: Tensor | None = None,
        **options: Any,
    ) -> Perturbation:
        indices = reference.draw_times(keys, step, a.shape[1], num_nodes, u_mode, cdf)
        z = normals(keys, step, Stream.NOISE, a.shape[1], a.shape[2], nodes.dtype)
        result: Perturbation = inner(a, z, nodes, *indices, **options)
        return result

    return draw


def loss() -> Callable[..., tuple[Tensor, Tensor]]:
    """Return `reference.flow_map_loss` compiled."""
    return torch.compile(reference.flow_map_loss, dynamic=False)
