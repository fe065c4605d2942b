"""The twin critics of an update: their values, and both gradients of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.operation import (
    ACTIONS,
    BATCH,
    OBSERVATIONS,
    Case,
    critics,
    maker,
    normal,
    of_seeds,
)
from benchmarks.stage import Stage
from benchmarks.workload import Row
from gtp_fast import reference


def mlp_forward(seeds: int) -> Case:
    _, plain, inputs = mlp(seeds)

    def call(mlp: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            return {"y": mlp(inputs[:2], inputs[2::2], inputs[3::2])}

    return call, plain, inputs


def mlp(seeds: int) -> Case:
    """The twin critics: both gradients of a batch."""
    pieces = [normal(2, seeds, BATCH, OBSERVATIONS), normal(3, seeds, BATCH, ACTIONS)]

    def call(mlp: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        leaves = [x.detach().requires_grad_() for x in inputs[2:]]
        y = mlp(inputs[:2], leaves[::2], leaves[1::2])
        gradients = torch.autograd.grad(y.sum(), leaves)
        return {"y": y.detach(), **{f"gradient {i}": g for i, g in enumerate(gradients)}}

    return call, reference.mlp, [*pieces, *critics(seeds)]


make = maker(mlp_forward=mlp_forward, mlp=mlp)


@of_seeds("mlp forward", "mlp")
def test_mlp(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
