"""The embedding of times in native code."""

from __future__ import annotations

import math

import pytest
import torch
from on_arrays import instruction_sets
from tolerance import assert_as_accurate

from gtp_fast import reference
from gtp_fast.ops import embed
from gtp_fast.reference import philox
from gtp_fast.system import native

pytestmark = pytest.mark.skipif(not native.available(), reason=native.missing())


@pytest.fixture(params=instruction_sets())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GTP_FAST_ISA", request.param)
    name: str = request.param
    return name


def normals(seed: int, *shape: int) -> torch.Tensor:
    size = math.prod(shape)
    return philox.normals(philox.key_tensor([seed]), 0, philox.Stream.NOISE, 1, size)[0].view(shape)


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
