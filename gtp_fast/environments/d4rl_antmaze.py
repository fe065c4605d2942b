"""D4RL's AntMaze for its own files: 29 numbers of state, the goal outside of it.

OGBench's ant is D4RL's: the same bodies, joints, contacts and time step (0.02 s, 5 a step), and a
motor's force is 30 times an action in [-1, 1], which D4RL gets from a box of +-30 and a wrapper.
Gymnasium's ant is another one (force 150, 0.01 s, harder contacts). What differs from D4RL is the
simulator: MuJoCo 3 here, 2.0 there.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ogbench.locomaze.ant import AntEnv

from gtp_fast.environments.d4rl_mazes import CELL, MAZES, SUCCESS, centre
from gtp_fast.system.files import temporary_folder

_WALL_HEIGHT = 0.5
"""Height of the walls in cells."""
_GOAL_SPREAD = (0.25, 0.125)
"""Parts of a cell: D4RL moves a goal off its centre by two uniform draws, at most this far."""


class D4RLAntMaze(AntEnv):  # type: ignore[misc]
    """An ant from the start cell to the goal cell of D4RL's umaze, medium or large.

    Reward 1 within 0.5 m of the goal, where the episode ends, else 0. As in D4RL's version 2 every
    reset draws start and goal: the start within 0.1 m, the goal up to 1.5 m in x and in y beyond
    the centre of its cell.
    """

    def __init__(self, maze: str = "large", **options: Any) -> None:
        self.maze = MAZES[maze]
        self.goal = np.array(centre(self.maze.goal), np.float64)
        tree = ElementTree.parse(AntEnv.xml_file)
        body = tree.find(".//worldbody")
        assert body is not None
        for geom in self._walls():
            ElementTree.SubElement(body, "geom", geom)
        with temporary_folder() as folder:
            model = Path(folder) / "ant.xml"
            tree.write(model)
            super().__init__(xml_file=str(model), **options)

    def _walls(self) -> list[dict[str, str]]:
        half, height = CELL / 2, _WALL_HEIGHT * CELL / 2
        walls = [
            (i, j) for i, row in enumerate(self.maze.rows) for j, c in enumerate(row) if c == "#"
        ]
        return [
            {
                "name": f"block_{i}_{j}",
                "type": "box",
                "pos": "{} {} {}".format(*centre((i, j)), height),
                "size": f"{half} {half} {height}",
                "contype": "1",
                "conaffinity": "1",
                "material": "wall",
            }
            for i, j in walls
        ]

    def reset_model(self) -> NDArray[np.float64]:
        """Draw a state near the start cell's centre and a goal in the goal's cell."""
        self.goal = np.array(centre(self.maze.goal), np.float64)
        for part in _GOAL_SPREAD:
            self.goal += self.np_random.uniform(0.0, part * CELL, 2)
        state: NDArray[np.float64] = super().reset_model()
        return state

    def step(
        self, action: NDArray[Any]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Move for 0.1 s; the episode ends at the goal."""
        observation, *_, info = super().step(action)
        reached = bool(np.linalg.norm(info["xy"] - self.goal) <= SUCCESS)
        return observation, float(reached), reached, False, {"success": reached}
