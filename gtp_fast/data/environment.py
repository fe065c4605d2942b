"""Evaluation environments, recovered from the dataset's own specification."""

from __future__ import annotations

import contextlib
import copy
import difflib
import importlib
import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, WrapperSpec

from gtp_fast.data import maze, trust
from gtp_fast.data.box import shown
from gtp_fast.data.judging import ENDS_AT_GOAL, as_judged, kind
from gtp_fast.data.recording import keyed
from gtp_fast.data.table import TransitionTable
from gtp_fast.environments import d4rl_mazes
from gtp_fast.errors import UNREADABLE, UserError
from gtp_fast.system import nested
from gtp_fast.tasks import Task, find

MAZE_SCALES = {"antmaze": 4.0, "pointmaze": 1.0}


class FixedGoal(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """A maze with one fixed goal (metres), without the maze's noise at every reset."""

    def __init__(self, env: gym.Env[Any, Any], goal: tuple[float, float]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, goal=tuple(goal))
        super().__init__(env)
        self._goal = np.asarray(goal, np.float64)

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Reset the maze and put the goal in its place."""
        observation, info = self.env.reset(**options)
        self.env.unwrapped.goal = self._goal.copy()  # type: ignore[attr-defined]
        observation["desired_goal"] = self._goal.copy()
        return observation, info


def evaluation_goal(
    task: Task, environment: str | None, stored: str | None
) -> tuple[float, float] | None:
    """Centre of the evaluation goal cell in metres, for goal=relabel; None without a maze."""
    chosen = _evaluation_map(task, environment, stored)
    cell = maze.only(chosen, "g") if chosen is not None else None
    if chosen is None or cell is None:
        return None
    return maze.centre(chosen, cell, MAZE_SCALES[task.family])


def evaluation_spec(
    table: TransitionTable,
    task: Task | None = None,
    environment: str | None = None,
    trust_environment: bool = False,
) -> EnvSpec | None:
    """Return the environment to evaluate in; None when there is none.

    task: by default the preset that the table names. environment: a registered id, taken instead
    of the dataset's own and played as `as_judged` says. Mazes of a preset end at the goal, keep it,
    and use the collection map with one start and one goal cell. Raises UserError for an environment
    that `trust.parse` refuses.
    """
    task = task or find(table.task)
    if environment is not None:
        return as_judged(task, registered(environment))
    if table.evaluation_environment is None:
        if task.family == "antmaze" and table.provenance.description == "a D4RL file":
            return d4rl_mazes.evaluation_spec(task.name)
        # The positions of other flat files may be in other coordinates.
        absent = task.goal_reaching or task.environment is None
        return None if absent else registered(str(task.environment))
    spec = trust.parse(table.evaluation_environment, table.dataset_id, trust_environment)
    if task.environment is None or task.family == "ogbench":
        return spec
    if not trust_environment and kind(spec.id) != kind(task.environment):
        raise UserError(
            f"{table.dataset_id} was collected in {spec.id} and {task.name} is played in"
            f" {task.environment}: choose the task that the dataset was made for, or leave --task"
            " out to take the dataset as it is"
        )
    return _maze_spec(table, task, trust_environment) if task.goal_reaching else spec


def _maze_spec(table: TransitionTable, task: Task, trusted: bool) -> EnvSpec:
    """Return the maze of a preset: the collection map with one start and one goal cell."""
    stored = table.environment or table.evaluation_environment
    assert stored is not None
    spec = trust.parse(stored, table.dataset_id, trusted)
    chosen = _evaluation_map(task, table.environment, table.evaluation_environment)
    if chosen is None:
        raise UserError(
            f"{table.dataset_id}: its maze has a wall where {task.name} starts or ends;"
            " choose the task that the dataset was made for"
        )
    spec.kwargs.update(ENDS_AT_GOAL, maze_map=chosen)
    spec.max_episode_steps = task.max_episode_steps
    if table.rules.goal == "relabel":
        goal = table.rules.evaluation_goal or evaluation_goal(
            task, table.environment, table.evaluation_environment
        )
        entry = f"{FixedGoal.__module__}:{FixedGoal.__name__}"
        wrapper = WrapperSpec(FixedGoal.__name__, entry, {"goal": goal})
        spec.additional_wrappers = (*spec.additional_wrappers, wrapper)
    return spec


def registered(name: str) -> EnvSpec:
    """Return the spec of a registered environment, `module:id` too; UserError without one."""
    module, _, own = name.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        if own not in gym.registry:
            trust.register_known()
        return copy.deepcopy(gym.spec(own))
    except (ImportError, gym.error.Error) as error:
        near = difflib.get_close_matches(own, gym.registry, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UserError(
            f"there is no environment {name} ({str(error).splitlines()[0]}){hint or '.'} An"
            " environment of your own is named as --env MODULE:ID, where importing MODULE registers"
            " ID"
        ) from error


def register_mazes() -> None:
    """Make gymnasium_robotics' environments known; raises UserError when it is not installed."""
    try:
        # It prints a long notice on other environments when it is imported.
        with contextlib.redirect_stderr(io.StringIO()):
            import gymnasium_robotics
    except ImportError as error:
        raise UserError(
            "mazes need gymnasium-robotics and mujoco; pip install 'gtp_fast[envs]'"
        ) from error
    gym.register_envs(gymnasium_robotics)


class Shape(NamedTuple):
    """What the policy of a run takes of an environment, by the names of a table."""

    dataset_id: str
    """Name in messages."""
    observation_keys: Sequence[str]
    observation_dim: int
    action_dim: int
    action_low: Sequence[float]
    action_high: Sequence[float]
    observation_widths: Sequence[int] = ()
    """Numbers of each key; older runs do not know them."""


def fits_environment(table: TransitionTable | Shape, environment: gym.Env[Any, Any]) -> None:
    """Compare the spaces of data and environment; raises UserError when they differ."""
    name = environment.spec.id if environment.spec else type(environment.unwrapped).__name__
    space = environment.observation_space
    widths: list[int] = []
    if table.observation_keys:
        parts = nested.flat(space) if isinstance(space, gym.spaces.Dict) else {}
        if absent := [k for k in table.observation_keys if k not in parts]:
            raise UserError(
                f"{table.dataset_id} does not fit {name}: the environment has no observation"
                f" {', '.join(absent)}; use the environment the data were collected in"
            )
        widths = [int(np.prod(parts[k].shape or ())) for k in table.observation_keys]
        width = sum(widths)
    elif isinstance(space, gym.spaces.Box):
        width = int(np.prod(space.shape))
    else:
        raise UserError(
            f"{table.dataset_id} does not fit {name}: its states are rows of"
            f" {table.observation_dim} numbers, the environment observes {space}; wrap it in"
            " gymnasium.wrappers.FlattenObservation, with the data's numbers in that order, and"
            " register that"
        )
    if width != table.observation_dim:
        raise UserError(
            f"{table.dataset_id} does not fit {name}: its states have {table.observation_dim}"
            f" numbers, the environment's {width}; use the version the data come from"
        )
    known = list(table.observation_widths)
    # Older runs do not know them.
    if len(known) == len(widths) and known != widths:
        own, other = (keyed(table.observation_keys, each) for each in (known, widths))
        raise UserError(
            f"{table.dataset_id} does not fit {name}: its states hold {own}, the environment's"
            f" {other}; use the environment the data were collected in"
        )
    box = environment.action_space
    if isinstance(box, gym.spaces.Box) and not _is_real(box):
        raise UserError(
            f"{name} takes {box} as actions and a policy gives real numbers: wrap it so that it"
            " takes those, or take --env none"
        )
    if not _is_real(box) or box.shape != (table.action_dim,):
        raise UserError(
            f"{table.dataset_id} does not fit {name}: its actions are {table.action_dim} real"
            f" numbers, the environment takes {box}; use the environment the data were collected in"
        )
    stored = np.array((table.action_low, table.action_high))
    live = np.stack((box.low, box.high))
    # An environment without a limit takes any end.
    differ = ~(np.isclose(live, stored) | np.isinf(live)).all(0)
    if differ.any():
        raise UserError(
            f"{table.dataset_id} does not fit {name}: the action boxes differ, action"
            f" {differ.argmax()} lies in {shown(differ, stored)} in the data and in"
            f" {shown(differ, live)} in the environment; use the environment the data were"
            " collected in"
        )


def box_of(environment: gym.Env[Any, Any]) -> tuple[list[float], list[float]]:
    """Return both ends of the action box [A]; UserError for other actions."""
    space = environment.action_space
    if not _is_real(space) or len(space.shape) != 1:
        name = environment.spec.id if environment.spec else type(environment.unwrapped).__name__
        raise UserError(
            f"{name} takes {space} as actions: gtp_fast needs a vector of real"
            " numbers in a box; wrap it so that it takes one"
        )
    return space.low.tolist(), space.high.tolist()


def _is_real(space: gym.Space[Any]) -> TypeGuard[gym.spaces.Box]:
    """Return whether a space is a box of real numbers: a policy's actions are no integers."""
    return isinstance(space, gym.spaces.Box) and space.dtype.kind == "f"


def _evaluation_map(task: Task, environment: str | None, stored: str | None) -> maze.MazeMap | None:
    if task.start is None or task.goal is None:
        return None
    collected, evaluated = (_map(environment), _map(stored))
    base = collected if collected is not None else evaluated
    return None if base is None else maze.evaluation_map(base, evaluated, task.start, task.goal)


def _map(text: str | None) -> maze.MazeMap | None:
    """Return the map in an environment's arguments; what is no specification is refused later."""
    try:
        found = json.loads(text)["kwargs"].get("maze_map") if text else None
        return None if found is None else [list(row) for row in found]
    except UNREADABLE:
        return None
