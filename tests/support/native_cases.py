"""What the tests of native forms share: their mark, their draws, their seeds."""

from __future__ import annotations

import math

import pytest
import torch

from gtp_fast import reference
from gtp_fast.reference import philox
from gtp_fast.system import native

needs_native = pytest.mark.skipif(not native.available(), reason=native.missing())
STEP = 2**32 + 7


def keys(seeds: int) -> torch.Tensor:
    return philox.key_tensor([3, 2**64 - 5, 11][:seeds])


def draw(seed: int, *shape: int) -> torch.Tensor:
    size = math.prod(shape)
    return philox.normals(philox.key_tensor([seed]), 0, philox.Stream.ACT, 1, size)[0].view(shape)


def normals(seed: int, *shape: int) -> torch.Tensor:
    size = math.prod(shape)
    return philox.normals(philox.key_tensor([seed]), 0, philox.Stream.NOISE, 1, size)[0].view(shape)


def perturbed(function, a, N, dtype=torch.float32, seeds=None, **options):
    nodes = reference.karras_nodes(N, dtype=dtype)
    return function(
        a.to(dtype), nodes, N, keys(len(a)) if seeds is None else seeds, STEP, **options
    )
