"""One whole update of GTP: critic, weights, actor, moving averages, for one seed and for five."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest
import torch
from rounded import round_products
from torch import Tensor

pytest.importorskip(
    "gymnasium", reason="the agent's data package needs gymnasium, which is not installed"
)

from benchmarks import recorded
from benchmarks import update_rivals as rivals
from benchmarks.plain_update import PlainUpdate
from benchmarks.stage import Stage
from benchmarks.workload import (
    COMPILED,
    EAGER,
    OURS,
    ROWS,
    Results,
    Row,
    Subject,
    Unavailable,
    Workload,
    in_turns,
)
from gtp_fast.agents.gtp import GTP, GTPConfig
from gtp_fast.agents.setup import Setup
from gtp_fast.data.table import Provenance, Statistics, TransitionTable
from gtp_fast.errors import UserError
from gtp_fast.ops.launches import DEFAULT
from gtp_fast.tasks import Rules

OBSERVATIONS, ACTIONS, TRANSITIONS, UPDATES = 29, 8, 100_000, 100_000
CONFIG = GTPConfig(k=5, batch_size=256, width=256)
# Always the same one: it costs what any other does, and another would compile again. Not 0, for
# which torch.compile draws wrong Philox words on a CPU (seen with torch 2.13).
STEP, JUDGED = 7, 8
PLAIN, JAX = Row("as first written", "plain"), Row("JAX", "jax")
BF16, TF32 = Row("ours bf16", "ours"), Row("ours tf32", "ours")
CAPTURED = Row("reference captured", "rival")
RECORDED = {
    CAPTURED: ("reference", "fp32"), COMPILED: ("compiled", "fp32"), OURS: ("auto", "fp32"),
    TF32: ("auto", "tf32"), BF16: ("auto", "bf16"),
}  # fmt: skip
"""Rows that a GPU replays from a CUDA graph, as a run does: backend and precision."""


class Update(Workload):
    """One update of S seeds; judged by the gradients it takes from one common state."""

    def __init__(self, case: tuple[int, int], device: torch.device):
        self.seeds, k = case
        self.device, self.config = device, dataclasses.replace(CONFIG, k=k)
        self.group = f"whole update, {self.seeds} seed{'s' if self.seeds > 1 else ''}, K = {k}"
        self.facts = {
            "dtype": "float32",
            "shape": [self.seeds, CONFIG.batch_size, OBSERVATIONS, ACTIONS],
            "width": CONFIG.width,
            "depth": CONFIG.depth,
            "K": k,
            "num_candidates": 1,
            "transitions": TRANSITIONS,
        }
        self.table, self.launches = table().to(device), DEFAULT

    def exact(self) -> Results:
        """Do the same update with the reference in float64."""
        agent = self._agent("reference", torch.float64)
        metrics = agent.update(self.table, STEP)
        return _gradients(agent) | {"losses": metrics[: rivals.LOSSES, 0]}

    def build(self, row: Row) -> Subject:
        """Take an agent on the reference, on the reference compiled, or on what `auto` chooses."""
        if row in (PLAIN, JAX):
            return self._rival(row)
        if self.device.type == "cuda" and row in RECORDED:
            return self.recorded(row)
        if row == BF16:
            return self._rounded()
        agent = self._agent({OURS: "auto", COMPILED: "compiled"}.get(row, "reference"))
        notes = {OURS: agent.ops.describe(), COMPILED: "each operation, the update as a whole not"}
        run = functools.partial(agent.update, self.table, STEP)
        losses = run()[: rivals.LOSSES, 0].clone()
        return Subject(run, _gradients(agent) | {"losses": losses}, notes.get(row, ""))

    def shrink(self) -> None:
        """Take a network and a batch so small that a dry run ends soon."""
        self.config = dataclasses.replace(self.config, width=16, batch_size=16)

    def replayed(self, row: Row, piece: int = recorded.PIECE) -> recorded.Recorded:
        """Return the captured engine of a row; raises Unavailable with the reason."""
        return recorded.Recorded(self._available(*RECORDED[row]), self.table, STEP, piece)

    def recorded(self, row: Row, piece: int = recorded.PIECE) -> Subject:
        """Take the captured engine, judged by an update that it replays."""
        made, precision = self.replayed(row, piece), RECORDED[row][1]
        results = dict(made.one())
        results["losses"] = results.pop("metrics")[: rivals.LOSSES, 0]
        judge = None
        if precision != "fp32":
            results, *rest = self.judged(precision)
            judge = rest[0], rest[1]
        note = f"{piece} updates a CUDA graph; {made.agent.ops.describe()}"
        return Subject(made.run, results, note, judge, recorded.PIECES * piece)

    def _rival(self, row: Row) -> Subject:
        """Prepare a rival of one seed; judged by its losses on an agent's draws."""
        if self.seeds > 1:
            raise Unavailable("it trains one seed")
        agent = self._agent("reference")
        if row == PLAIN:
            losses = rivals.plain_losses(agent, self.table, STEP)
            run = functools.partial(PlainUpdate(agent).update, self.table, STEP)
            return Subject(run, {"losses": losses}, "one chain after another, Adam by tensors")
        if self.device.type != "cpu":
            raise Unavailable("measured on a CPU alone")
        module = rivals.jax_module()
        losses = rivals.jax_losses(agent, self.table, STEP)
        rival, rows = module.JaxUpdate(agent), self.table.rows.numpy()
        run = functools.partial(module.advance, rival, rows, 1)
        return Subject(run, {"losses": losses}, "jit, lax.scan of one update a call")

    def _rounded(self) -> Subject:
        """Take products that read bfloat16, judged by plain PyTorch whose products do so too."""
        agent = self._available("auto", "bf16")
        fast, plain, exact = self.judged("bf16")
        run = functools.partial(agent.update, self.table, STEP)
        return Subject(run, fast, agent.ops.describe(), judge=(plain, exact))

    def judged(self, precision: str) -> tuple[Results, Results, Results]:
        """Return gradients by rounded products: ours, plain PyTorch's, and the exact ones."""
        # One seed's largest number may be right by luck; of several it is not.
        judged = [
            self._agent("auto", precision=precision, seeds=JUDGED),
            round_products(self._agent("reference", seeds=JUDGED), precision),
            self._agent("reference", torch.float64, seeds=JUDGED),
        ]
        for one in judged:
            one.update(self.table, STEP)
        fast, plain, exact = (_gradients(one) for one in judged)
        return fast, plain, exact

    def _available(self, backend: str, precision: str) -> GTP:
        try:
            return self._agent(backend, precision=precision)
        except UserError as reason:
            raise Unavailable(str(reason)) from reason

    def _agent(
        self,
        backend: str,
        dtype: torch.dtype = torch.float32,
        precision: str = "fp32",
        seeds: int | None = None,
    ) -> GTP:
        own = range(seeds or self.seeds), self.device, backend, dtype, precision
        # Judges have no launches to choose from.
        launches = self.launches if backend == "auto" else DEFAULT
        setup = Setup(OBSERVATIONS, ACTIONS, *own, launches=launches)
        agent = GTP(self.config, setup)
        agent.prepare(UPDATES)
        return agent


