"""The CUDA sampler in every precision: from Python, and a launch inside a CUDA graph."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.sampler_rivals import ACTIONS, OBSERVATIONS, FirstWritten
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
    in_turns,
)
from gtp_fast import reference
from gtp_fast.ops import sampler as ops_sampler
from gtp_fast.reference import FoldedPolicy
from gtp_fast.system import native

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

_TARGETS = {1: "20 us, 5x compiled", 256: "28 us, 4x compiled", 16384: "100 us, 2x compiled"}
_LAUNCHES = 20  # in one graph, so that what surrounds a replay is spread thin


class GpuSampler(Workload):
    """B actions of one policy in K steps at one precision, the rivals at the same one.

    tf32: PyTorch's own switch; bf16: autocast. The targets are for an H100.
    """

    def __init__(self, batch: int, steps: int, precision: str, device: torch.device):
        self.precision, self.device = precision, device
        self.group = f"sampler {precision}, batch {batch}, K = {steps}"
        self.facts = {
            "dtype": precision,
            "shape": [1, batch, OBSERVATIONS, ACTIONS],
            "K": steps,
            "num_candidates": 1,
        }
        if steps == 5 and precision == "bf16" and batch in _TARGETS:
            self.facts["target"] = _TARGETS[batch]
        self.policy = FirstWritten(steps, device).folded()
        draw = torch.Generator().manual_seed(1)
        self.observation = torch.randn(1, batch, OBSERVATIONS, generator=draw).to(device)
        self.noise = torch.randn(1, batch, ACTIONS, generator=draw).to(device)

    def exact(self) -> Results:
        """Run the folded reference in float64 with the same weights."""
        doubled = self.policy.to(torch.float64)
        inputs = self.observation.double(), self.noise.double()
        return {"actions": reference.folded_sample(doubled, *inputs)}

    def build(self, row: Row) -> Subject:
        """Take the folded reference, the same compiled, or the CUDA sampler."""
        if row == OURS:
            if reason := native.missing("cuda"):
                raise Unavailable(reason)
            sampler = ops_sampler.NativeSampler(self.policy, self.precision)
            run = functools.partial(sampler.sample, self.observation, self.noise)
            return Subject(run, {"actions": run().clone()}, self._note(sampler))
        rival: Callable[..., Tensor] = RIVALS[self.precision]
        if row == COMPILED:
            # Every case compiles the same function, which PyTorch does a few times only.
            torch.compiler.reset()
            rival = compiled(rival, self.device)
            hold_still(self.policy)

        @torch.no_grad()
        def run_rival() -> Tensor:
            return rival(self.policy, self.observation, self.noise)

        return Subject(run_rival, {"actions": run_rival().float().clone()})

    def _note(self, sampler: ops_sampler.NativeSampler) -> str:
        """Return what a launch inside a graph takes, by the kernel chosen and by all others."""
        batch, out = self.noise.shape[1], torch.empty_like(self.noise)
        pointers = self.observation.data_ptr(), self.noise.data_ptr(), out.data_ptr()

        def launch(plan: tuple[str, int]) -> None:
            stream = torch.cuda.current_stream().cuda_stream
            sampler.native.sample(*pointers, batch, stream, plan)

        chosen = sampler.native.plan(batch)
        times = {
            plan: in_a_graph(functools.partial(launch, plan)) for plan in _plans(sampler, batch)
        }
        others = [f"{path} of {n} {t:.1f}" for (path, n), t in times.items() if (path, n) != chosen]
        words = f"{times[chosen]:.1f} us a launch in a graph: {sampler.kernel(batch)}"
        return words + (f"; other kernels: {', '.join(others)}" if others else "")


def _plans(sampler: ops_sampler.NativeSampler, batch: int) -> list[tuple[str, int]]:
    """Return the kernels worth a try.

    Left out: those that read all weights for each few rows of many.
    """
    every: list[tuple[str, int]] = sampler.native.plans()
    return [plan for plan in every if batch <= 128 * plan[1] or plan == sampler.native.plan(batch)]


def in_a_graph(launch: Callable[[], object]) -> float:
    """Return microseconds of device time a launch, between events around a graph of launches."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(side):
        launch()
        with torch.cuda.graph(graph, stream=side):
            for _ in range(_LAUNCHES):
                launch()
    times = []
    for _ in range(60):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3 / _LAUNCHES)
    return sorted(times[10:])[25]


def autocast_sample(folded: FoldedPolicy, observation: Tensor, noise: Tensor) -> Tensor:
    """Run the folded reference with its products in bf16."""
    with torch.autocast("cuda", torch.bfloat16):
        return reference.folded_sample(folded, observation, noise)


RIVALS = {
    "fp32": reference.folded_sample,
    "tf32": reference.folded_sample,
    "bf16": autocast_sample,
}


def hold_still(folded: FoldedPolicy) -> None:
    """Tell torch.compile that weights stay in place: else its CUDA graph copies them every time."""
    for part in folded:
        for tensor in part if isinstance(part, tuple) else (part,):
            if isinstance(tensor, Tensor):
                torch._dynamo.mark_static_address(tensor)


make = functools.cache(GpuSampler)
CASES = [f"{batch}x5-bf16" for batch in (1, 16, 256, 16384)]
CASES += [f"{batch}x5-fp32" for batch in (1, 256, 16384)]
CASES += ["16384x5-tf32", "1x2-bf16", "256x2-bf16", "16384x2-bf16"]


@in_turns(CASES)
def test_sampler_gpu(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    size, precision = case.split("-")
    batch, steps = map(int, size.split("x"))
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, precision == "tf32"
    try:
        stage.measure(benchmark, make(batch, steps, precision, stage.device), row)
    finally:
        # Left on, it would round the eager rows of the benchmarks that follow, and their gate.
        matmul.allow_tf32 = before
