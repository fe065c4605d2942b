"""Normals by counter on a GPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.kernel import (
    ACTIONS,
    BATCH,
    SEEDS,
    STEP,
    Call,
    Case,
    Kernel,
)
from benchmarks.stage import Stage
from benchmarks.workload import Row, in_turns
from gtp_fast.reference import philox


def _normals(seeds: int) -> tuple[Call, Callable[..., Any], list[Tensor]]:
    def call(normals: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        dtype = inputs[1].dtype
        return {"z": normals(inputs[0], STEP, 3, 2 * BATCH, ACTIONS, dtype)}

    return call, philox.normals, [philox.key_tensor(range(seeds)), torch.zeros(1)]


CASES: dict[str, Case] = {"normals": _normals}


@functools.cache
def make(case: str, device: torch.device) -> Kernel:
    """Return the workload `name x seeds`, made once."""
    name, _, seeds = case.rpartition("x")
    return Kernel(name, CASES[name], int(seeds), device)


@in_turns([f"{name}x{seeds}" for name in CASES for seeds in SEEDS])
def test_kernel(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
