"""The kernels of an update one by one: forward and backward of an MLP, Adam, TD, weights, gather.

A row is one call as an update makes it, gradients included. Only a GPU can run ours at speed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
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
    in_turns,
)
from gtp_fast import ops, reference
from gtp_fast.reference import philox
from gtp_fast.reference.adam import guarded, plain

if not torch.cuda.is_available():
    pytest.skip("the kernels of an update run on a GPU: none here", allow_module_level=True)

WIDTH, DEPTH, BATCH, OBSERVATIONS, ACTIONS, STEP = 256, 3, 256, 29, 8, 7
Call = Callable[..., dict[str, Tensor]]


class Kernel(Workload):
    """One operation of S seeds: `call(operation, inputs)` runs it, on inputs of any dtype."""

    def __init__(self, name: str, seeds: int, device: torch.device):
        self.name, self.device = name, device
        self.group = f"{name}, {seeds} seed{'s' if seeds > 1 else ''}"
        self.facts = {"dtype": "float32", "shape": [seeds, BATCH], "width": WIDTH, "depth": DEPTH}
        self.call, self.plain_operation, inputs = _CASES[name](seeds)
        self.inputs = [x.to(device) for x in inputs]

    def exact(self) -> Results:
        """Run the reference in float64 on the very same numbers."""
        wide = [x.double() if x.is_floating_point() else x for x in self.inputs]
        return self.call(self.plain_operation, wide)

    def build(self, row: Row) -> Subject:
        """Take the reference, the reference compiled, or the kernel."""
        operation: Any = self.plain_operation
        if row == COMPILED:
            operation = compiled(operation, self.device)
        if row == OURS:
            if self.device.type != "cuda":
                raise Unavailable("Triton compiles for GPUs only")
            operation = getattr(ops.resolve("fused", self.device), self.name.split()[0])
        run = functools.partial(self.call, operation, self.inputs)
        return Subject(run, {name: value.clone() for name, value in run().items()})


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _parameters(groups: int, sizes: Sequence[int]) -> list[Tensor]:
    """Return weight, bias, ... as views of one flat buffer, small enough to keep values near 1."""
    shapes = [shape for a, b in pairwise(sizes) for shape in ((a, b), (b,))]
    counts = [torch.Size(shape).numel() for shape in shapes]
    flat = 0.06 * _normal(1, groups, sum(counts))
    return [x.unflatten(1, shape) for x, shape in zip(flat.split(counts, 1), shapes, strict=True)]


def _mlp(seeds: int) -> tuple[Call, Callable[..., Any], list[Tensor]]:
    """The twin critics: both gradients of a batch."""
    parameters = _parameters(2 * seeds, [OBSERVATIONS + ACTIONS, *[WIDTH] * DEPTH, 1])
    pieces = [_normal(2, seeds, BATCH, OBSERVATIONS), _normal(3, seeds, BATCH, ACTIONS)]

    def call(mlp: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        leaves = [x.detach().requires_grad_() for x in inputs[2:]]
        y = mlp(inputs[:2], leaves[::2], leaves[1::2])
        gradients = torch.autograd.grad(y.sum(), leaves)
        return {"y": y.detach(), **{f"gradient {i}": g for i, g in enumerate(gradients)}}

    return call, reference.mlp, [*pieces, *parameters]


def _mlp_forward(seeds: int) -> tuple[Call, Callable[..., Any], list[Tensor]]:
    _, mlp, inputs = _mlp(seeds)

    def call(mlp: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            return {"y": mlp(inputs[:2], inputs[2::2], inputs[3::2])}

    return call, mlp, inputs


def _adam(seeds: int) -> tuple[Call, Callable[..., Any], list[Tensor]]:
    count = 2 * sum(x[0].numel() for x in _mlp(1)[2][2:])
    buffers = [_normal(i, seeds, count) for i in range(5)]
    buffers[3] = buffers[3].square()

    def call(adam: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        rate = torch.full_like(inputs[0][:, 0], 3e-4)
        healthy = torch.full((len(rate),), -1, device=rate.device)
        # Clones, as the step works in place; their cost is that of all rows.
        state = [x.clone() for x in inputs]
        norm = adam(*state, 100, rate, 0.005, 1.0, torch.zeros_like(rate), math.inf, healthy)
        return {"norm": norm, "parameter": state[0], "average": state[4]}

    return call, guarded(plain), buffers


def _td_loss(seeds: int) -> tuple[Call, Callable[..., Any], list[Tensor]]:
    inputs = [_normal(1, 2, seeds, BATCH), _normal(2, 2, seeds, BATCH), _normal(3, seeds, BATCH)]

    def call(td_loss: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        values = inputs[0].detach().requires_grad_()
        loss = td_loss(values, inputs[1], inputs[2], torch.ones_like(inputs[2]), 0.99)
        (gradient,) = torch.autograd.grad(loss.sum(), values)
        return {"loss": loss.detach(), "gradient": gradient}

    return call, reference.td_loss, inputs


def _weigh(seeds: int) -> tuple[Call, Callable[..., Any], list[Tensor]]:
    def call(weigh: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        w, q, spread, mean, largest = weigh(*inputs, BATCH, 100.0)
        return {"w": w, "q": q, "spread": spread, "mean": mean, "largest": largest}

    return call, reference.weigh, [_normal(1, 2, seeds, 2 * BATCH), torch.ones(seeds)]


def _embed(seeds: int) -> tuple[Call, Callable[..., Any], list[Tensor]]:
    parameters = [x for i in range(2) for x in _parameters(seeds, [16, 32, 16])]
    levels = torch.linspace(-1.5, 1.0, seeds * BATCH * 4).view(seeds, 2 * BATCH, 2)

    def call(embed: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        leaves = [x.detach().requires_grad_() for x in inputs[1:]]
        y = embed(inputs[0], leaves)
        gradients = torch.autograd.grad(y.sum(), leaves)
        return {"y": y.detach(), **{f"gradient {i}": g for i, g in enumerate(gradients)}}

    return call, reference.embed, [levels, *parameters]


def _normals(seeds: int) -> tuple[Call, Callable[..., Any], list[Tensor]]:
    def call(normals: Any, inputs: list[Tensor]) -> dict[str, Tensor]:
        dtype = inputs[1].dtype
        return {"z": normals(inputs[0], STEP, 3, 2 * BATCH, ACTIONS, dtype)}

    return call, philox.normals, [philox.key_tensor(range(seeds)), torch.zeros(1)]


_CASES: dict[str, Callable[[int], tuple[Call, Callable[..., Any], list[Tensor]]]] = {
    "mlp forward": _mlp_forward,
    "mlp": _mlp,
    "embed": _embed,
    "adam": _adam,
    "td_loss": _td_loss,
    "weigh": _weigh,
    "normals": _normals,
}


@functools.cache
def make(case: str, device: torch.device) -> Kernel:
    """Return the workload `name x seeds`, made once."""
    name, _, seeds = case.rpartition("x")
    return Kernel(name, int(seeds), device)


@in_turns([f"{name}x{seeds}" for name in _CASES for seeds in (1, 5)])
def test_kernel(benchmark: Any, stage: Stage, case: str, turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
