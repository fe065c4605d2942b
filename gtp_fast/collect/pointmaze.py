"""PointMaze behaviours: a way-point planner under PD control, and a wanderer for the demo."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gtp_fast.collect.buffers import Episode, Observation, Stored
from gtp_fast.collect.planner import Planner, Point
from gtp_fast.tasks import Cell

_GAIN, _DAMPING = 10.0, 1.0
# A way-point counts as passed this near (metres), so that the ball need not stop at it.
_NEAR = 0.2


class Walker:
    """PD control along the shortest path; a way-point stays until nearly reached."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._target: Point | None = None
        self._waypoint: Point | None = None

    def action(self, position: Point, velocity: Point, target: Point) -> NDArray[np.float64]:
        """Force in [-1, 1]^2 that moves the ball on towards `target` (metres)."""
        if self._target is None or not np.array_equal(target, self._target):
            self._target, self._waypoint = target.copy(), None
        point = self._waypoint
        passed = point is not None and point is not self._target and near(position, point)
        if point is None or passed:
            here, goal = self._planner.cell(position), self._planner.cell(target)
            ahead = self._planner.next_cell(here, goal)
            point = self._target if ahead == goal else self._planner.centre(ahead)
            self._waypoint = point
        return np.clip(_GAIN * (point - position) - _DAMPING * velocity, -1.0, 1.0)


def near(position: Point, point: Point) -> bool:
    """Whether a position is close enough to a way-point to go on to the next."""
    dx, dy = position - point
    return bool(dx * dx + dy * dy < _NEAR * _NEAR)


def to_goal(
    env: gym.Env[Any, Any], planner: Planner, seed: int, number: int, noise: float, limit: int
) -> Stored:
    """Episode `number`: straight to a random goal, ending at it (stored as a truncation)."""
    draw = np.random.default_rng((seed, number))
    walker = Walker(planner)
    observation, episode = _start(env, draw)
    while len(episode) < limit:
        target = observation["desired_goal"]
        observation, success = _step(env, episode, walker, observation, target, draw, noise)
        if success:
            break
    return episode.finish()


def wander(
    env: gym.Env[Any, Any], planner: Planner, seed: int, number: int, noise: float, limit: int
) -> Stored:
    """Episode `number`: from random cell to random cell, ending where it happens on the goal."""
    draw = np.random.default_rng((seed, number))
    walker = Walker(planner)
    observation, episode = _start(env, draw)
    cell = _elsewhere(planner, observation["achieved_goal"], draw)
    while len(episode) < limit:
        if near(observation["achieved_goal"], planner.centre(cell)):
            cell = _elsewhere(planner, observation["achieved_goal"], draw)
        target = planner.centre(cell)
        observation, success = _step(env, episode, walker, observation, target, draw, noise)
        if success:
            break
    return episode.finish()


def _elsewhere(planner: Planner, position: Point, draw: np.random.Generator) -> Cell:
    here = planner.cell(position)
    others = [cell for cell in planner.free if cell != here]
    return others[int(draw.integers(len(others)))]


def _start(env: gym.Env[Any, Any], draw: np.random.Generator) -> tuple[Observation, Episode]:
    seed = int(draw.integers(2**31))
    observation, info = env.reset(seed=seed)
    return observation, Episode(seed, observation, _facts(observation, info))


def _step(
    env: gym.Env[Any, Any], episode: Episode, walker: Walker, observation: Observation,
    target: Point, draw: np.random.Generator, noise: float,
) -> tuple[Observation, bool]:  # fmt: skip
    state = observation["observation"]
    wanted = walker.action(state[:2], state[2:4], target) + noise * draw.standard_normal(2)
    action = np.clip(wanted, -1.0, 1.0).astype(np.float32)
    after, reward, terminated, _, info = env.step(action)
    episode.add(action, after, float(reward), terminated, _facts(after, info))
    return after, bool(info["success"])


def _facts(observation: Observation, info: dict[str, Any]) -> dict[str, Any]:
    state = observation["observation"]
    return {
        "success": bool(info["success"]),
        "qpos": state[:2],
        "qvel": state[2:4],
        "goal": observation["desired_goal"],
    }
