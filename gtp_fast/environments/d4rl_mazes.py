"""D4RL's AntMaze mazes, and the environments that evaluate on them."""

from __future__ import annotations

import copy
from typing import NamedTuple

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from gtp_fast.environments.ogbench_package import required

Cell = tuple[int, int]
CELL = 4.0
"""Side of a cell in metres."""
SUCCESS = 0.5
"""Metres from the goal that count as success."""
START: Cell = (1, 1)
"""Row and column where every episode starts, the origin of the coordinates."""


class Maze(NamedTuple):
    """A map with walls '#', its goal's cell (row, column), and the steps of an episode."""

    rows: tuple[str, ...]
    goal: Cell
    steps: int


MAZES = {
    "umaze": Maze(("#####", "#   #", "### #", "#   #", "#####"), (3, 1), 700),
    "medium": Maze(
        (
            "########",
            "#  ##  #",
            "#  #   #",
            "##   ###",
            "#  #   #",
            "# #  # #",
            "#   #  #",
            "########",
        ),
        (6, 6),
        1000,
    ),
    "large": Maze(
        (
            "############",
            "#    #     #",
            "# ## # # # #",
            "#      #   #",
            "# #### ### #",
            "#  # #     #",
            "## # # # ###",
            "#  #   #   #",
            "############",
        ),
        (7, 9),
        1000,
    ),
}


def centre(cell: Cell) -> tuple[float, float]:
    """Return x and y in metres of a cell's centre: D4RL's rows go up, from the start's cell."""
    return (cell[1] - START[1]) * CELL, (cell[0] - START[0]) * CELL


def name(maze: str) -> str:
    """Return the gymnasium id of a maze: umaze, medium or large."""
    return f"gtp_fast/D4RLAntMaze-{'UMaze' if maze == 'umaze' else maze.capitalize()}-v0"


for _maze, _facts in MAZES.items():
    gym.register(
        name(_maze),
        entry_point="gtp_fast.environments.d4rl_antmaze:D4RLAntMaze",
        max_episode_steps=_facts.steps,
        kwargs={"maze": _maze},
    )


def evaluation_spec(task: str) -> EnvSpec:
    """Return the environment of D4RL's antmaze-{umaze,medium,large}[-...] files, by task name.

    A worker can rebuild it. Raises UserError where ogbench, which includes the ant, is missing.
    """
    required("evaluation on D4RL's AntMaze files")
    return copy.deepcopy(gym.spec(name(task.split("-")[1])))
