"""The embedding of an update's times, and its gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.operation import (
    BATCH,
    Case,
    layers,
    maker,
    of_seeds,
)
from benchmarks.stage import Stage
from benchmarks.workload import Row
from gtp_fast import reference


def embed(seeds: int) -> Case:
    parameters = [x for i in range(2) for x in layers(seeds, [16, 32, 16])]
    levels = torch.linspace(-1.5, 1.0, seeds * BATCH * 4).view(seeds, 2 * BATCH, 2)

    def call(embed: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        leaves = [x.detach().requires_grad_() for x in inputs[1:]]
        y = embed(inputs[0], leaves)
        gradients = torch.autograd.grad(y.sum(), leaves)
        return {"y": y.detach(), **{f"gradient {i}": g for i, g in enumerate(gradients)}}

    return call, reference.embed, [levels, *parameters]


make = maker(embed=embed)


@of_seeds("embed")
def test_embed(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
