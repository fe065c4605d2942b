"""Drawing times and noise by counter and noising a batch of actions."""

from __future__ import annotations

import functools
from typing import Any

import torch

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
from gtp_fast.reference import Perturbation, philox

ACTIONS, NODES, STEP = 8, 41, 7


class Perturb(Workload):
    """Everything that both losses need of the times and the noise, for S seeds of B rows."""

    def __init__(self, seeds: int, batch: int, device: torch.device):
        self.device = device
        self.group = f"perturb, {seeds} x {batch} rows"
        self.facts = {"dtype": "float32", "shape": [seeds, batch, ACTIONS], "num_candidates": 1}
        draw = torch.Generator().manual_seed(0)
        self.a = (torch.rand(seeds, batch, ACTIONS, generator=draw) * 2 - 1).to(device)
        self.nodes = reference.karras_nodes(NODES).to(device)
        self.keys = philox.key_tensor(range(seeds), device)
        # On the device, as an update inside a captured graph must read it.
        self.step = torch.tensor(STEP, device=device)

    def exact(self) -> Results:
        """Evaluate the reference in float64 at the same counters."""
        exact = reference.perturb(self.a.double(), self.nodes.double(), NODES, self.keys, STEP)
        return exact._asdict()

    def build(self, row: Row) -> Subject:
        """Take the reference, the reference compiled, or the fused kernel."""
        perturb: Any = reference.perturb
        if row == COMPILED:
            perturb = compiled(perturb, self.device)
        if row == OURS:
            chosen = ops.resolve("auto", self.device)
            fused_or_reason(chosen.forms, "perturb")
            perturb = chosen.perturb
        run = functools.partial(perturb, self.a, self.nodes, NODES, self.keys, self.step)
        with torch.no_grad():
            result = Perturbation(*(x.clone() for x in run()))
        return Subject(torch.no_grad()(run), result._asdict())


make = functools.cache(Perturb)


@in_turns(("1x256",))
def test_perturb(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    seeds, batch = map(int, case.split("x"))
    stage.measure(benchmark, make(seeds, batch, stage.device), row)
