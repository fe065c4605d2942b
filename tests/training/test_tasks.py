"""The table of tasks, and the normalised score."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gtp_fast import tasks
from gtp_fast.errors import UserError


def test_the_papers_fifteen_tasks_are_there() -> None:
    bodies, levels = (
        ("halfcheetah", "hopper", "walker2d"),
        ("medium", "medium-replay", "medium-expert"),
    )
    mazes = (
        "umaze",
        "umaze-diverse",
        "medium-play",
        "medium-diverse",
        "large-play",
        "large-diverse",
    )
    expected = {f"{b}-{v}" for b in bodies for v in levels} | {f"antmaze-{m}" for m in mazes}
    assert set(tasks.PAPER_TASKS) == expected
    assert len(tasks.PAPER_TASKS) == 15
    assert {"pointmaze-umaze", "pointmaze-medium", "pointmaze-large", "pointmaze-demo"} <= set(
        tasks.TASKS
    )


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("hopper-medium-v2", "hopper-medium"),
        ("antmaze-large-diverse-v0", "antmaze-large-diverse"),
        ("antmaze-large-diverse-v2", "antmaze-large-diverse"),
        ("  Walker2d-Medium-Expert ", "walker2d-medium-expert"),
    ],
)
def test_d4rl_names_are_understood(given: str, name: str) -> None:
    assert tasks.find(given).name == name
    own = tasks.of_dataset(given, "mine.hdf5")
    assert own == tasks.find(name), "the same name means the same with a file of one's own"


@pytest.mark.parametrize(
    "given", ["antmaze-large-divers", "antmaze-large-diverse-v1", "hopper-medium-v0"]
)
def test_an_unknown_task_gets_the_nearest_names(given: str) -> None:
    with pytest.raises(UserError) as caught:
        tasks.find(given)
    near = "antmaze-large-diverse" if given.startswith("ant") else "hopper-medium"
    assert given in str(caught.value)
    assert near in str(caught.value).split("nearest names are", 1)[1]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("halfcheetah-medium", -280.178953, 12135.0),
        ("hopper-medium-replay", -20.272305, 3234.3),
        ("walker2d-medium-expert", 1.629008, 4592.3),
        ("antmaze-large-play", 0.0, 1.0),
    ],
)
def test_reference_returns_give_0_and_100(name: str, low: float, high: float) -> None:
    task = tasks.find(name)
    assert task.score([low, high, (low + high) / 2]).tolist() == pytest.approx([0.0, 100.0, 50.0])


def test_medium_expert_prefers_its_own_set_to_the_two_halves() -> None:
    assert tasks.find("hopper-medium-expert").datasets == (
        ("mujoco/hopper/medium-expert-v0",),
        ("mujoco/hopper/medium-v0", "mujoco/hopper/expert-v0"),
    )


def test_every_task_evaluates_as_the_paper_says() -> None:
    for name in tasks.PAPER_TASKS:
        task = tasks.TASKS[name]
        assert task.evaluation_episodes == (100 if task.goal_reaching else 10)
        limit = 700 if "umaze" in name else 1000
        assert task.max_episode_steps == limit


def test_mazes_pay_minus_one_a_step_to_a_goal_that_ends_them() -> None:
    ends = {"umaze": ((3, 1), (1, 1)), "medium": ((1, 1), (6, 6)), "large": ((1, 1), (7, 9))}
    for task in tasks.TASKS.values():
        if not task.goal_reaching:
            assert task.rules == tasks.Rules()
            continue
        assert task.rules == tasks.Rules(goal="concat", cut_at_goal=True, reward="minus_one")
        size = "umaze" if task.name == "pointmaze-demo" else task.name.split("-")[1]
        assert (task.start, task.goal) == ends[size]


def test_a_single_task_of_ogbench_is_scored_by_its_success() -> None:
    task = tasks.find("humanoidmaze-giant-stitch-singletask-task4-v0")
    assert (task.family, task.environment) == ("ogbench", "humanoidmaze-giant-singletask-task4-v0")
    assert task.datasets == (("humanoidmaze-giant-stitch-v0",),)
    assert (task.evaluation_episodes, task.max_episode_steps, task.discount) == (50, 4000, 0.995)
    assert task.score([0.0, 0.25, 1.0]).tolist() == [0.0, 25.0, 100.0]
    # The goal is fixed and outside the state; FQL's authors discount by 0.995 on long ways alone.
    assert task.rules == tasks.Rules(goal="relabel")
    assert tasks.find("cube-single-play-singletask-v0").discount == 0.99


def test_point_mazes_have_the_limits_that_gymnasium_registers() -> None:
    for size, limit in (("umaze", 300), ("medium", 600), ("large", 800)):
        assert tasks.find(f"pointmaze-{size}").max_episode_steps == limit


@pytest.mark.parametrize(("steps", "episodes"), [(1, 10), (999, 10), (1000, 100), (1_000_000, 100)])
def test_a_try_has_few_episodes(steps: int, episodes: int) -> None:
    assert tasks.find("antmaze-umaze").episodes(steps) == episodes
    assert replace(tasks.find("hopper-medium"), evaluation_episodes=4).episodes(steps) == 4
