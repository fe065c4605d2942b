"""One kernel of an update as a workload: a call as an update makes it, gradients included.

Only a GPU can run ours at speed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.workload import (
    COMPILED,
    OURS,
    Results,
    Row,
    Subject,
    Unavailable,
    Workload,
    compiled,
)
from gtp_fast import ops

if not torch.cuda.is_available():
    pytest.skip("the kernels of an update run on a GPU: none here", allow_module_level=True)

WIDTH, DEPTH, BATCH, OBSERVATIONS, ACTIONS, STEP = 256, 3, 256, 29, 8, 7
Call = Callable[..., dict[str, Tensor]]
Case = Callable[[int], tuple[Call, Callable[..., Any], list[Tensor]]]
"""From a number of seeds: how an operation is called, its reference, and the inputs."""
SEEDS = (1, 5)


class Kernel(Workload):
    """One operation of S seeds: `call(operation, inputs)` runs it, on inputs of any dtype."""

    def __init__(self, name: str, case: Case, seeds: int, device: torch.device):
        self.name, self.device = name, device
        self.group = f"{name}, {seeds} seed{'s' if seeds > 1 else ''}"
        self.facts = {"dtype": "float32", "shape": [seeds, BATCH], "width": WIDTH, "depth": DEPTH}
        self.call, self.plain_operation, inputs = case(seeds)
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


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network_parameters(groups: int, sizes: Sequence[int]) -> list[Tensor]:
    """Return weight, bias, ... as views of one flat buffer, small enough to keep values near 1."""
    shapes = [shape for a, b in pairwise(sizes) for shape in ((a, b), (b,))]
    counts = [torch.Size(shape).numel() for shape in shapes]
    flat = 0.06 * normal(1, groups, sum(counts))
    return [x.unflatten(1, shape) for x, shape in zip(flat.split(counts, 1), shapes, strict=True)]
