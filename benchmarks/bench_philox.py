"""Normal numbers by counter, as an update draws its noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.operation import (
    ACTIONS,
    BATCH,
    STEP,
    Case,
    maker,
    of_seeds,
)
from benchmarks.stage import Stage
from benchmarks.workload import Row
from gtp_fast.reference import philox


def normals(seeds: int) -> Case:
    def call(normals: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        dtype = inputs[1].dtype
        return {"z": normals(inputs[0], STEP, 3, 2 * BATCH, ACTIONS, dtype)}

    return call, philox.normals, [philox.key_tensor(range(seeds)), torch.zeros(1)]


make = maker(normals=normals)


@of_seeds("normals")
def test_philox(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
