"""The embedding of two times with its gradients on a GPU."""

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
    network_parameters,
)
from benchmarks.stage import Stage
from benchmarks.workload import Row, in_turns
from gtp_fast import reference


def _embed(seeds: int) -> tuple[Call, Callable[..., Any], list[Tensor]]:
    parameters = [x for i in range(2) for x in network_parameters(seeds, [16, 32, 16])]
    levels = torch.linspace(-1.5, 1.0, seeds * BATCH * 4).view(seeds, 2 * BATCH, 2)

    def call(embed: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        leaves = [x.detach().requires_grad_() for x in inputs[1:]]
        y = embed(inputs[0], leaves)
        gradients = torch.autograd.grad(y.sum(), leaves)
        return {"y": y.detach(), **{f"gradient {i}": g for i, g in enumerate(gradients)}}

    return call, reference.embed, [levels, *parameters]


CASES: dict[str, Case] = {"embed": _embed}


@functools.cache
def make(case: str, device: torch.device) -> Kernel:
    """Return the workload `name x seeds`, made once."""
    name, _, seeds = case.rpartition("x")
    return Kernel(name, CASES[name], int(seeds), device)


@in_turns([f"{name}x{seeds}" for name in CASES for seeds in SEEDS])
def test_kernel(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
