"""One whole update of GTP: critic, weights, actor, moving averages, for one seed and for five."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip(
    "gymnasium", reason="the agent's data package needs gymnasium, which is not installed"
)

from benchmarks.stage import Stage
from benchmarks.workload import COMPILED, OURS, Results, Row, Subject, Workload, compiled, in_turns
from gtp_fast import ops, random, reference
from gtp_fast.agents.gtp import GTP, GTPConfig
from gtp_fast.data.table import Provenance, Statistics, TransitionTable
from gtp_fast.tasks import Rules

OBSERVATIONS, ACTIONS, TRANSITIONS, UPDATES = 29, 8, 100_000, 100_000
CONFIG = GTPConfig(k=5, batch_size=256, width=256)
# Always the same one: it costs what any other does, and the next would be compiled anew. Not 0, for
# which torch.compile draws wrong Philox words on a CPU (seen with torch 2.13).
STEP = 7


class Update(Workload):
    """One update of S seeds; judged by the gradients it takes from one common state."""

    def __init__(self, seeds: int, device: torch.device):
        self.seeds, self.device = seeds, device
        self.group = f"whole update, {seeds} seed{'s' if seeds > 1 else ''}, K = {CONFIG.k}"
        self.facts = {
            "dtype": "float32",
            "shape": [seeds, CONFIG.batch_size, OBSERVATIONS, ACTIONS],
            "width": CONFIG.width,
            "depth": CONFIG.depth,
            "K": CONFIG.k,
            "num_candidates": 1,
            "transitions": TRANSITIONS,
        }
        self.table = table().to(device)

    def exact(self) -> Results:
        """Do the same update with the reference in float64."""
        agent = self._agent("reference", torch.float64)
        agent.update(self.table, STEP)
        return _gradients(agent)

    def build(self, row: Row) -> Subject:
        """Take an agent on the reference, on the reference compiled, or on what `auto` chooses."""
        agent = self._agent("auto" if row == OURS else "reference")
        note = agent.ops.describe() if row == OURS else ""
        update: Any = agent.update
        if row == COMPILED:
            update, note = _compiled_update(agent, self.table)
        run = functools.partial(update, self.table, STEP)
        run()
        return Subject(run, _gradients(agent), note)

    def _agent(self, backend: str, dtype: torch.dtype = torch.float32) -> GTP:
        agent = GTP(CONFIG, OBSERVATIONS, ACTIONS, range(self.seeds), self.device, backend, dtype)
        agent.prepare(UPDATES)
        return agent


def _compiled_update(agent: GTP, resident: TransitionTable) -> tuple[Any, str]:
    """Compile the update whole for a GPU; on a CPU operation by operation.

    The whole takes three minutes of a CPU for each number of seeds, too long for a benchmark; what
    stays eager beside the matrix products is the optimiser.
    """
    if agent.device.type != "cuda":
        agent.ops = chosen = _compiled_operations(agent.ops, agent.device)
        agent.network.mish = agent.critic.network.mish = chosen.mish
        agent.chain = chosen.sampler(agent.folded("ema"))
        return agent.update, "each operation compiled, the update as a whole is not"
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    # Makes what the first update makes lazily, so that the second is not compiled anew.
    agent.update(resident, STEP)
    agent.load_state_dict(before)
    return compiled(agent.update, agent.device), "the update compiled as a whole"


class _CompiledSampler:
    """The reference's sampler with its loop compiled, behind the interface of samplers."""

    draws = 1

    def __init__(self, policy: reference.FoldedPolicy):
        self.function = compiled(reference.folded_sample, policy.c_in.device)
        self.load(policy)

    def load(self, policy: reference.FoldedPolicy) -> None:
        self.policy = policy

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            result: Tensor = self.function(self.policy, observation, noise)
        return result


def _compiled_operations(chosen: ops.Operations, device: torch.device) -> ops.Operations:
    flat_mish = compiled(reference.mish, device, dynamic=True)

    def mish(x: Tensor) -> Tensor:
        # Flat, so that one compilation serves the activations of every shape.
        result: Tensor = flat_mish(x.reshape(-1)).view(x.shape)
        return result

    return dataclasses.replace(
        chosen,
        perturb=compiled(reference.perturb, device),
        loss=compiled(reference.flow_map_loss, device),
        normals=compiled(random.normals, device),
        integers=compiled(random.integers, device),
        sampler=_CompiledSampler,
        mish=mish,
    )


def _gradients(agent: GTP) -> dict[str, Tensor]:
    return {
        f"gradient of the {name}": part.parameters.gradient.clone()
        for name, part in agent.learners().items()
    }


@functools.cache
def table() -> TransitionTable:
    """Return a table of random transitions; what they hold does not change the time."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(TRANSITIONS, 2 * OBSERVATIONS + ACTIONS + 2, generator=draw)
    rows[:, OBSERVATIONS : OBSERVATIONS + ACTIONS].clamp_(-1, 1)
    rows[:, -1] = 1
    return TransitionTable(
        rows=rows,
        observation_dim=OBSERVATIONS,
        action_dim=ACTIONS,
        observation_keys=(),
        action_low=(-1.0,) * ACTIONS,
        action_high=(1.0,) * ACTIONS,
        task="synthetic",
        rules=Rules(),
        statistics=Statistics(TRANSITIONS, 1, 0, 0.0, float(TRANSITIONS), None),
        provenance=Provenance("synthetic", False, "random numbers"),
    )


make = functools.cache(Update)


@in_turns((1, 5))
def test_update(benchmark: Any, stage: Stage, case: int, turn: int, row: Row) -> None:
    stage.measure(benchmark, make(case, stage.device), row)
