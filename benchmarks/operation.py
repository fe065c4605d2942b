"""One operation of an update as a workload: one call, gradients included.

Only a GPU can run ours at speed: importing this module skips a benchmark where there is none.
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
    in_turns,
)
from gtp_fast import ops

if not torch.cuda.is_available():
    pytest.skip("the kernels of an update run on a GPU: none here", allow_module_level=True)

WIDTH, DEPTH, BATCH, OBSERVATIONS, ACTIONS, STEP = 256, 3, 256, 29, 8, 7
Call = Callable[..., dict[str, Tensor]]
Case = tuple[Call, Callable[..., Any], list[Tensor]]
"""How to call the operation with inputs of any dtype, its reference, and the inputs."""


class Operation(Workload):
    """One operation of S seeds; the first word of its name is that in `ops`."""

    def __init__(self, name: str, seeds: int, case: Case, device: torch.device):
        self.name, self.device = name, device
        self.group = f"{name}, {seeds} seed{'s' if seeds > 1 else ''}"
        self.facts = {"dtype": "float32", "shape": [seeds, BATCH], "width": WIDTH, "depth": DEPTH}
        self.call, self.plain_operation, inputs = case
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


def of_seeds(*names: str) -> pytest.MarkDecorator:
    """Parametrise (case, turn, row) by the operations of these names, for one seed and for five."""
    return in_turns([f"{name}x{seeds}" for name in names for seeds in (1, 5)])


def maker(**cases: Callable[[int], Case]) -> Callable[[str, torch.device], Operation]:
    """Return what makes the workload `name x seeds`, once; an underscore is a space of a name."""

    @functools.cache
    def make(case: str, device: torch.device) -> Operation:
        name, _, seeds = case.rpartition("x")
        return Operation(name, int(seeds), cases[name.replace(" ", "_")](int(seeds)), device)

    return make


def normal(seed: int, *shape: int) -> Tensor:
    """Return normal numbers of this shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layers(groups: int, sizes: Sequence[int]) -> list[Tensor]:
    """Return weight, bias, ... as views of one flat buffer, small enough to keep values near 1."""
    shapes = [shape for a, b in pairwise(sizes) for shape in ((a, b), (b,))]
    counts = [torch.Size(shape).numel() for shape in shapes]
    flat = 0.06 * normal(1, groups, sum(counts))
    return [x.unflatten(1, shape) for x, shape in zip(flat.split(counts, 1), shapes, strict=True)]


def critics(seeds: int) -> list[Tensor]:
    """Return the parameters of the twin critics: weight, bias, ... of 2 S groups."""
    return layers(2 * seeds, [OBSERVATIONS + ACTIONS, *[WIDTH] * DEPTH, 1])
