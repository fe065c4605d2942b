"""One table of named tasks: dataset ids, loader rules, reference returns and their source."""

from __future__ import annotations

from gtp_fast.environments.ogbench_names import Single
from gtp_fast.tasks.task import Cell, Rules, Task

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
    return Task(
        name=f"{body}-{level}",
        family="locomotion",
        environment=_ENVIRONMENTS[body],
        datasets=ids,
        observation_keys=(),
        rules=Rules(),
        reference=_D4RL_RETURNS[body],
        reference_source="D4RL's reference returns, applied to Gymnasium's v5 environment",
        evaluation_episodes=10,
        max_episode_steps=1000,
        updates=2_000_000,
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
        reference=(0.0, 1.0),
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
        reference=(0.0, 1.0),
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
        reference=(0.0, 1.0),
        reference_source=_SUCCESS_SCORE,
        evaluation_episodes=100,
        max_episode_steps=200,
        discount=0.99,
        start=start,
        goal=goal,
        updates=5_000,
    )


# FQL's authors take 0.995 where the way is long, and 0.99 elsewhere.
_LONG = ("antmaze-giant", "humanoidmaze", "antsoccer")


def of_ogbench(single: Single) -> Task:
    """Return the task of one of OGBench's single tasks."""
    return Task(
        name=single.name,
        family="ogbench",
        environment=single.environment,
        datasets=((single.dataset,),),
        observation_keys=(),
        # OGBench's own labels: one fixed goal outside the state.
        rules=Rules(goal="relabel"),
        reference=(0.0, 1.0),
        reference_source="OGBench: the score is the success rate in percent",
        evaluation_episodes=50,
        max_episode_steps=single.max_episode_steps,
        discount=0.995 if single.setting.startswith(_LONG) else 0.99,
        updates=1_000_000,
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
