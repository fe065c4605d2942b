"""The nodes of a recorded update of GTP, their costs, and the longest way."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from nodes import Node, counted

from benchmarks import critics_costs, sampler_costs
from benchmarks.h100 import GAP, Cost, Design
from benchmarks.kernel_costs import triton_cost
from gtp_fast import engine
from gtp_fast.agents.gtp import GTP, GTPConfig
from gtp_fast.agents.gtp.update_triton import TritonUpdate
from gtp_fast.agents.setup import Setup
from gtp_fast.data.table import TransitionTable
from gtp_fast.errors import UserError
from gtp_fast.ops.launches import DEFAULT, Launches

NAMES = {
    "begin._begin_kernel": ("batch and fold",),
    "batch._batch_kernel": ("batch",),
    "fold._fold_kernel": ("fold",),
    "mlp_pair._pair_kernel": ("actor pass", "critic pass", "advantage pass"),
    "sampler take": ("pack",),
    "sampler sample": ("sampler",),
    "critic_backward._critic_kernel": ("critic loss and chain",),
    "critics run": ("critics",),
    "mlp_weights._weights_kernel": ("critic gradients",),
    "step._step_kernel": ("critic step", "actor step"),
    "actor_backward._actor_kernel": ("actor loss and chain",),
    "actor_gradients._gradients_kernel": ("actor gradients",),
    "tally._tally_kernel": ("account",),
}
"""What each launch of a kernel is for, in their order."""


@dataclasses.dataclass(frozen=True)
class Update:
    """A recorded update.

    side: the numbers of the side stream's nodes. join: of the first node that waits for them.
    """

    precision: str
    nodes: tuple[Node, ...]
    side: range
    join: int


@dataclasses.dataclass(frozen=True)
class Line:
    """A node with its cost; side: on the side stream, joined: waits for it."""

    name: str
    cost: Cost
    side: bool = False
    joined: bool = False


def record(
    config: GTPConfig,
    table: TransitionTable,
    sizes: tuple[int, int],
    precision: str,
    launches: Launches = DEFAULT,
    seeds: tuple[int, ...] = (0,),
) -> Update:
    """Record an update as a GPU would do it; run no kernel.

    sizes: of observation and action. UserError unless Triton interprets.
    """
    if os.environ.get("TRITON_INTERPRET") != "1":
        raise UserError("An update is recorded on a CPU: set TRITON_INTERPRET=1.")
    marks: dict[str, int] = {}
    wait = TritonUpdate._wait_for_side_stream
    with pytest.MonkeyPatch.context() as patch, counted(pytest.MonkeyPatch(), precision) as nodes:
        agent = GTP(
            config,
            Setup(*sizes, seeds, "cpu", "fused", torch.float32, precision, launches=launches),
        )
        agent.prepare(100)
        agent.advance(1, table)
        assert isinstance(agent.do, TritonUpdate)
        watch, step = engine.Watch(agent), torch.tensor(1)
        nodes.clear()

        @contextmanager
        def beside(self: Any) -> Iterator[None]:
            marks["fork"] = len(nodes)
            yield
            marks["end"] = len(nodes)

        def joined(self: Any) -> None:
            marks["join"] = len(nodes)
            wait(self)

        patch.setattr(TritonUpdate, "_on_side_stream", beside)
        patch.setattr(TritonUpdate, "_wait_for_side_stream", joined)
        agent.update_into(watch.totals, table, step)
        found = tuple(nodes)
    return Update(precision, found, range(marks["fork"], marks["end"]), marks["join"])


def names(nodes: Sequence[Node]) -> list[str]:
    """Return what each node is for; KeyError or StopIteration for one that the model lacks."""
    # The critics' one kernel has their pass in it.
    without = {"critic pass"} if "cuda critics run" in nodes else set()
    turns = {kernel: (x for x in uses if x not in without) for kernel, uses in NAMES.items()}
    return [next(turns[node.partition(" ")[2]]) for node in nodes]


def lines(update: Update, design: Design) -> list[Line]:
    """Return the nodes of an update with their costs, in the order of their launches."""
    return [
        Line(
            name, _cost(node, update.precision, design), number in update.side,
            number == update.join,
        )
        for number, (name, node) in enumerate(zip(names(update.nodes), update.nodes, strict=True))
    ]  # fmt: skip


def _cost(node: Node, precision: str, design: Design) -> Cost:
    if node == "cuda sampler take":
        return sampler_costs.take(node)
    if node == "cuda sampler sample":
        return sampler_costs.sample(node, precision, design)
    if node == "cuda critics run":
        return critics_costs.critics(node, design)
    return triton_cost(node, design)


def ways(made: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """Return the nodes of the side stream, and those that run meanwhile."""
    fork = next(i for i, x in enumerate(made) if x.side)
    join = next(i for i, x in enumerate(made) if x.joined)
    side, main = ([x for x in made[fork:join] if x.side == one] for one in (True, False))
    return side, main


def longest(made: Sequence[Line]) -> list[Line]:
    """Return the nodes of the critical path."""
    shorter = min(ways(made), key=time_of)
    return [x for x in made if x not in shorter]


def time_of(found: Sequence[Line]) -> float:
    """Return the microseconds of nodes one behind another, each after a gap."""
    return round(sum(x.cost.microseconds + GAP for x in found), 1)
