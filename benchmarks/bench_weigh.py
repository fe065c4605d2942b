"""The advantage weights of a batch and what is noted of them."""

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


def weigh(seeds: int) -> Case:
    def call(weigh: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        w, q, spread, mean, largest = weigh(*inputs, BATCH, 100.0)
        return {"w": w, "q": q, "spread": spread, "mean": mean, "largest": largest}

    return call, reference.weigh, [normal(1, 2, seeds, 2 * BATCH), torch.ones(seeds)]


make = maker(weigh=weigh)


@of_seeds("weigh")
def test_weigh(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
