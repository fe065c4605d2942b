"""The K-step sampler, from one action to a large batch; the noise is passed in."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import sampler_rivals as rivals
from benchmarks.sampler_rivals import ACTIONS, DEPTH, OBSERVATIONS, WIDTH, FirstWritten
from benchmarks.stage import Stage, gate
from benchmarks.workload import (
    COMPILED,
    EAGER,
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
from gtp_fast.policy import Policy
from gtp_fast.policy.file import Packed

BF16, INT8 = Row("ours bf16", "ours"), Row("ours int8", "ours")
ONNX = Row("ONNX Runtime, folded", "rival")
PRODUCTS = Row("its matrix products alone, torch.mm", "rival")
ROWS = (EAGER, COMPILED, ONNX, OURS, BF16, INT8)
LOWERED = {BF16: "bf16", INT8: "int8"}
# An input may be rounded to the level beside, which only many rows judge by the rule of errors.
JUDGED = 1024


class Sampler(Workload):
    """B actions of one policy in K steps; eager and compiled run the network as first written."""

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
        self.policy = FirstWritten(steps, device).folded()
        draw = torch.Generator().manual_seed(1)
        self.observation = torch.randn(1, batch, OBSERVATIONS, generator=draw).to(device)
        self.noise = torch.randn(1, batch, ACTIONS, generator=draw).to(device)

    def exact(self) -> Results:
        """Run the folded reference in float64 with the same weights."""
        return {"actions": self._reference(self.policy, torch.float64)}

    def build(self, row: Row) -> Subject:
        """Take the network as first written, the same compiled, a rival, or the native sampler."""
        note, judge, judged = "", None, self
        sample: Callable[[Tensor, Tensor], Tensor]
        if row == EAGER:
            # One action is faster with PyTorch's own Mish, a batch with the algebraic form.
            mish = torch.nn.functional.mish if self.batch == 1 else reference.mish
            sample = FirstWritten(self.steps, self.device, mish)
        elif row == COMPILED:
            static = self.batch == 1 or self.device.type == "cuda"
            sample, note = compiled_sampler(self.steps, static, self.device)
        elif row == ONNX:
            threads = 1 if self.batch == 1 else torch.get_num_threads()
            call = rivals.onnx_runtime(self.policy, self.observation, self.noise, threads)
            return Subject(call, {"actions": call().clone()})
        elif row == PRODUCTS:
            call, exact = rivals.products_alone(self.policy, self.batch)
            last = {"the last product": call().clone()}
            # They are PyTorch's own, and so their own measure of what float32 can do.
            return Subject(call, last, judge=(last, {"the last product": exact}))
        else:
            fused_or_reason(ops.resolve("auto", self.device).forms, "sampler")
            precision = LOWERED.get(row, "fp32")
            if row == INT8 and self.device.type == "cuda":
                raise Unavailable("int8 is available on a CPU only")
            native = ops.make_sampler(self.policy, precision=precision)
            sample, note = native.sample, native.describe()
            if row == BF16:
                judge = self._rounded()
            if row == INT8:
                judged = make(max(self.batch, JUDGED), self.steps, self.device)
                judge = judged._whole()
            if self.batch == 1 and self.device.type == "cpu":
                result = sample(judged.observation, judged.noise)
                act = acting(self.policy, precision).act
                note += "; timed as Policy.act, NumPy in and out, noise drawn"
                one = self.observation[0, 0].numpy()
                return Subject(lambda: act(one), {"actions": result}, note, judge)
        run = torch.no_grad()(functools.partial(sample, self.observation, self.noise))
        with torch.no_grad():
            result = sample(judged.observation, judged.noise).clone()
        return Subject(run, {"actions": result}, note, judge)

    def _reference(
        self, policy: reference.FoldedPolicy, dtype: torch.dtype, *inputs: Callable[..., Tensor]
    ) -> Tensor:
        return reference.folded_sample(
            policy.to(dtype), self.observation.to(dtype), self.noise.to(dtype), *inputs
        )

    def _rounded(self) -> tuple[Results, Results]:
        """Return what bf16 is judged by: plain PyTorch in bfloat16, and float64 on the weights."""
        rounded = self.policy.rounded()
        plain = self._reference(rounded, torch.bfloat16).float()
        return {"actions": plain}, {"actions": self._reference(rounded, torch.float64)}

    def _whole(self) -> tuple[Results, Results]:
        """Return what int8 is judged by: its definition in float32 and in float64."""
        rounded = self.policy.rounded("int8")
        plain, exact = (
            self._reference(rounded, dtype, reference.int8_inputs)
            for dtype in (torch.float32, torch.float64)
        )
        return {"actions": plain}, {"actions": exact}


@functools.cache
def compiled_sampler(
    steps: int, static: bool, device: torch.device
) -> tuple[Callable[..., Tensor], str]:
    """Return the compiled network: for one shape, or one for batches of any size.

    On a CPU a compilation takes tens of seconds, so the two larger batches share theirs.
    """
    whole = FirstWritten(steps, device)
    for tensor in whole.views.values():
        # Else a CUDA graph copies the weights every time.
        torch._dynamo.mark_static_address(tensor)
    if static:
        return compiled(whole, device), ""
    return compiled(whole, device, dynamic=True), "compiled for any batch"


def acting(policy: reference.FoldedPolicy, precision: str) -> Policy:
    """Return the policy that users hold."""
    one = np.ones(ACTIONS, np.float32)
    return Policy(Packed(policy, -one, one, {}), precision=precision)


class Latency:
    """Every single call of `Policy.act` on a new observation, as a control loop makes them."""

    def __init__(self, precision: str, steps: int, calls: int):
        policy = FirstWritten(steps, torch.device("cpu")).folded()
        self.policy = acting(policy, precision)
        draw = np.random.default_rng(0)
        self.states = draw.standard_normal((4096, OBSERVATIONS)).astype(np.float32)
        self.calls = calls

    def measure(self) -> dict[str, Any]:
        """Return median, p99 and p99.9 of the time of one call."""
        spent = np.empty(self.calls)
        act, states, clock = self.policy.act, list(self.states), time.perf_counter
        for i in range(self.calls):
            state = states[i & 4095]
            began = clock()
            act(state)
            spent[i] = clock() - began
        middle, late, latest = np.quantile(spent, (0.5, 0.99, 0.999))
        return {
            "calls": self.calls,
            "p50_seconds": float(middle),
            "p99_seconds": float(late),
            "p999_seconds": float(latest),
        }


make = functools.cache(Sampler)


@in_turns(("1x5", "256x5", "1x2", "256x2"), ROWS)
def test_sampler(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    batch, steps = map(int, case.split("x"))
    stage.measure(benchmark, make(batch, steps, stage.device), row)


@in_turns(("16384x5", "16384x2"), (*ROWS, PRODUCTS))
def test_sampler_large(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    batch, steps = map(int, case.split("x"))
    stage.measure(benchmark, make(batch, steps, stage.device), row)


def hold(precision: str, steps: int) -> None:
    """Hold the sampler that a policy acts by to the gate, as every row; raises RedGate."""
    row = next((row for row, lowered in LOWERED.items() if lowered == precision), OURS)
    work = make(1, steps, torch.device("cpu"))
    ours = work.build(row)
    judge = ours.judge or (work.build(EAGER).results, work.exact())
    gate(f"Policy.act, {precision}", ours.results, *judge)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_act_latency(
    benchmark: Any, stage: Stage, request: pytest.FixtureRequest, precision: str
) -> None:
    try:
        hold(precision, 5)
    except Unavailable as reason:
        pytest.skip(str(reason))
    latency = Latency(precision, 5, request.config.getoption("--act-calls"))
    latency.policy.act(latency.states[0])
    benchmark.group = f"Policy.act, one observation, K = 5, {precision}"
    benchmark.extra_info.update(
        **stage.machine, row=OURS.name, role=OURS.role, note="", K=5, **latency.measure()
    )
    benchmark.pedantic(lambda: latency.policy.act(latency.states[1]), rounds=2000, iterations=1)
