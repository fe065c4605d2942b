"""The Triton form of dense layers, forward and every gradient, against the reference."""

from __future__ import annotations

import pytest
import torch
from mlp_case import MlpCase, split
from rounded import to_tf32
from triton_cases import DEVICE, INTERPRETED, poisoned_outputs, pytestmark  # noqa: F401

# (G, B, widths of the pieces, H, N, depth, activation, precision)
CASES = [
    (1, 1, (5,), 8, 1, 1, "mish", "fp32"),
    (2, 33, (3, 32, 11), 32, 2, 3, "mish", "fp32"),
    (4, 34, (29, 8), 24, 1, 2, "gelu", "fp32"),
    (1, 17, (70,), 40, 17, 3, "relu", "fp32"),
    (2, 16, (2, 4), 16, 64, 1, "mish", "bf16"),
    (2, 33, (29, 8), 32, 3, 2, "mish", "tf32"),
]
if not INTERPRETED:
    # The interpreter takes minutes for these.
    CASES += [
        *(
            (2, 256, (29, 8), 256, 1, 3, "mish", precision)
            for precision in ("fp32", "tf32", "bf16")
        ),
        (10, 512, (8, 32, 29), 256, 8, 3, "mish", "tf32"),
        (3, 257, (105, 8), 512, 1, 3, "mish", "fp32"),
        (128, 256, (17, 6), 256, 1, 3, "mish", "bf16"),
    ]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_mlp_and_its_gradients_match_the_reference(case: tuple) -> None:
    MlpCase(*case).check()


def test_tf32_rounds_to_nearest_and_does_not_cut_off() -> None:
    # Just above half of the last bit kept: cut off, every operand would lose the other half.
    from gtp_fast.kernels.mlp import mlp

    operand = 1 + 0.6 * 2.0**-10
    x = torch.full((1, 16, 16), operand, device=DEVICE)
    weights = [torch.full((1, 16, n), operand, device=DEVICE) for n in (16, 1)]
    biases = [torch.zeros(1, n, device=DEVICE) for n in (16, 1)]
    y, saved = mlp([x], weights, biases, "relu", "tf32", save=True)
    nearest = 1 + 2.0**-10
    assert torch.equal(saved.hidden, torch.full_like(saved.hidden, 16 * nearest**2))
    hidden = float(to_tf32(saved.hidden[0, 0, :1, :1].cpu()))
    assert torch.allclose(y, torch.full_like(y, 16 * nearest * hidden), rtol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("activation", ["mish", "gelu", "relu"])
def test_a_nan_passes_every_activation(activation: str, precision: str) -> None:
    from gtp_fast.kernels.mlp import mlp

    case = MlpCase(1, 16, (5,), 16, 2, 2, activation, precision)
    parameters = split(case.flat, case.shapes)
    # The NaN that a GPU's arithmetic makes: all bits of its mantissa are set.
    parameters[0][0, 2, 3] = torch.tensor(0x7FFFFFFF, dtype=torch.int32).view(torch.float32)
    y, _ = mlp(case.inputs, parameters[::2], parameters[1::2], activation, precision)
    assert y.isnan().all()


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


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((1, 4, 3), (3, 8), (8, 2)), {"activation": "tanh"}, "'tanh'"),
        (((1, 4, 3), (3, 8), (8, 2)), {"precision": "fp16"}, "'fp16'"),
        (((1, 4, 2), (3, 8), (8, 2)), {}, "takes 3 inputs, the pieces have 2"),
        (
            ((1, 4, 3), (3, 7), (7, 2)),
            {},
            "from 8 to 512 and outputs from 1 to 64, not 7, 2",
        ),
        (((1, 4, 3), (3, 8), (8, 65)), {}, "not 8, 65"),
        (((3, 4, 3), (3, 8), (8, 2)), {}, "does not repeat to 2 groups"),
        (((1, 4, 3), (3, 8), (9, 2)), {}, "layer 1 has shapes"),
    ],
)
def test_mlp_refuses(shapes: tuple, options: dict[str, str], message: str) -> None:
    from gtp_fast.kernels.mlp import mlp

    x, *sizes = shapes
    weights = [torch.zeros(2, *size, device=DEVICE) for size in sizes]
    biases = [torch.zeros(2, size[1], device=DEVICE) for size in sizes]
    with pytest.raises(ValueError, match=message):
        mlp([torch.zeros(x, device=DEVICE)], weights, biases, **options)


def test_mlp_backward_refuses_gradients_that_lie_apart() -> None:
    from gtp_fast.kernels.mlp import mlp
    from gtp_fast.kernels.mlp_backward import mlp_backward

    sizes = ((3, 8), (8, 8), (8, 8), (8, 8), (8, 2))
    weights = [torch.zeros(1, *size, device=DEVICE) for size in sizes]
    biases = [torch.zeros(1, size[1], device=DEVICE) for size in sizes]
    x = [torch.zeros(1, 4, 3, device=DEVICE)]
    y, saved = mlp(x, weights, biases, save=True)
    with pytest.raises(ValueError, match="one behind another"):
        mlp_backward(y, saved, x, weights, biases, weights, biases)
