"""The two losses and their gradient with respect to the student, one batch."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from benchmarks.stage import Stage
from benchmarks.workload import (
    COMPILED,
    OURS,
    Results,
    Row,
    Subject,
    Workload,
    compiled,
    fused_or_reason,
    in_turns,
)
from gtp_fast import ops, reference
from gtp_fast.reference import philox

ACTIONS, NODES, STEP = 8, 41, 7


class Loss(Workload):
    """Forward and backward pass of consistency and flow loss for S seeds of B rows."""

    def __init__(self, seeds: int, batch: int, device: torch.device):
        self.device = device
        self.group = f"loss and gradient, {seeds} x {batch} rows"
        self.facts = {"dtype": "float32", "shape": [seeds, batch, ACTIONS], "num_candidates": 1}
        draw = torch.Generator().manual_seed(0)
        a = torch.rand(seeds, batch, ACTIONS, generator=draw) * 2 - 1
        networks = torch.randn(seeds, 3 * batch, ACTIONS, generator=draw)
        w = 1 + torch.rand(seeds, batch, generator=draw)
        self.a, self.w = a.to(device), w.to(device)
        student, teacher = networks.to(device).split((2 * batch, batch), 1)
        self.student, self.teacher = student.contiguous().requires_grad_(), teacher.contiguous()
        keys = philox.key_tensor(range(seeds), device)
        self.p = reference.perturb(
            self.a, reference.karras_nodes(NODES).to(device), NODES, keys, STEP
        )

    def exact(self) -> Results:
        """Evaluate the reference in float64 on the very same numbers."""
        student = self.student.detach().double().requires_grad_()
        p = reference.Perturbation(*(x.double() for x in self.p))
        return self._evaluate(
            reference.flow_map_loss,
            student,
            self.teacher.double(),
            self.a.double(),
            p,
            self.w.double(),
        )

    def build(self, row: Row) -> Subject:
        """Take the reference, the reference compiled, or the fused loss."""
        loss: Any = reference.flow_map_loss
        if row == COMPILED:
            loss = compiled(loss, self.device)
        if row == OURS:
            chosen = ops.resolve("auto", self.device)
            fused_or_reason(chosen.forms, "loss")
            loss = chosen.loss
        run = functools.partial(
            self._evaluate, loss, self.student, self.teacher, self.a, self.p, self.w
        )
        return Subject(run, {name: value.clone() for name, value in run().items()})

    @staticmethod
    def _evaluate(loss: Any, student: Tensor, *rest: Any) -> dict[str, Tensor]:
        consistency, flow = loss(student, *rest)
        (gradient,) = torch.autograd.grad(consistency.sum() + flow.sum(), student)
        return {"consistency": consistency.detach(), "flow": flow.detach(), "gradient": gradient}


make = functools.cache(Loss)


@in_turns(("1x256",))
def test_loss(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    seeds, batch = map(int, case.split("x"))
    stage.measure(benchmark, make(seeds, batch, stage.device), row)
