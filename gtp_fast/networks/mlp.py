"""A multilayer perceptron with a seed axis on the views of `Parameters`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

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

    Where the views hold norms, each hidden layer's activation is normalised.
    """
    norms = [
        (views[f"norm{i}.scale"], views[f"norm{i}.shift"])
        for i in range(depth)
        if f"norm{i}.scale" in views
    ]
    return form(x, *layers(views, depth), activation, norms=norms)
