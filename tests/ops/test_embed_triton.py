"""The Triton form of the embedding of times against the reference."""

from __future__ import annotations

import math

import pytest
import torch
from mlp_case import split
from tolerance import assert_as_accurate
from torch import Tensor
from triton_cases import DEVICE, generator, normal, poisoned_outputs, pytestmark  # noqa: F401

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.ops.embed import triton_embed
from gtp_fast.ops.mlp_triton import triton_mlp


@pytest.mark.parametrize(("S", "B"), [(1, 1), (2, 150)])
def test_embeddings_and_their_gradients_match_the_reference(S: int, B: int) -> None:
    from gtp_fast.kernels.embed import embed, embed_backward

    shapes = [(16, 32), (32,), (32, 16), (16,)] * 2
    flat = 0.25 * normal(1, S, 2144 + 7)[:, :2144]
    parameters = split(flat, shapes)
    # Every time from the smallest to one beyond the largest in use, where sines turn fastest.
    levels = torch.linspace(0.25 * math.log(0.002), 0.25 * math.log(1000), S * B * 2)
    levels = levels[torch.randperm(S * B * 2, generator=generator(2))].view(S, B, 2).to(DEVICE)
    upstream = normal(3, S, B, 32)
    fast = embed(levels, parameters)
    written = split(torch.full_like(flat, torch.nan), shapes)
    embed_backward(upstream, levels, parameters, written)

    def definition(dtype: torch.dtype) -> list[Tensor]:
        leaves = [p.to(dtype).requires_grad_() for p in parameters]
        sines = reference.sinusoid(levels.to(dtype), 16)
        clocks = [
            reference.mlp(
                sines[:, :, i], leaves[4 * i : 4 * i + 4 : 2], leaves[4 * i + 1 : 4 * i + 4 : 2]
            )
            for i in range(2)
        ]
        y = torch.cat(clocks, -1)
        return [y.detach(), *torch.autograd.grad(y, leaves, upstream.to(dtype))]

    plain, exact = definition(torch.float32), definition(torch.float64)
    for i, three in enumerate(zip((fast, *written), plain, exact, strict=True)):
        assert_as_accurate(f"embedding, result {i}", *three)


def test_embed_refuses_a_wrong_shape() -> None:
    from gtp_fast.kernels.embed import embed

    two = torch.zeros(2, 2, 4, device=DEVICE)
    with pytest.raises(ValueError, match="powers of two"):
        embed(two, [two] * 8)


@pytest.mark.parametrize("name", ["mlp", "embed"])
def test_a_second_derivative_is_refused_instead_of_left_out(name: str) -> None:
    def value(w: Tensor) -> Tensor:
        first, second = normal(2, 1, 32), normal(3, 1, 16)
        if name == "embed":
            return triton_embed(normal(1, 1, 3, 2), [w, first, w.transpose(1, 2), second] * 2).sum()
        return triton_mlp(normal(1, 1, 3, 16), [w, w.transpose(1, 2)], [first, second]).sum()

    w = normal(4, 1, 16, 32).requires_grad_()
    assert torch.autograd.grad(value(w), w)[0].abs().sum() > 0
    with pytest.raises(UserError, match="no second derivative: leave out create_graph=True"):
        torch.autograd.grad(value(w), w, create_graph=True)
