"""Episodes in order, from this process or several; the result is the same."""

from __future__ import annotations

from collections.abc import Generator
from itertools import count
from typing import Any

import gymnasium as gym

from gtp_fast.collect.buffers import Stored
from gtp_fast.collect.planner import Planner
from gtp_fast.collect.plans import collection_spec, plan_of
from gtp_fast.data.environment import MAZE_SCALES
from gtp_fast.evaluation.vector import make
from gtp_fast.system import children
from gtp_fast.tasks import Task


class Collector:
    """An environment built once, and the task's behaviour in it."""

    def __init__(self, task: Task, seed: int, noise: float) -> None:
        spec = collection_spec(task)
        self._plan, self._seed, self._noise = plan_of(task), seed, noise
        # Without gymnasium's wrappers a step of PointMaze costs half.
        self._env: gym.Env[Any, Any] = make(spec).unwrapped
        self._planner = Planner(spec.kwargs["maze_map"], MAZE_SCALES[task.family])

    def episode(self, number: int) -> Stored:
        """Episode `number`, a pure function of task, seed, noise and number."""
        plan = self._plan
        return plan.behaviour(self._env, self._planner, self._seed, number, self._noise, plan.limit)


def episodes(task: Task, seed: int, noise: float, workers: int) -> Generator[Stored]:
    """Yield episodes 0, 1, 2, ... until the caller closes the iterator.

    Raises children.ChildDied where a worker was ended, and UserError without the task's package.
    """
    if workers <= 1:
        collector = Collector(task, seed, noise)
        yield from map(collector.episode, count())
    title = f"a process that collects {task.name}"
    with children.started(workers, "gtp_fast.collect.child", title) as players:
        for player in players:
            player.send((task, seed, noise))
        for player in players:
            # Its environment is built, or its UserError says what is missing.
            player.receive()
        yield from children.in_order(players, count())
