"""What to collect for each task: the environment, the behaviour and its default settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from gtp_fast.collect import antmaze, pointmaze
from gtp_fast.collect.buffers import Stored
from gtp_fast.collect.planner import Planner
from gtp_fast.data import maze
from gtp_fast.data.environment import register_mazes, registered
from gtp_fast.errors import UserError
from gtp_fast.tasks import TASKS, Task

Behaviour = Callable[[gym.Env[Any, Any], Planner, int, int, float, int], Stored]


@dataclass(frozen=True)
class Plan:
    """How one task's data are collected."""

    behaviour: Behaviour
    algorithm: str
    transitions: int
    noise: float
    """Standard deviation of the Gaussian added to actions in [-1, 1]."""
    limit: int
    """Steps after which an episode is truncated."""
    fixed_start: bool = False
    fixed_goal: bool = False
    """Whether every episode has the evaluation's own start or goal cell."""


_POINT = "shortest path and PD control"
_ANT = "shortest path over a direction-following ant policy"


def _plan(task: Task) -> Plan:
    if task.name == "pointmaze-demo":
        # Ends of 200 steps leave many episodes short of the goal, so cloning them is mediocre
        # while their pieces can be joined into short ways.
        return Plan(
            pointmaze.wander,
            "wandering between random cells under PD control",
            40_000,
            0.5,
            200,
            fixed_goal=True,
        )
    if task.family == "pointmaze":
        return Plan(pointmaze.to_goal, _POINT, 100_000, 0.5, 1000)
    fixed = task.name == "antmaze-umaze"
    assert task.max_episode_steps is not None
    return Plan(antmaze.run, _ANT, 200_000, 0.2, task.max_episode_steps, fixed, fixed)


PLANS: dict[str, Plan] = {task.name: _plan(task) for task in TASKS.values() if task.goal_reaching}


def plan_of(task: Task) -> Plan:
    """The task's plan; raises UserError for tasks nothing here can collect."""
    if task.name not in PLANS:
        raise UserError(
            f"{task.name} cannot be collected: no behaviour policy for its body is at hand;"
            f" tasks that can: {', '.join(PLANS)}"
        )
    return PLANS[task.name]


def collection_spec(task: Task) -> EnvSpec:
    """The environment data are collected in: a goal that stays, and no end at it."""
    plan = plan_of(task)
    spec = _registered(task)
    chosen = spec.kwargs["maze_map"]
    if plan.fixed_start or plan.fixed_goal:
        start = task.start if plan.fixed_start else None
        chosen = maze.marked(chosen, start, task.goal if plan.fixed_goal else None)
    spec.kwargs.update(maze_map=chosen, continuing_task=True, reset_target=False)
    spec.max_episode_steps = plan.limit
    return spec


def stored_evaluation_spec(task: Task) -> EnvSpec:
    """The evaluation environment written into the dataset: one start and one goal, as in D4RL."""
    spec = _registered(task)
    chosen = maze.marked(spec.kwargs["maze_map"], task.start, task.goal)
    spec.kwargs.update(maze_map=chosen, continuing_task=True, reset_target=False)
    spec.max_episode_steps = task.max_episode_steps
    return spec


def _registered(task: Task) -> EnvSpec:
    register_mazes()
    return registered(str(task.environment))
