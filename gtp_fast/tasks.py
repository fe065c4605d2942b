"""One table: task -> dataset ids, loader rules, reference scores, settings and their source."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gtp_fast.errors import UserError

Family = Literal["locomotion", "antmaze", "pointmaze", "ogbench"]
GoalRule = Literal["none", "concat", "relabel"]
RewardRule = Literal["none", "minus_one", "cql", "quarter", "iql_locomotion", "normalize"]
Cell = tuple[int, int]


@dataclass(frozen=True)
class Rules:
    """How stored episodes become transitions; every rule is a named option."""

    goal: GoalRule = "none"
    """none: rewards and terminals as stored. concat: the episode's own goal is part of the state.
    relabel: rewards and terminals follow one fixed evaluation goal outside the state."""
    cut_at_goal: bool = False
    """The first success becomes terminal and the rest of the episode is left out."""
    reward: RewardRule = "none"
    """none: r. minus_one: r - 1 (IQL, FQL). cql: 4 (r - 0.5). quarter: 2 (r - 0.25).
    iql_locomotion: 1000 r / (largest - smallest return). normalize: (r - mean) / std."""
    success_radius: float = 0.45
    """Metres between achieved and desired goal that count as success; 0.45 in Gymnasium."""
    evaluation_goal: tuple[float, float] | None = None
    """x and y in metres for goal=relabel; None takes the centre of the task's goal cell."""
    clip_actions: bool = False
    """Move actions outside the action box onto it instead of refusing the dataset."""


@dataclass(frozen=True)
class Task:
    """Facts of one task for training and evaluation, with their sources."""

    name: str
    family: Family
    environment: str
    """Gymnasium id, for collecting and for flat files that carry no environment of their own."""
    datasets: tuple[tuple[str, ...], ...]
    """Alternatives in order of preference; each is the Minari ids to be concatenated."""
    observation_keys: tuple[str, ...]
    """Keys of a dict observation in the order of the state; empty for flat observations."""
    rules: Rules
    reference_min: float
    reference_max: float
    reference_source: str
    evaluation_episodes: int
    max_episode_steps: int
    discount: float = 0.99
    start: Cell | None = None
    """Row and column of the maze cell where evaluation starts."""
    goal: Cell | None = None
    """Row and column of the maze cell that holds the evaluation goal."""
    updates: int = 2_000_000
    """Length of a run by default: Diffusion-QL's for Gym and antmaze, our choice for pointmaze."""
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Settings of the agent that differ from its defaults here; see agents/task_settings.py."""

    @property
    def goal_reaching(self) -> bool:
        """Whether the task's figure of merit is the success rate."""
        return self.family != "locomotion"

    @property
    def local_dataset(self) -> str:
        """Minari id under which `python -m gtp_fast.collect` writes a locally made dataset."""
        return f"local/{self.family}/{self.name.removeprefix(self.family + '-')}-v0"

    @property
    def reference(self) -> tuple[float, float]:
        """Returns that count as score 0 and 100."""
        return self.reference_min, self.reference_max

    def score(self, returns: ArrayLike) -> NDArray[np.float64]:
        """Return the normalised scores of undiscounted returns of any shape."""
        return normalise(returns, self.reference)


def normalise(returns: ArrayLike, reference: tuple[float, float] | None) -> NDArray[np.float64]:
    """Return 100 (R - min) / (max - min), of any shape; nan without a reference."""
    values = np.asarray(returns, np.float64)
    if reference is None:
        return np.full_like(values, np.nan)
    low, high = reference
    return 100.0 * (values - low) / (high - low)


# D4RL's reference returns (d4rl/infos.py); the same pair for every dataset of an environment.
_D4RL_RETURNS = {
    "halfcheetah": (-280.178953, 12135.0),
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
}
_ENVIRONMENTS = {"halfcheetah": "HalfCheetah-v5", "hopper": "Hopper-v5", "walker2d": "Walker2d-v5"}
_SUCCESS_SCORE = (
    "our choice: an episode ends at the goal, so the score is the success rate in percent"
)
_SUCCESS_RULES = Rules(goal="concat", cut_at_goal=True, reward="minus_one")
_CELLS: dict[str, tuple[Cell, Cell]] = {
    "umaze": ((3, 1), (1, 1)),
    "medium": ((1, 1), (6, 6)),
    "large": ((1, 1), (7, 9)),
}
_ANT_ENVIRONMENTS = {
    "umaze": "AntMaze_UMaze-v4",
    "umaze-diverse": "AntMaze_UMaze-v4",
    "medium-play": "AntMaze_Medium-v4",
    "medium-diverse": "AntMaze_Medium_Diverse_GR-v4",
    "large-play": "AntMaze_Large-v4",
    "large-diverse": "AntMaze_Large_Diverse_GR-v4",
}
_POINT_LIMITS = {"umaze": 300, "medium": 600, "large": 800}


