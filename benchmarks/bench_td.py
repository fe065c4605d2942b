"""The TD loss with its gradient on a GPU."""

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


def _td_loss(seeds: int) -> tuple[Call, Callable[..., Any], list[Tensor]]:
    inputs = [normal(1, 2, seeds, BATCH), normal(2, 2, seeds, BATCH), normal(3, seeds, BATCH)]

    def call(td_loss: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        values = inputs[0].detach().requires_grad_()
        loss = td_loss(values, inputs[1], inputs[2], torch.ones_like(inputs[2]), 0.99)
        (gradient,) = torch.autograd.grad(loss.sum(), values)
        return {"loss": loss.detach(), "gradient": gradient}

    return call, reference.td_loss, inputs


CASES: dict[str, Case] = {"td_loss": _td_loss}


@functools.cache
def make(case: str, device: torch.device) -> Kernel:
    """Return the workload `name x seeds`, made once."""
    name, _, seeds = case.rpartition("x")
    return Kernel(name, CASES[name], int(seeds), device)


@in_turns([f"{name}x{seeds}" for name in CASES for seeds in SEEDS])
def test_kernel(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
