"""Adam's step, the clipped gradient and the moving average of all parameters."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from benchmarks.operation import (
    Case,
    critics,
    maker,
    normal,
    of_seeds,
)
from benchmarks.stage import Stage
from benchmarks.workload import Row
from gtp_fast.reference.adam import guarded, plain


def adam(seeds: int) -> Case:
    count = 2 * sum(x[0].numel() for x in critics(1))
    buffers = [normal(i, seeds, count) for i in range(5)]
    buffers[3] = buffers[3].square()

    def call(adam: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        rate = torch.full_like(inputs[0][:, 0], 3e-4)
        healthy = torch.full((len(rate),), -1, device=rate.device)
        # Clones, as the step works in place; their cost is that of all rows.
        state = [x.clone() for x in inputs]
        norm = adam(*state, 100, rate, 0.005, 1.0, torch.zeros_like(rate), math.inf, healthy)
        return {"norm": norm, "parameter": state[0], "average": state[4]}

    return call, guarded(plain), buffers


make = maker(adam=adam)


@of_seeds("adam")
def test_adam(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
