"""The kernels of a whole update, compiled without a GPU at the sizes of the paper's networks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from mlp_case import split
from test_kernels_compile import (  # noqa: F401
    CAPABILITIES,
    STEP,
    assert_lean,
    compiled,
    pytestmark,
)

S, B, O, A, H, DEPTH = 2, 256, 29, 8, 256, 3  # noqa: E741
Build = Callable[..., tuple[str, str]]
# Full float32 is what training uses; the others are checked where they are likeliest to be used.
VARIANTS = [*((capability, "fp32") for capability in CAPABILITIES), (90, "tf32"), (90, "bf16")]


def actor(pad: int = 0) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return inputs, weights and biases of the actor's MLP; pad: numbers after each group."""
    sizes = [A + 32 + O, *[H] * DEPTH, A]
    shapes = [shape for a, b in pairwise(sizes) for shape in ((a, b), (b,))]
    total = sum(torch.Size(shape).numel() for shape in shapes)
    parameters = split(torch.zeros(S, total + pad)[:, :total], shapes)
    inputs = [torch.zeros(S, 2 * B, A), torch.zeros(S, 2 * B, 32), torch.zeros(S, B, O)]
    return inputs, parameters[::2], parameters[1::2]


@pytest.mark.parametrize(("capability", "precision"), VARIANTS)
def test_mlp_compiles_lean(compiled: Build, capability: int, precision: str) -> None:  # noqa: F811
    from gtp_fast.kernels import mlp

    inputs, weights, biases = actor()

    def launch() -> object:
        return mlp.mlp(inputs, weights, biases, "mish", precision, save=True)

    ptx, usage = compiled(mlp, "_mlp_kernel", launch, capability)
    assert_lean(ptx, usage)
    # Without it a tensor core cuts the last bits off, and every product is too small.
    assert ("cvt.rna.tf32.f32" in ptx) == (precision == "tf32")


def test_a_nan_passes_a_relu_on_the_device(compiled: Build) -> None:  # noqa: F811
    from gtp_fast.kernels import mlp

    inputs, weights, biases = actor()
    launched = lambda: mlp.mlp(inputs, weights, biases, "relu")  # noqa: E731
    ptx, _ = compiled(mlp, "_mlp_kernel", launched, 90)
    assert "max.NaN.f32" in ptx and "max.f32" not in ptx


def test_mlp_of_many_seeds_compiles_lean(compiled: Build) -> None:  # noqa: F811
    from gtp_fast.kernels import mlp

    inputs, weights, biases = actor()
    inputs[1] = torch.zeros(S, 64 * B, 32)
    ptx, usage = compiled(mlp, "_mlp_kernel", lambda: mlp.mlp(inputs, weights, biases), 90)
    assert_lean(ptx, usage)


@pytest.mark.parametrize(("pad", "width"), [(0, "0x4"), (8, "0x10")])
def test_mlp_loads_four_weights_at_a_time_where_groups_are_aligned(
    compiled: Build,  # noqa: F811
    pad: int,
    width: str,
) -> None:
    from gtp_fast.kernels import mlp

    inputs, weights, biases = actor(pad)
    assert weights[0].stride(0) % 16 == (8 if pad == 0 else 0)

    def launch() -> object:
        return mlp.mlp(inputs, weights, biases, precision="tf32")

    ptx, _ = compiled(mlp, "_mlp_kernel", launch, 90)
    copies = [line for line in ptx.splitlines() if "cp.async.c" in line and "shared" in line]
    assert sum(f", {width}, " in line for line in copies) > len(copies) / 2


