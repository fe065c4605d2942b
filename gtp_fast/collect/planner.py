"""Shortest paths over the free cells of a maze."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from gtp_fast.data import maze
from gtp_fast.tasks import Cell

Point = NDArray[np.float64]


class Planner:
    """Breadth-first distances between cells, and the next cell on the way to a goal cell."""

    def __init__(self, maze_map: maze.MazeMap, scale: float) -> None:
        self._map, self._scale = maze_map, scale
        walls = maze.walls(maze_map)
        self.free: list[Cell] = [
            (i, j) for i, row in enumerate(walls) for j, wall in enumerate(row) if not wall
        ]
        self._centres = {cell: np.array(maze.centre(maze_map, cell, scale)) for cell in self.free}
        self._distances: dict[Cell, dict[Cell, int]] = {}

    def centre(self, cell: Cell) -> Point:
        """x and y in metres of the centre of a free cell."""
        return self._centres[cell]

    def distances(self, goal: Cell) -> dict[Cell, int]:
        """Number of cells between every reachable cell and the goal cell."""
        if goal not in self._distances:
            found, waiting = {goal: 0}, deque([goal])
            while waiting:
                cell = waiting.popleft()
                for near in self.neighbours(cell):
                    if near not in found:
                        found[near] = found[cell] + 1
                        waiting.append(near)
            self._distances[goal] = found
        return self._distances[goal]

    def neighbours(self, cell: Cell) -> list[Cell]:
        """Free cells that share a side with `cell`."""
        i, j = cell
        return [c for c in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)) if c in self._centres]

    def cell(self, position: Point) -> Cell:
        """The free cell that holds a position, or the nearest one."""
        rows, columns = len(self._map), len(self._map[0])
        i = int(np.floor(rows / 2 - position[1] / self._scale))
        j = int(np.floor(columns / 2 + position[0] / self._scale))
        if (i, j) in self._centres:
            return i, j
        return min(self.free, key=lambda c: float(np.sum((self._centres[c] - position) ** 2)))

    def next_cell(self, here: Cell, goal: Cell) -> Cell:
        """The neighbour of `here` that is nearest to `goal`; `goal` itself once there."""
        distances = self.distances(goal)
        return min((here, *self.neighbours(here)), key=lambda c: distances.get(c, len(self.free)))
