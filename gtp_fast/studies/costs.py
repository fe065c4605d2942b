"""What training and acting cost: every agent measured in turns, on one machine, in one run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from gtp_fast import engine
from gtp_fast.agents.base import Agent
from gtp_fast.data.table import TransitionTable
from gtp_fast.policy import Policy
from gtp_fast.policy.file import Packed

PUBLISHED_UPDATES = 2_000_000
"""Length of a run in the published table of costs."""
_WARM_UPDATES, _WARM_ACTIONS, _ACTIONS = 20, 20, 200


def measure(
    agents: Mapping[str, Agent],
    table: TransitionTable,
    chosen: engine.Choice,
    updates: int,
    rounds: int = 5,
) -> dict[str, dict[str, Any]]:
    """Return what each agent (of one seed) costs, from rounds in which all take turns.

    updates: timed updates of each round. Agents are trained on the way, as if the rounds were the
    whole run, since some have phases of unlike cost. The figures: seconds per update (mean of the
    rounds), seconds once a run (what `Agent.advance` does between updates, such as drawing QIPO's
    support sets), hours for 2,000,000 updates, milliseconds per action (one row, through
    Policy.act, median), K and the candidates it chooses from.
    """
    seconds: dict[str, list[float]] = {name: [] for name in agents}
    latency: dict[str, list[float]] = {name: [] for name in agents}
    done = dict.fromkeys(agents, 0)
    engines: dict[str, engine.Engine] = {}
    between = {name: _Between(agent) for name, agent in agents.items()}
    for name, agent in agents.items():
        agent.stands_for = PUBLISHED_UPDATES
        agent.prepare(rounds * (updates + _WARM_UPDATES))
        engines[name] = engine.build(chosen, agent, table, engine.Watch(agent))
    for _ in range(rounds):
        for name in agents:
            watched = between[name], engines[name]
            seconds[name].append(_update_seconds(*watched, done[name], updates))
            done[name] += updates + _WARM_UPDATES
        for name, agent in agents.items():
            latency[name].append(_action_seconds(agent, table))
    return {
        name: {
            "seconds_per_update": float(np.mean(seconds[name])),
            "seconds_once": between[name].seconds,
            "hours": (np.mean(seconds[name]) * PUBLISHED_UPDATES + between[name].seconds) / 3600,
            "milliseconds_per_action": 1e3 * float(np.median(latency[name])),
            "batch_size": agent.config.batch_size,
            "network": f"{agent.config.depth} x {agent.config.width}",
            "k": agent.acting().steps,
            "num_candidates": agent.acting().candidates,
        }
        for name, agent in agents.items()
    }


class _Between:
    """Stands before an agent's `advance` and adds up the time that it takes."""

    def __init__(self, agent: Agent):
        self.agent, self.seconds, self._advance = agent, 0.0, agent.advance
        agent.advance = self  # type: ignore[method-assign]

    def __call__(self, step: int, table: TransitionTable) -> None:
        # Updates that a GPU still has to do are not this call's.
        _synchronise(self.agent)
        began = time.perf_counter()
        self._advance(step, table)
        _synchronise(self.agent)
        self.seconds += time.perf_counter() - began


def _update_seconds(between: _Between, runs: engine.Engine, start: int, updates: int) -> float:
    """Run a stretch through its engine, as training does; time all but its first updates, without
    what lies between them.
    """
    agent, timed = between.agent, start + _WARM_UPDATES
    for first, last in ((start, timed), (timed, timed + updates)):
        _synchronise(agent)
        began, before = time.perf_counter(), between.seconds
        engine.run(runs, agent, first, last, (), lambda done: None, lambda: 0)
    _synchronise(agent)
    return (time.perf_counter() - began - (between.seconds - before)) / updates


def _synchronise(agent: Agent) -> None:
    if agent.device.type == "cuda":
        torch.cuda.synchronize(agent.device)


def _action_seconds(agent: Agent, table: TransitionTable) -> float:
    """Return the median time of an action for one observation, by the way that users take."""
    low, high = (np.asarray(end, np.float32) for end in (table.action_low, table.action_high))
    content = Packed(agent.acting_policy().select(0), low, high, {})
    policy = Policy(content, agent.device, acting=agent.acting(seed=0))
    count = min(len(table), _WARM_ACTIONS + _ACTIONS)
    states = table.rows[:count, : agent.observation_dim].cpu().numpy()
    times = []
    for state in states:
        began = time.perf_counter()
        policy.act(state)
        times.append(time.perf_counter() - began)
    return float(np.median(times[_WARM_ACTIONS:] or times))
