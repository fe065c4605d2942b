"""The advantage weights on a GPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.kernel import (
    BATCH,
    SEEDS,
    Call,
    Case,
    Kernel,
    normal,
)
from benchmarks.stage import Stage
from benchmarks.workload import Row, in_turns
from gtp_fast import reference


def _weigh(seeds: int) -> tuple[Call, Callable[..., Any], list[Tensor]]:
    def call(weigh: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        w, q, spread, mean, largest = weigh(*inputs, BATCH, 100.0)
        return {"w": w, "q": q, "spread": spread, "mean": mean, "largest": largest}

    return call, reference.weigh, [normal(1, 2, seeds, 2 * BATCH), torch.ones(seeds)]


CASES: dict[str, Case] = {"weigh": _weigh}


@functools.cache
def make(case: str, device: torch.device) -> Kernel:
    """Return the workload `name x seeds`, made once."""
    name, _, seeds = case.rpartition("x")
    return Kernel(name, CASES[name], int(seeds), device)


@in_turns([f"{name}x{seeds}" for name in CASES for seeds in SEEDS])
def test_kernel(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
