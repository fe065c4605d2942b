"""Parts of networks, the moving average and the optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def mish(x: Tensor) -> Tensor:
    """Return x tanh(softplus(x)) in algebraic form: one exponential, one division, no overflow."""
    e = torch.exp(torch.clamp(x, max=20.0))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


def gelu(x: Tensor) -> Tensor:
    """Return x Phi(x) in its tanh form, 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    return torch.nn.functional.gelu(x, approximate="tanh")


def relu(x: Tensor) -> Tensor:
    """Return max(x, 0)."""
    return torch.relu(x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"mish": mish, "gelu": gelu, "relu": relu}


def layer_norm(x: Tensor, scale: Tensor, shift: Tensor, eps: float = 1e-6) -> Tensor:
    """Return scale (x - mean) / sqrt(variance + eps) + shift over the last axis; scale, shift: [G,
    features] for x [G, B, features].
    """
    normal = torch.nn.functional.layer_norm(x, x.shape[-1:], eps=eps)
    return torch.addcmul(shift[:, None], normal, scale[:, None])


def join(pieces: Tensor | Sequence[Tensor], groups: int) -> Tensor:
    """Return pieces [G_i, B_i, n_i] side by side: [groups, B, sum of n_i], B the most rows of any.

    A piece with fewer groups serves groups / G_i neighbours, one with fewer rows repeats them.
    """
    parts = (pieces,) if isinstance(pieces, Tensor) else pieces
    rows = max(x.shape[1] for x in parts)
    whole = [
        x.repeat_interleave(groups // x.shape[0], 0).repeat(1, rows // x.shape[1], 1)
        if x.shape[:2] != (groups, rows)
        else x
        for x in parts
    ]
    return whole[0] if len(whole) == 1 else torch.cat(whole, -1)


def mlp(
    x: Tensor | Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str = "mish",
) -> Tensor:
    """Apply the multilayer perceptron of each group, last layer linear: [G, B, in] -> [G, B, out].

    x: one tensor, or pieces as `join` takes them; weights: [G, in, out] each; biases: [G, out];
    activation: mish, relu or gelu (tanh form).
    """
    x = join(x, weights[0].shape[0])
    act = ACTIVATIONS[activation]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        x = act(torch.baddbmm(bias[:, None], x, weight))
    return torch.baddbmm(biases[-1][:, None], x, weights[-1])


def sinusoid(level: Tensor, features: int = 16, scale: float = 250.0) -> Tensor:
    """Return sines and cosines of `level` at geometric frequencies: [..., features]."""
    half = features // 2
    rate = torch.arange(half, dtype=level.dtype, device=level.device) / max(half - 1, 1)
    angle = scale * level[..., None] * torch.pow(10_000.0, -rate)
    return torch.cat((torch.sin(angle), torch.cos(angle)), -1)


def fourier(x: Tensor, frequencies: Tensor) -> Tensor:
    """Return cosines and sines of 2 pi w x at learnable frequencies w [S, F]: [S, B, 2 F]; x: [S,
    B].
    """
    angle = 2.0 * math.pi * x[..., None] * frequencies[:, None]
    return torch.cat((torch.cos(angle), torch.sin(angle)), -1)


def embed(levels: Tensor, parameters: Sequence[Tensor], mlp: Callable[..., Tensor] = mlp) -> Tensor:
    """Embed two time levels [S, B, 2], each by its clock's MLP on sinusoids: [S, B, 2 features].

    parameters: weight [S, features, hidden], bias, weight [S, hidden, features], bias of the first
    clock, then of the second.
    """
    sines = sinusoid(levels, parameters[0].shape[1])
    rows = [
        mlp(sines[:, :, i], parameters[4 * i : 4 * i + 4 : 2], parameters[4 * i + 1 :: 2][:2])
        for i in range(2)
    ]
    return torch.cat(rows, -1)


def polyak(target: Tensor, online: Tensor, rate: float) -> Tensor:
    """Return target + rate (online - target), the exponential moving average of the parameters."""
    return target + rate * (online - target)


def adam(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    step: int | Tensor,
    rate: Tensor | float,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (parameter, first, second) after one Adam step; step counts from 1, rate broadcasts
    ([S, 1]).
    """
    first = betas[0] * first + (1 - betas[0]) * gradient
    second = betas[1] * second + (1 - betas[1]) * gradient * gradient
    power = torch.as_tensor(step, dtype=parameter.dtype, device=parameter.device)
    corrected = first / (1 - torch.pow(betas[0], power))
    scale = torch.sqrt(second / (1 - torch.pow(betas[1], power))) + eps
    return parameter - rate * corrected / scale, first, second
