"""Names of OGBench's single tasks of states: what each one plays, and on which data."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gtp_fast.errors import UserError

# Steps of an episode, as OGBench registers its environments.
_STEPS = {
    "pointmaze": {"medium": 1000, "large": 1000, "giant": 1000, "teleport": 1000},
    "antmaze": {"medium": 1000, "large": 1000, "giant": 1000, "teleport": 1000},
    "humanoidmaze": {"medium": 2000, "large": 2000, "giant": 4000, "teleport": 2000},
    "antsoccer": {"arena": 1000, "medium": 1000},
    "cube": {"single": 200, "double": 500, "triple": 1000, "quadruple": 1000, "octuple": 1500},
    "scene": {"": 750},
    "puzzle": {"3x3": 500, "4x4": 500, "4x5": 1000, "4x6": 1000},
}
_MAZE_DATA = ("navigate", "stitch", "explore")
_ARM_DATA = ("play", "noisy")
DATA = {
    family: _ARM_DATA if family in ("cube", "scene", "puzzle") else _MAZE_DATA for family in _STEPS
}
TASKS = ("", "-task1", "-task2", "-task3", "-task4", "-task5")
"""Suffixes of the tasks of an environment; the first is OGBench's default task."""
_NAME = re.compile(
    r"(?P<body>[a-z]+)(?:-(?P<size>\w+))?-(?P<data>[a-z]+)-singletask(?P<task>-task[1-5])?-v0"
)


@dataclass(frozen=True)
class Single:
    """One single task of OGBench."""

    name: str
    body: str
    """Family of environments: pointmaze, antmaze, humanoidmaze, antsoccer, cube, scene, puzzle."""
    setting: str
    """Environment without task and version: antmaze-large, scene."""
    data: str
    """How its data were collected: navigate, stitch, explore, play or noisy."""
    task: str
    """Suffix of the task, empty for the default one."""
    max_episode_steps: int

    @property
    def environment(self) -> str:
        """Gymnasium id of the evaluation environment."""
        return f"{self.setting}-singletask{self.task}-v0"

    @property
    def collection(self) -> str:
        """Gymnasium id of the environment that the data are collected in."""
        return f"{self.setting}-v0"

    @property
    def dataset(self) -> str:
        """Name of the data's file, which all tasks of an environment share."""
        return f"{self.setting}-{self.data}-v0"


def is_name(name: str) -> bool:
    """Return whether OGBench has a single task of states by this name."""
    return _parsed(name) is not None


def find(name: str) -> Single:
    """Return the single task of a name; UserError when OGBench has none by it."""
    single = _parsed(name)
    if single is None:
        raise UserError(
            f"{name!r} is no single task of OGBench: its names have the form"
            " antmaze-large-navigate-singletask-v0 or cube-single-play-singletask-task3-v0"
        )
    return single


def _parsed(name: str) -> Single | None:
    match = _NAME.fullmatch(name.strip().lower())
    if match is None:
        return None
    body, size, data = match["body"], match["size"] or "", match["data"]
    steps = _STEPS.get(body, {}).get(size)
    if steps is None or data not in DATA[body]:
        return None
    setting = f"{body}-{size}" if size else body
    return Single(match[0], body, setting, data, match["task"] or "", steps)
