"""Adam and the moving average on a GPU, for the parameters of twin critics."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.kernel import (
    ACTIONS,
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
from gtp_fast.reference.adam import guarded, plain


def _adam(seeds: int) -> tuple[Call, Callable[..., Any], list[Tensor]]:
    sizes = [OBSERVATIONS + ACTIONS, *[WIDTH] * DEPTH, 1]
    count = 2 * sum(x[0].numel() for x in network_parameters(1, sizes))
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


CASES: dict[str, Case] = {"adam": _adam}


@functools.cache
def make(case: str, device: torch.device) -> Kernel:
    """Return the workload `name x seeds`, made once."""
    name, _, seeds = case.rpartition("x")
    return Kernel(name, CASES[name], int(seeds), device)


@in_turns([f"{name}x{seeds}" for name in CASES for seeds in SEEDS])
def test_kernel(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
