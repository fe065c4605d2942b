"""Which environments are scored by a task's references, and how they are played for it."""

from __future__ import annotations

import copy
import re

from gymnasium.envs.registration import EnvSpec

from gtp_fast.environments import singletask
from gtp_fast.system import specs
from gtp_fast.tasks import Task

ENDS_AT_GOAL = {"continuing_task": False, "reset_target": False, "reward_type": "sparse"}
"""Arguments of a maze of Gymnasium-Robotics that pays 1 at the goal, where the episode ends."""
_MAZES = "gymnasium_robotics.envs.maze."


def kind(environment: str) -> str:
    """Return what two versions of an environment have in common: Hopper, AntMaze_Large."""
    name = re.sub(r"-v\d+$", "", environment)
    return "_".join(name.split("_")[:2]).removesuffix("Dense")


def as_judged(task: Task, spec: EnvSpec) -> EnvSpec:
    """Return a registered environment as the task plays it, where it is of the task's kind.

    A maze keeps its map, ends at the goal and has the task's limit; a single task of OGBench counts
    its successes. Any other environment, and dense rewards, stay as they are.
    """
    if not _of_kind(task, spec.id):
        return spec
    if task.family == "ogbench":
        return singletask.counted(spec)
    if not task.goal_reaching or not _is_maze(spec):
        return spec
    played = copy.deepcopy(spec)
    played.kwargs.update(ENDS_AT_GOAL)
    played.max_episode_steps = task.max_episode_steps
    return played


def judged_in(task: Task, environment: str, spec: EnvSpec | None = None) -> Task:
    """Return the task without references where another environment than its kind judges it.

    spec: how the environment is played, where that is known. One that does not end at the goal
    sums up rewards that are no success rate.
    """
    if not _of_kind(task, environment):
        return task.without_reference(environment)
    if spec is None or _counts(task, spec):
        return task
    return task.without_reference(f"{environment} as it is played here")


def _of_kind(task: Task, environment: str) -> bool:
    if task.environment is None or re.search(r"Dense(-v\d+)?$", environment):
        return False
    return kind(environment) == kind(task.environment)


def _is_maze(spec: EnvSpec) -> bool:
    return (specs.place(spec.entry_point) or "").startswith(_MAZES)


def _counts(task: Task, spec: EnvSpec) -> bool:
    """Return whether returns are what the task's references are."""
    if task.family == "ogbench":
        return any(one.name == singletask.SingleTask.__name__ for one in spec.additional_wrappers)
    if not task.goal_reaching:
        return True
    pays = ("continuing_task", "reward_type")
    return _is_maze(spec) and all(spec.kwargs.get(name) == ENDS_AT_GOAL[name] for name in pays)
