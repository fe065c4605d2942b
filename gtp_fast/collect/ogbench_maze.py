"""Behaviours of OGBench's point mazes: from cell to cell along shortest paths, with noise."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gtp_fast.collect.ogbench_steps import Steps
from gtp_fast.tasks import Cell

Point = NDArray[np.float64]
NOISE = 0.5
"""Standard deviation of the Gaussian added to actions, OGBench's for its point mazes."""
# OGBench's `stitch` sets the goal this many cells away.
_NEAR_CELLS = 4


class Guide:
    """OGBench's own oracle, asked once for each pair of cells, since it searches at every call."""

    def __init__(self, maze: Any) -> None:
        self._maze = maze
        self._known: dict[tuple[Cell, Cell], tuple[Point, NDArray[np.int64]]] = {}
        walls = maze.maze_map == 1
        self.free: list[Cell] = [(int(i), int(j)) for i, j in np.argwhere(~walls)]
        self.corners = [cell for cell in self.free if not _straight(walls, *cell)]

    def direction(self, position: Point, goal: Point) -> Point:
        """Unit vector [2] from a position to the next cell centre on the way to a goal."""
        way = self._asked(self._maze.xy_to_ij(position), self._maze.xy_to_ij(goal))[0] - position
        return np.asarray(way / (np.linalg.norm(way) + 1e-6))

    def around(self, cell: Cell) -> list[Cell]:
        """Cells at the distance of `stitch`; the cell itself where there is none."""
        distances = self._asked(cell, cell)[1]
        found = [(int(i), int(j)) for i, j in np.argwhere(distances == _NEAR_CELLS)]
        return found or [cell]

    def _asked(self, here: Cell, goal: Cell) -> tuple[Point, NDArray[np.int64]]:
        key = (here, goal)
        if key not in self._known:
            centre = self._maze.ij_to_xy
            self._known[key] = self._maze.get_oracle_subgoal(centre(here), centre(goal))
        return self._known[key]


def _straight(walls: NDArray[np.bool_], i: int, j: int) -> bool:
    """Whether a free cell is a piece of a straight corridor, where no goal is set."""
    rows, columns = walls[[i - 1, i + 1], j], walls[i, [j - 1, j + 1]]
    return bool((~rows).all() and columns.all()) or bool((~columns).all() and rows.all())


def episode(env: gym.Env[Any, Any], guide: Guide, data: str, noise: float) -> Steps:
    """Play one episode: `navigate` takes a new goal at each success, `stitch` stays."""
    maze: Any = env.unwrapped
    start = _any(guide.free)
    goal = _any(guide.around(start) if data == "stitch" else guide.corners)
    task = {"init_ij": start, "goal_ij": goal}
    observation, _ = env.reset(options={"task_info": task})
    steps, ended = Steps(), False
    while not ended:
        wanted = guide.direction(maze.get_xy(), maze.cur_goal_xy)
        action = np.clip(wanted + np.random.normal(0.0, noise, 2), -1.0, 1.0)
        after, _, terminated, truncated, info = env.step(action)
        if info["success"] and data == "navigate":
            maze.set_goal(goal_xy=maze.add_noise(maze.ij_to_xy(_any(guide.corners))))
        steps.add(observation, action, info)
        observation, ended = after, terminated or truncated
    return steps


def _any(cells: list[Cell]) -> Cell:
    return cells[np.random.randint(len(cells))]
