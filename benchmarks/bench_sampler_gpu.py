"""The CUDA sampler in every precision: from Python, and a launch inside a CUDA graph."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.bench_sampler import ACTIONS, OBSERVATIONS, policy
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
from gtp_fast import native, ops, reference
from gtp_fast.reference import FoldedPolicy

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
        self.policy = policy(steps).to(device)
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
        note = ""
        if row == OURS:
            if reason := native.missing("cuda"):
                raise Unavailable(reason)
            sampler = ops.NativeSampler(self.policy, self.precision)
            sample = functools.partial(sampler.sample, self.observation, self.noise)
            batch = self.noise.shape[1]
            note = f"{in_a_graph(sample):.1f} us a launch in a graph: {sampler.kernel(batch)}"
        else:
            inner: Any = reference.folded_sample
            if row == COMPILED:
                # Every case compiles the same function, and past a limit PyTorch would stop doing so.
                torch.compiler.reset()
                inner = compiled(inner, self.device)
                hold_still(self.policy)
            sample = functools.partial(inner, self.policy, self.observation, self.noise)

        @torch.no_grad()
        def run() -> Tensor:
            with at_precision(self.precision):
                result: Tensor = sample()
            return result

        return Subject(run, {"actions": run().float().clone()}, note)


def in_a_graph(sample: functools.partial[Tensor]) -> float:
    """Return microseconds of device time a launch, between events around a graph of launches."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(side):
        sample()
        with torch.cuda.graph(graph, stream=side):
            for _ in range(_LAUNCHES):
                sample()
    times = []
    for _ in range(60):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3 / _LAUNCHES)
    return sorted(times[10:])[25]


@contextlib.contextmanager
def at_precision(precision: str) -> Any:
    """Let PyTorch's own products read operands of a precision."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    try:
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


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
    stage.measure(benchmark, make(batch, steps, precision, stage.device), row)
