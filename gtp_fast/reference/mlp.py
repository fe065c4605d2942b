"""The multilayer perceptron and its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def mish(x: Tensor) -> Tensor:
    """Return x tanh(softplus(x)) in algebraic form: one exponential, one division, no overflow."""
    e = torch.exp(torch.clamp(x, max=20.0))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


def gelu(x: Tensor) -> Tensor:
    """Return GELU in its tanh form.

    0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
    """
    return torch.nn.functional.gelu(x, approximate="tanh")


def relu(x: Tensor) -> Tensor:
    """Return max(x, 0)."""
    return torch.relu(x)


Norm = tuple[Tensor, Tensor]
"""Scale and shift of a layer norm, [G, features] each."""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"mish": mish, "gelu": gelu, "relu": relu}


def layer_norm(x: Tensor, scale: Tensor, shift: Tensor, eps: float = 1e-6) -> Tensor:
    """Return scale (x - mean) / sqrt(variance + eps) + shift over the last axis.

    x: [G, B, features]; scale, shift: [G, features].
    """
    normal = torch.nn.functional.layer_norm(x, x.shape[-1:], eps=eps)
    return torch.addcmul(shift[:, None], normal, scale[:, None])


def join(pieces: Tensor | Sequence[Tensor], groups: int) -> Tensor:
    """Concatenate pieces [G_i, B_i, n_i] along their last axis: [groups, max B_i, sum of n_i].

    A piece with fewer groups serves groups / G_i neighbours; one with fewer rows repeats them.
    """
    pieces = (pieces,) if isinstance(pieces, Tensor) else pieces
    rows = max(x.shape[1] for x in pieces)
    full = [
        x.repeat_interleave(groups // x.shape[0], 0).repeat(1, rows // x.shape[1], 1)
        if x.shape[:2] != (groups, rows)
        else x
        for x in pieces
    ]
    return full[0] if len(full) == 1 else torch.cat(full, -1)


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return x W + b of each group: [G, B, in], [G, in, out], [G, out] -> [G, B, out]."""
    return torch.baddbmm(bias[:, None], x, weight)


def mlp(
    x: Tensor | Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str = "mish",
    norms: Sequence[Norm] = (),
) -> Tensor:
    """Apply the multilayer perceptron of each group; its last layer is linear.

    [G, B, in] -> [G, B, out]. x: one tensor, or pieces as `join` takes them; weights: [G, in, out]
    each; biases: [G, out]; activation: mish, relu or gelu (tanh form); norms: of every hidden
    layer, or none; `layer_norm` follows the activation.
    """
    x = join(x, weights[0].shape[0])
    act = ACTIVATIONS[activation]
    for i, (weight, bias) in enumerate(zip(weights[:-1], biases[:-1], strict=True)):
        x = act(affine(x, weight, bias))
        if norms:
            x = layer_norm(x, *norms[i])
    return affine(x, weights[-1], biases[-1])