def _gradients(agent: GTP) -> dict[str, Tensor]:
    return {
        f"gradient of the {name}": part.parameters.gradient.clone()
        for name, part in agent.learners().items()
    }


@functools.cache
def table(transitions: int = TRANSITIONS) -> TransitionTable:
    """Return a table of random transitions; what they hold does not change the time."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(transitions, 2 * OBSERVATIONS + ACTIONS + 2, generator=draw)
    rows[:, OBSERVATIONS : OBSERVATIONS + ACTIONS].clamp_(-1, 1)
    rows[:, -1] = 1
    return TransitionTable(
        rows=rows,
        episode=torch.zeros(transitions, dtype=torch.int32),
        observation_dim=OBSERVATIONS,
        action_dim=ACTIONS,
        observation_keys=(),
        action_low=(-1.0,) * ACTIONS,
        action_high=(1.0,) * ACTIONS,
        task="synthetic",
        rules=Rules(),
        statistics=Statistics(transitions, 1, 0, 0.0, float(transitions), None),
        provenance=Provenance("synthetic", False, "random numbers"),
    )


make = functools.cache(Update)


@pytest.mark.benchmark(timer=recorded.clock())
@in_turns(
    ((1, 5), (1, 2), (5, 5), (16, 5)),
    (PLAIN, EAGER, *RECORDED) if torch.cuda.is_available() else (PLAIN, *ROWS, BF16, JAX),
)
def test_update(benchmark: Any, stage: Stage, case: tuple[int, int], turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
