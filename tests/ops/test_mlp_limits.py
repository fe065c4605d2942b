"""What the fused perceptron of a GPU does with sizes that its kernel does not hold."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.ops import mlp_triton


def network(width: int) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    sizes = [3, width, 2]
    weights = [torch.randn(1, a, b) for a, b in pairwise(sizes)]
    return torch.randn(1, 4, 3), weights, [torch.zeros(1, n) for n in sizes[1:]]


def test_a_size_beyond_the_kernel_is_said_once() -> None:
    parts = network(600)
    with pytest.warns(UserWarning, match="1 hidden layers of 600 .* runs through PyTorch") as told:
        results = [mlp_triton.triton_mlp(*parts) for _ in range(2)]
    assert len(told) == 1
    assert all(torch.equal(result, reference.mlp(*parts)) for result in results)


def test_a_size_beyond_the_kernel_is_an_error_where_fused_was_asked_for() -> None:
    with pytest.raises(UserError, match=r"--backend fused is not available for .* of 4 "):
        mlp_triton.triton_mlp(*network(4), strict=True)
