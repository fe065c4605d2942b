"""The TD loss of the twin critics and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.operation import (
    BATCH,
    Case,
    maker,
    normal,
    of_seeds,
)
from benchmarks.stage import Stage
from benchmarks.workload import Row
from gtp_fast import reference


def td_loss(seeds: int) -> Case:
    inputs = [normal(1, 2, seeds, BATCH), normal(2, 2, seeds, BATCH), normal(3, seeds, BATCH)]

    def call(td_loss: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        values = inputs[0].detach().requires_grad_()
        loss = td_loss(values, inputs[1], inputs[2], torch.ones_like(inputs[2]), 0.99)
        (gradient,) = torch.autograd.grad(loss.sum(), values)
        return {"loss": loss.detach(), "gradient": gradient}

    return call, reference.td_loss, inputs


make = maker(td_loss=td_loss)


@of_seeds("td_loss")
def test_td(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
