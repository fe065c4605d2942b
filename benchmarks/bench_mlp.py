"""The multilayer perceptron on a GPU: forward, and with its gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.kernel import (
    ACTIONS,
    BATCH,
    DEPTH,
    OBSERVATIONS,
    SEEDS,
    WIDTH,
    Call,
    Case,
    Kernel,
    network_parameters,
    normal,
)
from benchmarks.stage import Stage
from benchmarks.workload import Row, in_turns
from gtp_fast import reference


def _mlp(seeds: int) -> tuple[Call, Callable[..., Any], list[Tensor]]:
    """The twin critics: both gradients of a batch."""
    parameters = network_parameters(2 * seeds, [OBSERVATIONS + ACTIONS, *[WIDTH] * DEPTH, 1])
    pieces = [normal(2, seeds, BATCH, OBSERVATIONS), normal(3, seeds, BATCH, ACTIONS)]

    def call(mlp: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        leaves = [x.detach().requires_grad_() for x in inputs[2:]]
        y = mlp(inputs[:2], leaves[::2], leaves[1::2])
        gradients = torch.autograd.grad(y.sum(), leaves)
        return {"y": y.detach(), **{f"gradient {i}": g for i, g in enumerate(gradients)}}

    return call, reference.mlp, [*pieces, *parameters]


def _mlp_forward(seeds: int) -> tuple[Call, Callable[..., Any], list[Tensor]]:
    _, mlp, inputs = _mlp(seeds)

    def call(mlp: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            return {"y": mlp(inputs[:2], inputs[2::2], inputs[3::2])}

    return call, mlp, inputs


CASES: dict[str, Case] = {"mlp forward": _mlp_forward, "mlp": _mlp}


@functools.cache
def make(case: str, device: torch.device) -> Kernel:
    """Return the workload `name x seeds`, made once."""
    name, _, seeds = case.rpartition("x")
    return Kernel(name, CASES[name], int(seeds), device)


@in_turns([f"{name}x{seeds}" for name in CASES for seeds in SEEDS])
def test_kernel(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
