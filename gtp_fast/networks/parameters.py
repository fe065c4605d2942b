"""Parameters of G groups in one flat buffer [G, P], and their initial values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream

Law = Literal["fan_in", "fan_avg"]


class Parameters:
    """Named parameters of G independent groups in one buffer `flat` [G, P].

    `views[name]`, [G, *shape], are the leaves of autograd. `gradient` [G, P] collects their
    gradients, so that optimiser, moving average and gradient norm each take one pass over a buffer.
    """

    def __init__(
        self,
        groups: int,
        shapes: Mapping[str, tuple[int, ...]],
        device: torch.device,
        dtype: torch.dtype,
    ):
        self.shapes = dict(shapes)
        total = sum(math.prod(shape) for shape in self.shapes.values())
        self.flat = torch.zeros(groups, total, device=device, dtype=dtype)
        self.gradient = torch.zeros_like(self.flat)
        self.views = self._split(self.flat)
        self.gradient_views = self._split(self.gradient)
        for view in self.views.values():
            view.requires_grad_()

    def _split(self, flat: Tensor) -> dict[str, Tensor]:
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = torch.split(flat.detach(), sizes, 1)
        return {
            name: part.unflatten(1, shape)  # type: ignore[no-untyped-call]
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def differentiate(self, loss: Tensor) -> None:
        """Write the gradient of a scalar loss into `gradient`."""
        parts = torch.autograd.grad(loss, list(self.views.values()))
        torch._foreach_copy_(list(self.gradient_views.values()), parts)

    def frozen_copy(self) -> Parameters:
        """Return a copy without gradients, for a moving average."""
        other = Parameters(self.flat.shape[0], self.shapes, self.flat.device, self.flat.dtype)
        other.flat.copy_(self.flat)
        for view in other.views.values():
            view.requires_grad_(False)
        return other


def mlp_shapes(
    inputs: int, width: int, depth: int, outputs: int, layer_norm: bool = False
) -> dict[str, tuple[int, ...]]:
    """Return the parameter shapes of `depth` hidden layers and a linear output.

    Weights are [in, out]. layer_norm: each hidden layer's activation is normalised.
    """
    sizes = [inputs] + [width] * depth + [outputs]
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        shapes[f"layer{i}.weight"], shapes[f"layer{i}.bias"] = (n_in, n_out), (n_out,)
        if layer_norm and i < depth:
            shapes[f"norm{i}.scale"], shapes[f"norm{i}.shift"] = (n_out,), (n_out,)
    return shapes


def initialise(
    parameters: Parameters, keys: Tensor, networks: Sequence[int], law: Law = "fan_in"
) -> None:
    """Initialise weights and biases with uniform numbers drawn by counter.

    Stream INIT, step = number of the network; group s len(networks) + j holds network j of seed s.
    Other vectors start at 1 (scales) or 0. law: fan_in takes weights and biases from U(-1, 1) /
    sqrt(fan in), as torch.nn.Linear; fan_avg takes weights from U(-1, 1) sqrt(6 / (fan in + fan
    out)) and zero biases, as FQL and SSCQL.
    """
    total = parameters.flat.shape[1]
    drawn = [philox.words(keys, network, Stream.INIT, -(-total // 4), 1) for network in networks]
    uniform = (
        torch.stack([torch.stack([w[..., 0] for w in words], -1).flatten(1) for words in drawn], 1)
        >> 8
    )
    uniform = uniform.flatten(0, 1)[:, :total].to(torch.float64) * 2.0**-23 - 1.0
    offset, fan_in = 0, 1
    for name, shape in parameters.shapes.items():
        size = math.prod(shape)
        # A bias follows its weight and takes the same bound.
        fan_in = shape[0] if len(shape) == 2 else fan_in
        values = uniform[:, offset : offset + size] / math.sqrt(fan_in)
        if law == "fan_avg":
            bound = math.sqrt(6.0 / sum(shape)) if len(shape) == 2 else 0.0
            values = bound * uniform[:, offset : offset + size]
        if len(shape) == 1 and not name.endswith("bias"):
            values = torch.full_like(values, float(name.endswith("scale")))
        parameters.flat[:, offset : offset + size] = values.to(parameters.flat)
        offset += size


def detached(views: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the same parameters without their gradient."""
    return {name: view.detach() for name, view in views.items()}
