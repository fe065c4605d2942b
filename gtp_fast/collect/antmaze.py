"""AntMaze behaviour: from cell centre to cell centre along the shortest path, with noise."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from gtp_fast.collect.ant import DirectionPolicy, upright
from gtp_fast.collect.buffers import Episode, Observation, Stored
from gtp_fast.collect.planner import Planner, Point
from gtp_fast.tasks import Cell

# A cell centre counts as passed this near (metres).
_NEAR = 1.0
# Steps on its back, or without getting nearer, after which an ant is given up.
_FALLEN, _STUCK = 60, 150
# The official sets go on after the goal; a few such steps keep their shape at less cost.
_LINGER = 40


class Runner:
    """Chooses the point to run to; a cell centre is kept until nearly reached."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._cell: Cell | None = None

    def target(self, position: Point, goal_position: Point) -> Point:
        """The next point on the way, in metres."""
        planner = self._planner
        here, goal = planner.cell(position), planner.cell(goal_position)
        if here == goal:
            return goal_position
        distances = planner.distances(goal)
        cell = self._cell
        if cell is None or abs(here[0] - cell[0]) + abs(here[1] - cell[1]) > 1:
            cell = here
        reached = float(np.linalg.norm(position - planner.centre(cell))) < _NEAR
        if reached or distances[here] < distances[cell]:
            cell = planner.next_cell(cell, goal)
        self._cell = cell
        return goal_position if cell == goal else planner.centre(cell)

    def remaining(self, position: Point, goal_position: Point, target: Point) -> float:
        """Return the distance left: cells to go, then metres to the next point."""
        planner = self._planner
        cells = planner.distances(planner.cell(goal_position))[planner.cell(position)]
        return 10.0 * cells + float(np.linalg.norm(position - target))


def run(
    env: gym.Env[Any, Any], planner: Planner, seed: int, number: int, noise: float, limit: int
) -> Stored:
    """Return episode `number`: past its goal or until stuck, both truncations."""
    draw = np.random.default_rng((seed, number))
    policy, runner = DirectionPolicy(), Runner(planner)
    reset_seed = int(draw.integers(2**31))
    observation, info = env.reset(seed=reset_seed)
    episode = Episode(reset_seed, observation, _facts(observation, info))
    linger, successes = int(draw.integers(_LINGER)), 0
    best, since = np.inf, 0
    while len(episode) < limit:
        position, goal = observation["achieved_goal"], observation["desired_goal"]
        target = runner.target(position, goal)
        direction = float(np.arctan2(*(target - position)[::-1]))
        wanted = policy(observation["observation"], direction) + noise * draw.standard_normal(8)
        action = np.clip(wanted, -1.0, 1.0).astype(np.float32)
        observation, reward, terminated, _, info = env.step(action)
        episode.add(action, observation, float(reward), terminated, _facts(observation, info))
        successes += bool(info["success"])
        left = runner.remaining(observation["achieved_goal"], goal, target)
        best, since = (left, 0) if left < best - 0.1 else (best, since + 1)
        fallen = upright(observation["observation"]) < 0.0 and since > _FALLEN
        if successes > linger or fallen or since > _STUCK:
            break
    return episode.finish()


def _facts(observation: Observation, info: dict[str, Any]) -> dict[str, Any]:
    body = observation["observation"]
    return {
        "success": bool(info["success"]),
        "qpos": np.concatenate([observation["achieved_goal"], body[:13]]),
        "qvel": body[13:27],
        "goal": observation["desired_goal"],
    }
