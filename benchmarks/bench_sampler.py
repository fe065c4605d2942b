"""The K-step sampler, from one action to a large batch; the noise is passed in."""

from __future__ import annotations

import functools
from collections.abc import Callable
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
from gtp_fast import ops, random, reference
from gtp_fast.networks import FlowMapNetwork, Parameters, initialise
from gtp_fast.reference import FoldedPolicy

OBSERVATIONS, ACTIONS, WIDTH, DEPTH = 29, 8, 256, 3


class Sampler(Workload):
    """B actions of one policy in K steps; the reference is already folded, the hardest to beat."""

    def __init__(self, batch: int, steps: int, device: torch.device):
        self.batch, self.steps, self.device = batch, steps, device
        self.group = f"sampler, batch {batch}, K = {steps}"
        self.facts = {
            "dtype": "float32",
            "shape": [1, batch, OBSERVATIONS, ACTIONS],
            "width": WIDTH,
            "depth": DEPTH,
            "K": steps,
            "num_candidates": 1,
        }
        self.policy = policy(steps).to(device)
        draw = torch.Generator().manual_seed(1)
        self.observation = torch.randn(1, batch, OBSERVATIONS, generator=draw).to(device)
        self.noise = torch.randn(1, batch, ACTIONS, generator=draw).to(device)

    def exact(self) -> Results:
        """Run the folded reference in float64 with the same weights."""
        exact = reference.folded_sample(
            doubled(self.policy), self.observation.double(), self.noise.double()
        )
        return {"actions": exact}

    def build(self, row: Row) -> Subject:
        """Take the folded reference, the same compiled, or the native sampler."""
        note = ""
        sample: Callable[[Tensor, Tensor], Tensor] = functools.partial(
            reference.folded_sample, self.policy
        )
        if row == COMPILED:
            inner, note = compiled_sampler(
                self.batch == 1 or self.device.type == "cuda", self.device
            )
            _hold_still(self.policy)
            sample = functools.partial(inner, self.policy)
        if row == OURS:
            chosen = ops.resolve("auto", self.device)
            fused_or_reason(chosen.choices, "sampler")
            native = chosen.sampler(self.policy)
            sample, note = native.sample, native.describe()
        run = torch.no_grad()(functools.partial(sample, self.observation, self.noise))
        return Subject(run, {"actions": run().clone()}, note)


def policy(steps: int) -> FoldedPolicy:
    """Return a freshly initialised policy, folded for K steps."""
    network = FlowMapNetwork(OBSERVATIONS, ACTIONS, WIDTH, DEPTH, reference.mlp)
    parameters = Parameters(1, network.shapes(), torch.device("cpu"), torch.float32)
    initialise(parameters, random.key_tensor([0]), (0,))
    times = reference.sampling_times(steps, dtype=torch.float64)
    return network.fold(parameters.views, times, kind="edm", sigma_data=0.5, t_min=0.002)


def doubled(folded: FoldedPolicy) -> FoldedPolicy:
    """Return the same weights in float64."""
    return FoldedPolicy(*(_double(part) for part in folded))


def _double(part: Any) -> Any:
    if isinstance(part, tuple):
        return tuple(x.double() for x in part)
    return part.double() if isinstance(part, Tensor) else part


def _hold_still(folded: FoldedPolicy) -> None:
    """Tell torch.compile that weights stay in place: else its CUDA graph copies them every time."""
    for part in folded:
        for tensor in part if isinstance(part, tuple) else (part,):
            if isinstance(tensor, Tensor):
                torch._dynamo.mark_static_address(tensor)


@functools.cache
def compiled_sampler(static: bool, device: torch.device) -> tuple[Callable[..., Tensor], str]:
    """Return the compiled reference: for each shape its own, or one for batches of any size.

    On a CPU a compilation takes tens of seconds, so the two larger batches share theirs.
    """
    if static:
        return compiled(reference.folded_sample, device), ""
    return compiled(reference.folded_sample, device, dynamic=True), "compiled for any batch"


make = functools.cache(Sampler)


@in_turns(("1x5", "256x5", "16384x5", "1x2", "256x2", "16384x2"))
def test_sampler(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    batch, steps = map(int, case.split("x"))
    stage.measure(benchmark, make(batch, steps, stage.device), row)
