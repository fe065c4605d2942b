"""Embeddings of time: the closed form, then the native form and its gradients."""

from __future__ import annotations

import math

import pytest
import torch
from native_cases import needs_native, normals
from tolerance import assert_as_accurate

from gtp_fast import reference
from gtp_fast.ops import embed


def test_sinusoids_are_sines_then_cosines_at_geometric_frequencies() -> None:
    level, features = 0.7, 6
    angles = [250.0 * level * 10_000.0 ** (-i / 2) for i in range(3)]
    expected = [*map(math.sin, angles), *map(math.cos, angles)]
    found = reference.sinusoid(torch.tensor([level], dtype=torch.float64), features)
    assert found[0].tolist() == pytest.approx(expected, rel=1e-11)


def test_each_level_has_a_clock_of_its_own() -> None:
    levels = normals(89, 2, 5, 2).double()
    shapes = ((4, 8), (8,), (8, 4), (4,)) * 2
    parameters = [normals(91 + i, 2, *shape).double() for i, shape in enumerate(shapes)]
    embedded = reference.embed(levels, parameters)
    assert embedded.shape == (2, 5, 8)
    for i in range(2):
        first, bias, last, shift = parameters[4 * i : 4 * i + 4]
        sines = reference.sinusoid(levels[..., i], 4)
        hidden = torch.nn.functional.mish(sines @ first + bias[:, None])
        expected = hidden @ last + shift[:, None]
        assert torch.allclose(embedded[..., 4 * i : 4 * i + 4], expected, rtol=1e-11, atol=1e-12)


@needs_native
def test_embeddings_of_time(isa: str) -> None:
    levels = 0.25 * torch.log(reference.karras_nodes(66)).view(1, 33, 2).repeat(2, 1, 1)
    levels = levels + 1e-3 * normals(90, 2, 33, 2)
    shapes = ((16, 32), (32,), (32, 16), (16,)) * 2
    parameters = [normals(91 + i, 2, *shape) / 4 for i, shape in enumerate(shapes)]
    dy, results = normals(99, 2, 33, 32), []
    for function, dtype in (
        (embed.native_embed, torch.float32),
        (reference.embed, torch.float32),
        (reference.embed, torch.float64),
    ):
        leaves = [p.to(dtype).requires_grad_() for p in parameters]
        y = function(levels.to(dtype), leaves)
        results.append([y.detach(), *torch.autograd.grad(y, leaves, dy.to(dtype))])
    for i, values in enumerate(zip(*results, strict=True)):
        assert_as_accurate(f"result {i}", *values)
