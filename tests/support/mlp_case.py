"""A perceptron for the Triton forms: parameters and gradients in flat buffers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from rounded import rounded_mlp
from tolerance import assert_as_accurate
from torch import Tensor
from triton_cases import DEVICE, generator

from gtp_fast import reference


def split(flat: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    parts = flat.split([torch.Size(shape).numel() for shape in shapes], 1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]


class MlpCase:
    """Inputs of a pass and its three evaluations; parameters and gradients lie in flat buffers."""

    def __init__(
        self,
        G: int,
        B: int,
        widths: Sequence[int],
        H: int,
        N: int,
        depth: int,
        activation: str,
        precision: str,
    ) -> None:
        sizes = [sum(widths), *[H] * depth, N]
        self.shapes = [shape for a, b in pairwise(sizes) for shape in ((a, b), (b,))]
        total = sum(torch.Size(shape).numel() for shape in self.shapes)
        self.flat = 0.3 * torch.randn(G, total, generator=generator(1)).to(DEVICE)
        # Every other piece has fewer groups, or is a view with fewer rows inside longer ones.
        self.inputs = []
        for i, width in enumerate(widths):
            groups, rows = (G // 2 if i == 1 and G % 2 == 0 else G), B
            if i == 1 and B % 2 == 0:
                rows = B // 2
            longer = torch.randn(groups, rows, width + 3, generator=generator(2 + i)).to(DEVICE)
            self.inputs.append(longer[..., 1 : width + 1])
        self.gradient = torch.randn(G, B, N, generator=generator(9)).to(DEVICE)
        self.activation, self.precision, self.groups = activation, precision, G

    def fast(self, pick: slice = slice(None)) -> dict[str, Tensor]:
        from gtp_fast.kernels.mlp import mlp
        from gtp_fast.kernels.mlp_backward import mlp_backward

        parameters = split(self.flat[pick], self.shapes)
        weights, biases = parameters[::2], parameters[1::2]
        inputs = [x[pick] for x in self.inputs]
        y, saved = mlp(inputs, weights, biases, self.activation, self.precision, save=True)
        plain, none = mlp(inputs, weights, biases, self.activation, self.precision)
        assert torch.equal(y, plain), "saving must change no bit"
        assert saved is not None
        assert none is None
        flat = torch.full_like(self.flat[pick], torch.nan)
        written = split(flat, self.shapes)
        wanted = [True] * len(inputs)
        found = mlp_backward(
            self.gradient[pick], saved, inputs, weights, biases, written[::2], written[1::2],
            wanted, self.precision,
        )  # fmt: skip
        return self.named(y, written, found)

    def reference(self, dtype: torch.dtype, rounded: bool = False) -> dict[str, Tensor]:
        parameters = [p.to(dtype).requires_grad_() for p in split(self.flat, self.shapes)]
        G, B = self.groups, self.gradient.shape[1]
        inputs = [
            x.to(dtype).repeat_interleave(G // x.shape[0], 0).repeat(1, B // x.shape[1], 1)
            for x in self.inputs
        ]
        inputs = [x.requires_grad_() for x in inputs]
        x, layers = torch.cat(inputs, -1), (parameters[::2], parameters[1::2], self.activation)
        y = rounded_mlp(x, *layers, self.precision) if rounded else reference.mlp(x, *layers)
        gradients = torch.autograd.grad(y, [*parameters, *inputs], self.gradient.to(dtype))
        count = len(parameters)
        return self.named(y.detach(), gradients[:count], gradients[count:])

    @staticmethod
    def named(y: Tensor, parameters: Sequence[Tensor], inputs: Sequence[Tensor]) -> dict:
        rows = {f"gradient of parameter {i}": x for i, x in enumerate(parameters)}
        return {"y": y} | rows | {f"gradient of piece {i}": x for i, x in enumerate(inputs)}

    def check(self) -> None:
        rounded = self.precision != "fp32"
        fast, exact = self.fast(), self.reference(torch.float64)
        plain = self.reference(torch.float32, rounded)
        for name in exact:
            assert_as_accurate(name, fast[name], plain[name], exact[name])