def _locomotion(body: str, level: str) -> Task:
    ids: tuple[tuple[str, ...], ...] = ((f"mujoco/{body}/{level}-v0",),)
    if level == "medium-expert":
        # No such set is confirmed on Minari's server: what is there are the two halves.
        ids += ((f"mujoco/{body}/medium-v0", f"mujoco/{body}/expert-v0"),)
    low, high = _D4RL_RETURNS[body]
    return Task(
        name=f"{body}-{level}",
        family="locomotion",
        environment=_ENVIRONMENTS[body],
        datasets=ids,
        observation_keys=(),
        rules=Rules(),
        reference_min=low,
        reference_max=high,
        reference_source="D4RL's reference returns, applied to Gymnasium's v5 environment",
        evaluation_episodes=10,
        max_episode_steps=1000,
    )


def _antmaze(variant: str) -> Task:
    size = variant.split("-")[0]
    start, goal = _CELLS[size]
    return Task(
        name=f"antmaze-{variant}",
        family="antmaze",
        environment=_ANT_ENVIRONMENTS[variant],
        datasets=((f"D4RL/antmaze/{variant}-v1",),),
        observation_keys=("achieved_goal", "observation", "desired_goal"),
        rules=_SUCCESS_RULES,
        reference_min=0.0,
        reference_max=1.0,
        reference_source="D4RL: return 0 or 1, so the score is the success rate in percent",
        evaluation_episodes=100,
        max_episode_steps=700 if size == "umaze" else 1000,
        start=start,
        goal=goal,
        updates=1_000_000,
    )


def _pointmaze(size: str) -> Task:
    start, goal = _CELLS[size]
    return Task(
        name=f"pointmaze-{size}",
        family="pointmaze",
        environment=f"PointMaze_{'UMaze' if size == 'umaze' else size.capitalize()}-v3",
        datasets=((f"D4RL/pointmaze/{size}-v2",),),
        observation_keys=("observation", "desired_goal"),
        rules=_SUCCESS_RULES,
        reference_min=0.0,
        reference_max=1.0,
        reference_source=_SUCCESS_SCORE,
        evaluation_episodes=100,
        max_episode_steps=_POINT_LIMITS[size],
        start=start,
        goal=goal,
        updates=200_000,
    )


def _demo() -> Task:
    start, goal = _CELLS["umaze"]
    return Task(
        name="pointmaze-demo",
        family="pointmaze",
        environment="PointMaze_UMaze-v3",
        datasets=(("local/pointmaze/demo-v0",),),
        observation_keys=("observation", "desired_goal"),
        rules=_SUCCESS_RULES,
        reference_min=0.0,
        reference_max=1.0,
        reference_source=_SUCCESS_SCORE,
        evaluation_episodes=100,
        max_episode_steps=200,
        discount=0.99,
        start=start,
        goal=goal,
        updates=10_000,
    )


_LEVELS = ("medium", "medium-replay", "medium-expert")
_PAPER = (
    *(_locomotion(body, level) for level in _LEVELS for body in _ENVIRONMENTS),
    *(_antmaze(variant) for variant in _ANT_ENVIRONMENTS),
)
PAPER_TASKS: tuple[str, ...] = tuple(task.name for task in _PAPER)

TASKS: dict[str, Task] = {
    task.name: task for task in (*_PAPER, *(_pointmaze(size) for size in _POINT_LIMITS), _demo())
}

_VERSIONS = {"locomotion": ("2",), "antmaze": ("0", "2"), "pointmaze": ()}


def find(name: str) -> Task:
    """Return the task of a name, with D4RL's version suffix or not; UserError otherwise."""
    wanted = name.strip().lower()
    suffix = re.search(r"-v(\d+)$", wanted)
    task = TASKS.get(wanted[: suffix.start()] if suffix else wanted)
    if task is not None and (suffix is None or suffix.group(1) in _VERSIONS[task.family]):
        return task
    near = difflib.get_close_matches(wanted, TASKS, n=3, cutoff=0.5) or sorted(TASKS)
    raise UserError(f"unknown task {name!r}; the nearest names are {', '.join(near)}")
