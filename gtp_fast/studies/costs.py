"""Costs of training and acting: all agents in turns, on one machine, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np

from gtp_fast import engine
from gtp_fast.agents.base import Agent
from gtp_fast.data.table import TransitionTable
from gtp_fast.policy import Policy
from gtp_fast.policy.file import Packed
from gtp_fast.system.device import synchronise

PUBLISHED_UPDATES = 2_000_000
"""Length of a run in the published table of costs."""
WARM_UPDATES = 20
"""Untimed updates at first; on a GPU the engine makes its recordings in them."""
_WARM_ACTIONS, _ACTIONS = 20, 200
Name = TypeVar("Name", bound=Hashable)
Result = TypeVar("Result")


def in_turns(cases: Mapping[Name, Callable[[], Result]], rounds: int) -> dict[Name, list[Result]]:
    """Call every case once a round; return the results of each.

    A disturbance of the machine then meets all cases alike.
    """
    results: dict[Name, list[Result]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            results[name].append(case())
    return results


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
    Policy.act, median), K, and how many candidates it chooses from and by what rule.
    """
    cases = {name: _Case(agent, table, chosen, updates, rounds) for name, agent in agents.items()}
    taken = in_turns({name: case.round for name, case in cases.items()}, rounds)
    return {name: _figures(cases[name], np.array(taken[name])) for name in agents}


def update_seconds(
    agent: Agent,
    table: TransitionTable,
    chosen: engine.Choice,
    updates: int,
    rounds: int,
    warm: int,
) -> float:
    """Return an agent's seconds per update as `measure` does, without the rest.

    warm: updates of each round before the timed ones.
    """
    case = _Case(agent, table, chosen, updates, rounds, warm)
    return float(np.mean([case.update_seconds() for _ in range(rounds)]))


class _Case:
    """An agent in training, and the seconds that its `advance` has taken."""

    def __init__(
        self,
        agent: Agent,
        table: TransitionTable,
        chosen: engine.Choice,
        updates: int,
        rounds: int,
        warm: int = WARM_UPDATES,
    ):
        self.agent, self.table, self.updates, self.warm = agent, table, updates, warm
        self.done, self.between, self._advance = 0, 0.0, agent.advance
        agent.advance = self._timed_advance  # type: ignore[method-assign]
        agent.nominal_updates = PUBLISHED_UPDATES
        agent.prepare(rounds * (updates + warm))
        self.engine = engine.build(chosen, agent, table, engine.Watch(agent))

    def round(self) -> tuple[float, float]:
        """Return the seconds of one update and of one action."""
        return self.update_seconds(), _action_seconds(self.agent, self.table)

    def update_seconds(self) -> float:
        """Return the seconds of one update: run a stretch through the engine, as training does.

        Its first updates, what lies between updates and what the engine does once are not timed: a
        phase that begins among the timed updates has its own recordings.
        """
        timed = self.done + self.warm
        for first, last in ((self.done, timed), (timed, timed + self.updates)):
            synchronise(self.agent.device)
            began, before, once = time.perf_counter(), self.between, self.engine.once
            engine.run(self.engine, self.agent, first, last, (), lambda done: None, lambda: 0)
        synchronise(self.agent.device)
        self.done = last
        seconds = time.perf_counter() - began - (self.between - before)
        apart = self.engine.once.updates - once.updates
        if apart == self.updates:
            return seconds / self.updates
        return (seconds - (self.engine.once.seconds - once.seconds)) / (self.updates - apart)

    def _timed_advance(self, step: int, table: TransitionTable) -> None:
        # Updates that a GPU still has to do are not this call's.
        synchronise(self.agent.device)
        began = time.perf_counter()
        self._advance(step, table)
        synchronise(self.agent.device)
        self.between += time.perf_counter() - began


def _figures(case: _Case, seconds: Any) -> dict[str, Any]:
    """Return the costs of an agent from its seconds [rounds, 2] per update and action."""
    agent, update = case.agent, float(np.mean(seconds[:, 0]))
    acting = agent.acting()
    return {
        "seconds_per_update": update,
        "seconds_once": case.between,
        "hours": (update * PUBLISHED_UPDATES + case.between) / 3600,
        "milliseconds_per_action": 1e3 * float(np.median(seconds[:, 1])),
        "batch_size": agent.config.batch_size,
        "network": f"{agent.config.depth} x {agent.config.width}",
        "k": acting.steps,
        "num_candidates": acting.candidates,
        "candidate_rule": acting.rule,
        "noise_scale": acting.noise_scale,
        "act_by": acting.act_by,
    }


def _action_seconds(agent: Agent, table: TransitionTable) -> float:
    """Return the median time of an action for one observation, through Policy.act."""
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
