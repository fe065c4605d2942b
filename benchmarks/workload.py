"""A benchmark: one workload, several ways to run it, one truth for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

Results = Mapping[str, Tensor]
TURNS = 3


@dataclass(frozen=True)
class Row:
    """One way to run a workload; role: eager, compiled, rival or ours."""

    name: str
    role: str


EAGER = Row("reference eager", "eager")
COMPILED = Row("reference compiled", "compiled")
OURS = Row("ours", "ours")
ROWS = (EAGER, COMPILED, OURS)


class Unavailable(Exception):
    """A row is not available on this machine; the message says why."""


@dataclass(frozen=True)
class Subject:
    """A row ready to be timed, what it computed, and in words how."""

    run: Callable[[], object]
    results: Results
    note: str = ""
    judge: tuple[Results, Results] | None = None
    """The plain and the exact results of a row that means to compute something else."""
    repeats: int = 1
    """How often one run does the workload."""


class Workload(ABC):
    """A fixed problem; `group` names it and `facts` says all that its time depends on."""

    group: str
    facts: Mapping[str, Any]
    plain: Row = EAGER

    @abstractmethod
    def exact(self) -> Results:
        """Return the right results, by the reference in float64."""

    @abstractmethod
    def build(self, row: Row) -> Subject:
        """Make a row ready, compilation included; raises Unavailable with the reason."""


def in_turns(cases: Sequence[Any], rows: Sequence[Row] = ROWS) -> pytest.MarkDecorator:
    """Parametrise (case, turn, row): every row of a case is measured in each of several turns.

    The order rotates from turn to turn, so that a busy spell of the machine hits all rows alike.
    """
    parameters = [
        pytest.param(case, turn, row, id=f"{case}-{row.name}-turn{turn}".replace(" ", "_"))
        for case in cases
        for turn in range(TURNS)
        for row in (*rows[turn % len(rows) :], *rows[: turn % len(rows)])
    ]
    return pytest.mark.parametrize(("case", "turn", "row"), parameters)


def compiled(
    function: Callable[..., Any], device: torch.device, **options: Any
) -> Callable[..., Any]:
    """Return the function under torch.compile, with CUDA graphs where there is a GPU."""
    from torch._dynamo import config

    # PyTorch compiles a function for so many shapes only, then runs it plainly: no time of that.
    config.fail_on_recompile_limit_hit = True
    options = {"dynamic": False} | options
    if device.type != "cuda":
        return torch.compile(function, **options)
    inner = torch.compile(function, mode="reduce-overhead", **options)

    def step(*arguments: Any) -> Any:
        # Tells the graph's memory pool that the results of the last call are no longer needed.
        torch.compiler.cudagraph_mark_step_begin()
        return inner(*arguments)

    return step


def fused_or_reason(forms: Mapping[str, tuple[str, str]], name: str) -> None:
    """Raise Unavailable with the reason when an operation has no fused form here."""
    form, reason = forms[name]
    if form not in ("native", "triton"):
        raise Unavailable(reason)
