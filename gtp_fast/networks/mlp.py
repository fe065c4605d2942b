"""A multilayer perceptron with a seed axis on the views of `Parameters`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from gtp_fast import reference

Mlp = Callable[..., Tensor]
"""The form of `reference.mlp` that the run has chosen."""


def layers(views: Mapping[str, Tensor], depth: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return weights and biases of `depth` hidden layers and the linear output."""
    return (
        [views[f"layer{i}.weight"] for i in range(depth + 1)],
        [views[f"layer{i}.bias"] for i in range(depth + 1)],
    )


def mlp(
    views: Mapping[str, Tensor],
    x: Tensor | Sequence[Tensor],
    depth: int,
    form: Mlp,
    activation: str = "mish",
) -> Tensor:
    """Apply `depth` hidden layers and the linear output: [G, B, in] -> [G, B, out].

    Where the views hold norms, each hidden layer's activation is normalised, in plain PyTorch;
    otherwise `form` computes all layers.
    """
    weights, biases = layers(views, depth)
    if "norm0.scale" not in views:
        return form(x, weights, biases, activation)
    x = reference.join(x, weights[0].shape[0])
    for i in range(depth):
        x = torch.baddbmm(biases[i][:, None], x, weights[i])
        x = reference.ACTIVATIONS[activation](x)
        x = reference.layer_norm(x, views[f"norm{i}.scale"], views[f"norm{i}.shift"])
    return torch.baddbmm(biases[depth][:, None], x, weights[depth])
