"""Twin critics with layer norms, as of FQL and SSCQL, on a CPU: a batch and its gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.stage import Stage
from benchmarks.workload import (
    COMPILED,
    OURS,
    Results,
    Row,
    Subject,
    Unavailable,
    Workload,
    compiled,
    fused_or_reason,
    in_turns,
)
from gtp_fast import ops, reference
from gtp_fast.networks import TwinCritic
from gtp_fast.networks.parameters import Parameters, initialise
from gtp_fast.reference import philox

OBSERVATIONS, ACTIONS, DEPTH = 29, 8, 4
# (width, batch, whether the action alone wants its gradient)
CASES = [(128, 256, False), (128, 256, True), (128, 1024, False), (256, 256, False)]


class Critics(Workload):
    """Values of a batch, and the gradients of all parameters or of the action alone."""

    def __init__(self, width: int, batch: int, frozen: bool, device: torch.device):
        self.width, self.batch, self.frozen, self.device = width, batch, frozen, device
        of = "gradient of the action" if frozen else "every gradient"
        self.group = f"critics with layer norms, width {width}, batch {batch}, {of}"
        shape = [1, batch, OBSERVATIONS, ACTIONS]
        self.facts = {"dtype": "float32", "shape": shape, "width": width, "depth": DEPTH}
        draw = torch.Generator().manual_seed(1)
        self.observation = torch.randn(1, batch, OBSERVATIONS, generator=draw)
        self.action = torch.randn(1, batch, ACTIONS, generator=draw)
        self.gradient = torch.randn(2, 1, batch, generator=draw)

    def exact(self) -> Results:
        """Run the reference in float64 on the same numbers."""
        return self._run(reference.mlp, torch.float64)()

    def build(self, row: Row) -> Subject:
        """Take the reference, the reference compiled, or the native form."""
        form: Callable[..., Tensor] = reference.mlp
        if row == COMPILED and self.batch > 256:
            raise Unavailable("its sums over so many rows are less exact than the gate allows")
        if row == COMPILED:
            form = compiled(form, self.device)
        if row == OURS:
            chosen = ops.resolve("auto", self.device)
            fused_or_reason(chosen.forms, "mlp")
            form = chosen.mlp
        run = self._run(form, torch.float32)
        return Subject(run, {name: value.clone() for name, value in run().items()})

    def _run(self, form: Callable[..., Tensor], dtype: torch.dtype) -> Callable[[], Results]:
        critic = TwinCritic(OBSERVATIONS, ACTIONS, self.width, DEPTH, form, "gelu", True)
        parameters = Parameters(2, critic.shapes, self.device, torch.float32)
        initialise(parameters, philox.key_tensor([0]), (1, 2), "fan_avg")
        views = {name: x.detach().to(dtype) for name, x in parameters.views.items()}
        observation, action = self.observation.to(dtype), self.action.to(dtype)
        wanted = {"action": action} if self.frozen else views
        for leaf in wanted.values():
            leaf.requires_grad_()

        def run() -> Results:
            q = critic(views, observation, action)
            gradients = torch.autograd.grad(q, list(wanted.values()), self.gradient.to(dtype))
            return {"q": q.detach(), **dict(zip(wanted, gradients, strict=True))}

        return run


make = functools.cache(Critics)


@in_turns(CASES)
def test_mlp_norm(benchmark: Any, stage: Stage, case: Any, turn: int, row: Row) -> None:
    if stage.device.type != "cpu":
        pytest.skip("on a GPU PyTorch computes networks with layer norms")
    stage.measure(benchmark, make(*case, stage.device), row)
