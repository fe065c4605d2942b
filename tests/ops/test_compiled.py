"""Operations under torch.compile keep a graph for every shape, beyond PyTorch's own limit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from gtp_fast import ops
from gtp_fast.ops import adam, mlp
from gtp_fast.ops.compiled import GRAPHS
from gtp_fast.ops.context import Context
from gtp_fast.reference.adam import guarded, plain


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


def test_the_optimiser_takes_every_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    found = []
    for step in (guarded(adam.compiled_adam()), guarded(plain)):
        buffers = [torch.linspace(0.1, 1.0, 6).view(2, 3) for _ in range(5)]
        rate, loss, diverged = torch.tensor([0.1, 0.2]), torch.zeros(2), torch.tensor([-1, -1])
        step(*buffers, 3, rate, 0.5, 0.5, loss, 1.0, diverged, weight_decay=2.0)
        found.append(torch.stack(buffers))
    assert torch.equal(*found) and not torch.equal(found[0][0], found[0][1])


def test_what_is_not_compiled_is_said() -> None:
    told = ops.resolve("compiled").describe()
    assert "reference: weigh, td, tally (not compiled)" in told
