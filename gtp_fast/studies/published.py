"""Published scores, shown next to ours only where the dataset is the published one.

Columns of tables 1 and 2 of the paper (arXiv 2510.11499), means of five seeds, the last one GTP's
own. Its figures of rivals are largely taken from the rivals' papers. Some of those use AntMaze sets
v0 and others v2, and some report the best checkpoint of a run.
"""

from __future__ import annotations

from pathlib import Path

from gtp_fast.tasks import Task

SOURCE = "arXiv 2510.11499, tables 1 (bc) and 2 (the others)"
_AGENTS = ("bc", "iql", "diffusion-ql", "consistency-ac", "gtp")
_ROWS: dict[str, tuple[float | None, ...]] = {
    "halfcheetah-medium": (42.6, 47.4, 51.1, 69.1, 53.9),
    "hopper-medium": (52.9, 66.3, 90.5, 80.7, 90.3),
    "walker2d-medium": (75.3, 78.3, 87.0, 83.1, 89.5),
    "halfcheetah-medium-replay": (36.6, 44.2, 47.8, 58.7, 50.8),
    "hopper-medium-replay": (18.1, 94.7, 101.3, 99.7, 101.7),
    "walker2d-medium-replay": (26.0, 73.9, 95.5, 79.5, 94.2),
    "halfcheetah-medium-expert": (55.2, 86.7, 96.8, 84.3, 93.8),
    "hopper-medium-expert": (52.5, 91.5, 111.1, 100.4, 112.2),
    "walker2d-medium-expert": (107.5, 109.6, 110.1, 110.4, 114.2),
    "antmaze-umaze": (54.6, 87.5, 93.4, 75.8, 100.0),
    "antmaze-umaze-diverse": (45.6, 62.2, 66.2, 77.6, 81.9),
    "antmaze-medium-play": (0.0, 71.2, 76.6, 56.8, 83.3),
    "antmaze-medium-diverse": (0.0, 70.0, 78.6, None, 94.2),
    "antmaze-large-play": (0.0, 39.6, 46.4, None, 53.5),
    "antmaze-large-diverse": (0.0, 47.5, 56.6, None, 71.0),
}
_MAZES = {"umaze": "u-maze", "medium": "big-maze", "large": "hardest-maze"}
"""D4RL's words in the names of its files."""
_SMALLEST = 200_000
"""Transitions of D4RL's smallest set of these (halfcheetah-medium-replay) are a few more."""


def score(task: str, agent: str) -> float | None:
    """Return the published score, None where there is none."""
    row = dict(zip(_AGENTS, _ROWS.get(task, ()), strict=False))
    return row.get(agent)


def is_published(task: Task, dataset: str, description: str, transitions: int) -> bool:
    """Return whether a dataset is a task's published D4RL file, by its name and size.

    dataset: file name; description: what its loader says that it is.
    """
    if task.family == "pointmaze" or description != "a D4RL file" or transitions < _SMALLEST:
        return False
    words = Path(dataset.removesuffix(".gz")).stem.lower().replace("_", "-")
    if task.family == "antmaze":
        size, kind = [*task.name.split("-")[1:], ""][:2]
        right_goals = f"multigoal-{kind == 'diverse'}".lower() in words
        return f"ant-maze-{_MAZES[size]}-" in words and right_goals
    # Versions 0 and 1, the first one's files without a version in their name, hold other data.
    return words == f"{task.name}-v2"
