"""Operations under torch.compile keep a graph for every shape, beyond PyTorch's own limit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from gtp_fast.ops import mlp
from gtp_fast.ops.compiled import GRAPHS
from gtp_fast.ops.context import Context


def test_every_shape_has_a_graph_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo import config, reset

    graphs = []

    def counted(module: Any, inputs: Any) -> Callable[..., Any]:
        graphs.append(module)
        forward: Callable[..., Any] = module.forward
        return forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counted))
    weights = [torch.ones(1, 2, 3), torch.ones(1, 3, 1)]
    biases = [torch.ones(1, 3), torch.ones(1, 1)]
    reset()
    with config.patch(recompile_limit=8):
        form = mlp.FORMS["compiled"](Context(torch.zeros, mlp.reference.mlp, "fp32", False))
        for rows in range(2, 14):
            y = form(torch.ones(1, rows, 2), weights, biases, "relu")
            assert y.shape == (1, rows, 1) and float(y[0, 0, 0]) == 10.0
    assert len(graphs) == 12 < GRAPHS
    reset()
