"""Embeddings of time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gtp_fast.reference.mlp import mlp

SINUSOID_SCALE = 250.0
"""Factor of a noise level in the sinusoids."""


def clock_size(features: int, hidden: int) -> int:
    """Return the number of parameters of one clock's MLP, features -> hidden -> features."""
    return 2 * features * hidden + hidden + features


def sinusoid(level: Tensor, features: int = 16, scale: float = SINUSOID_SCALE) -> Tensor:
    """Return sines and cosines of `level` at geometric frequencies: [..., features]."""
    half = features // 2
    rate = torch.arange(half, dtype=level.dtype, device=level.device) / max(half - 1, 1)
    angle = scale * level[..., None] * torch.pow(10_000.0, -rate)
    return torch.cat((torch.sin(angle), torch.cos(angle)), -1)


def fourier(x: Tensor, frequencies: Tensor) -> Tensor:
    """Return cosines and sines of 2 pi w x at learnable frequencies w.

    x: [S, B]; frequencies: [S, F]; result: [S, B, 2 F].
    """
    angle = 2.0 * math.pi * x[..., None] * frequencies[:, None]
    return torch.cat((torch.cos(angle), torch.sin(angle)), -1)


def embed(levels: Tensor, parameters: Sequence[Tensor], mlp: Callable[..., Tensor] = mlp) -> Tensor:
    """Embed two time levels, each by its clock's MLP on sinusoids: [S, B, 2 features].

    levels: [S, B, 2]; parameters: weight [S, features, hidden], bias, weight [S, hidden, features],
    bias of the first clock, then of the second.
    """
    sines = sinusoid(levels, parameters[0].shape[1])
    rows = [
        mlp(sines[:, :, i], parameters[4 * i : 4 * i + 4 : 2], parameters[4 * i + 1 :: 2][:2])
        for i in range(2)
    ]
    return torch.cat(rows, -1)
