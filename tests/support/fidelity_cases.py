"""Small rivals with given weights, two transitions, and networks as Python numbers."""

from __future__ import annotations

from typing import Any

import plain_rivals as plain
import pytest
import torch
from agent_cases import make_table

from gtp_fast import agents
from gtp_fast.agents.base import Agent
from gtp_fast.agents.setup import Setup
from gtp_fast.data.table import TransitionTable
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream

DEPTH, WIDTH, SEED = 2, 3, 5
STATES = [[0.4, -1.1], [-0.7, 0.2]]
ACTIONS = [[0.3, -0.8], [-0.5, 0.9]]
REWARDS, MASKS = [0.6, -0.2], [1.0, 0.0]


def exact(value: float) -> Any:
    return pytest.approx(value, rel=1e-10, abs=1e-10)


def table() -> TransitionTable:
    """Return two transitions in float64: each state leads to the other, the second one ends."""
    one = torch.tensor
    following = one([STATES[1], STATES[0]])
    made = make_table(one(STATES), one(ACTIONS), one(REWARDS), following, one(MASKS))
    numbers = [
        [*s, *a, r, *n, m]
        for s, a, r, n, m in zip(STATES, ACTIONS, REWARDS, STATES[::-1], MASKS, strict=True)
    ]
    object.__setattr__(made, "rows", torch.tensor(numbers, dtype=torch.float64))
    return made


def build(name: str, **changes: Any) -> Agent:
    """Return an agent of one seed whose weights are given numbers, averages apart from online."""
    kind = agents.find(name)
    still = {"learning_rate": (0.0,), "width": WIDTH, "depth": DEPTH, "batch_size": 2}
    if name != "bc":
        still |= {"critic_learning_rate": (0.0,), "critic_ema_rate": 0.0}
    config = kind.Config(**(still | {"ema_rate": 0.0} | changes))
    agent = kind(config, Setup(2, 2, (SEED,), "cpu", "reference", torch.float64))
    agent.prepare(100)
    tensors = agent.state_dict()
    for number, key in enumerate(sorted(tensors)):
        if key.endswith(("online", "average")):
            i = torch.arange(tensors[key].numel(), dtype=torch.float64) + 100 * number
            tensors[key].copy_((0.6 * torch.sin(1.7 * i)).view_as(tensors[key]))
    return agent


def views(agent: Agent, part: str, average: bool = False, group: int = 0) -> dict[str, Any]:
    learner = agent.learners()[part]
    chosen = learner.average_views if average else learner.views
    return {name: view[group].tolist() for name, view in chosen.items()}


def q(agent: Agent, twin: int, s: list[float], a: list[float], average: bool = False) -> float:
    act = plain.relu if type(agent).__name__ == "IQL" else plain.mish
    return plain.perceptron(views(agent, "critic", average, twin), [*s, *a], DEPTH, act)[0]


def drawn(agent: Agent, stream: Stream, rows: int, draws: int = 1) -> list[Any]:
    """Return the noise of each row of an update: [rows][draws][A]."""
    z = philox.normals(agent.keys, 0, stream, draws * rows, 2, torch.float64)[0]
    return z.view(draws, rows, 2).transpose(0, 1).tolist()
