"""Parity of the kernels of dense layers, forward and every gradient; runs as test_kernels.py."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from rounded import rounded_mlp
from tolerance import assert_as_accurate
from torch import Tensor

pytest.importorskip("triton")

from test_kernels import DEVICE, INTERPRETED, generator, poisoned_outputs, pytestmark  # noqa: F401

from gtp_fast import reference

# (G, B, widths of the pieces, H, N, depth, activation, precision)
CASES = [
    (1, 1, (5,), 8, 1, 1, "mish", "fp32"),
    (2, 33, (3, 32, 11), 32, 2, 3, "mish", "fp32"),
    (4, 34, (29, 8), 24, 1, 2, "gelu", "fp32"),
    (1, 17, (70,), 40, 17, 3, "relu", "fp32"),
    (2, 16, (2, 4), 16, 64, 1, "mish", "bf16"),
]
if not INTERPRETED:
    # The interpreter multiplies tf32 in full float32, and takes minutes for these.
    CASES += [
        *(
            (2, 256, (29, 8), 256, 1, 3, "mish", precision)
            for precision in ("fp32", "tf32", "bf16")
        ),
        (10, 512, (8, 32, 29), 256, 8, 3, "mish", "tf32"),
        (3, 257, (105, 8), 512, 1, 3, "mish", "fp32"),
        (128, 256, (17, 6), 256, 1, 3, "mish", "bf16"),
    ]


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
        mlp = rounded_mlp if rounded else reference.mlp
        y = mlp(torch.cat(inputs, -1), parameters[::2], parameters[1::2], self.activation)
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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_mlp_and_its_gradients_match_the_reference(case: tuple) -> None:
    MlpCase(*case).check()


def test_mlp_repeats_itself_and_gives_a_group_alone_the_same_bits() -> None:
    case = MlpCase(3, 33, (5,), 24, 2, 2, "mish", "fp32")
    together = case.fast()
    again = case.fast()
    alone = case.fast(slice(1, 2))
    for name, value in together.items():
        assert torch.equal(value, again[name]), name
        assert torch.equal(value[1:2], alone[name]), name


def test_mlp_takes_parameters_that_lie_apart() -> None:
    from gtp_fast.kernels.mlp import mlp

    case = MlpCase(2, 16, (5,), 16, 2, 3, "mish", "fp32")
    parameters = split(case.flat, case.shapes)
    apart = [p.clone().mT.contiguous().mT if p.ndim == 3 else p.clone() for p in parameters]
    one, _ = mlp(case.inputs, parameters[::2], parameters[1::2])
    other, _ = mlp(case.inputs, apart[::2], apart[1::2])
    assert torch.equal(one, other)


def test_gradients_may_leave_the_weights_out() -> None:
    from gtp_fast.kernels.mlp import mlp
    from gtp_fast.kernels.mlp_backward import mlp_backward

    case = MlpCase(2, 16, (5, 4), 16, 2, 2, "mish", "fp32")
    parameters = split(case.flat, case.shapes)
    weights, biases = parameters[::2], parameters[1::2]
    _, saved = mlp(case.inputs, weights, biases, save=True)
    found = mlp_backward(case.gradient, saved, case.inputs, weights, biases, [], [], [False, True])
    assert found[0] is None
    assert torch.equal(found[1], case.fast()["gradient of piece 1"])