@pytest.mark.parametrize(("capability", "precision"), VARIANTS)
def test_mlp_backward_compiles_lean(
    compiled: Build,  # noqa: F811
    capability: int,
    precision: str,
) -> None:
    from gtp_fast.kernels import dense, mlp, mlp_backward, mlp_weights

    inputs, weights, biases = actor()
    saved = mlp.Saved(*torch.zeros(2, DEPTH, S, 2 * B, H))
    gradient, wanted = torch.zeros(S, 2 * B, A), [False, True, False]
    parts, _, widths = dense.pieces(inputs, S)

    def chain() -> object:
        return mlp_backward.mlp_backward(
            gradient, saved, inputs, weights, biases, [], [], wanted, precision
        )

    def all_weights() -> object:
        return mlp_weights.write_weight_gradients(
            parts, widths, saved.hidden, saved.slopes, gradient, weights, biases, precision
        )

    assert_lean(*compiled(mlp_backward, "_chain_kernel", chain, capability))
    assert_lean(*compiled(mlp_weights, "_weights_kernel", all_weights, capability))


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("kernel", ["_embed_kernel", "_embed_backward_kernel"])
def test_embed_compiles_lean(compiled: Build, kernel: str, capability: int) -> None:  # noqa: F811
    from gtp_fast.kernels import embed

    shapes = [(16, 32), (32,), (32, 16), (16,)] * 2
    parameters = split(torch.zeros(S, 2144), shapes)
    levels = torch.zeros(S, B, 2)

    def launch() -> object:
        if kernel == "_embed_kernel":
            return embed.embed(levels, parameters)
        return embed.embed_backward(torch.zeros(S, B, 32), levels, parameters, parameters)

    assert_lean(*compiled(embed, kernel, launch, capability))


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("kernel", ["_squares_kernel", "_adam_kernel"])
def test_adam_compiles_lean(compiled: Build, kernel: str, capability: int) -> None:  # noqa: F811
    from gtp_fast.kernels import adam

    buffer, frozen = torch.zeros(S, 151_560), torch.zeros(S, dtype=torch.bool)

    def launch() -> object:
        rate = torch.zeros(S)
        return adam.adam(
            *(buffer,) * 5, STEP, rate, 0.005, 1.0, frozen, decay_over=1000, weight_decay=0.1
        )

    assert_lean(*compiled(adam, kernel, launch, capability))


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("backups", [1, 10])
def test_td_and_weights_compile_lean(compiled: Build, backups: int, capability: int) -> None:  # noqa: F811
    from gtp_fast.kernels import td, weigh

    packed = torch.zeros(S, B, 68)
    for critics in (1, 2):
        values, following = torch.zeros(S, critics, B), torch.zeros(S, critics, backups * B)
        loss = functools.partial(td.td_loss, values, following, packed[..., 37], packed[..., 67])
        assert_lean(*compiled(td, "_td_kernel", functools.partial(loss, 0.99), capability))
    more = torch.zeros(S, 2, (1 + backups) * B)
    for maximum in (100.0, 1.0, None):
        weights = compiled(
            weigh, "_weigh_kernel",
            lambda maximum=maximum: weigh.weigh(more, torch.zeros(S), B, maximum), capability,
        )  # fmt: skip
        assert_lean(*weights)
        assert "max.f32" not in weights[0], "a maximum would drop a NaN"


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_draws_and_gather_compile_lean(compiled: Build, capability: int) -> None:  # noqa: F811
    from gtp_fast.kernels import gather, philox

    keys, table = torch.zeros(S, dtype=torch.int64), torch.zeros(1000, 2 * O + A + 2)
    lots = torch.zeros(1000, dtype=torch.int64)
    launches = [
        (gather, "_gather_kernel", lambda: gather.gather(table, O, A, keys, STEP, 0, B)),
        (gather, "_gather_kernel", lambda: gather.gather(table, O, A, keys, STEP, 0, B, lots)),
        (philox, "_normals_kernel", lambda: philox.normals(keys, STEP, 3, B, A)),
        (philox, "_normals_kernel", lambda: philox.normals(keys, STEP, 3, B, 32 * 17)),
        (philox, "_integers_kernel", lambda: philox.integers(keys, STEP, 3, B, 1000)),
    ]
    for module, kernel, launch in launches:
        assert_lean(*compiled(module, kernel, launch, capability))
