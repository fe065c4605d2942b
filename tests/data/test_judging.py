"""An environment that is named is played as the task has it, or the task's references go."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from gtp_fast.data import evaluation_spec
from gtp_fast.data.environment import register_mazes, registered
from gtp_fast.data.judging import as_judged, judged_in, kind
from gtp_fast.tasks import Task, find

DEMO = find("pointmaze-demo")


@pytest.fixture
def mazes() -> None:
    """Make Gymnasium-Robotics' mazes known, and one of a map of one's own."""
    pytest.importorskip("gymnasium_robotics")
    pytest.importorskip("mujoco")
    register_mazes()
    entry = gym.spec("PointMaze_UMaze-v3").entry_point
    wide = [[1] * 6, [1, "r", 0, 0, "g", 1], [1] * 6]
    if "PointMaze_UMaze_Own-v0" not in gym.registry:
        gym.register("PointMaze_UMaze_Own-v0", entry_point=entry, kwargs={"maze_map": wide})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Hopper-v4", "Hopper-v5", True),
        ("Hopper-variant-v0", "Hopper-v5", False),
        ("PointMaze_UMaze_Diverse_G-v3", "PointMaze_UMazeDense-v3", True),
        ("AntMaze_Large_Diverse_GR-v4", "AntMaze_Medium_Diverse_GR-v4", False),
        ("my/Hopper-v5", "Hopper-v5", False),
    ],
)
def test_the_version_alone_is_cut_off(one: str, other: str, same: bool) -> None:
    assert (kind(one) == kind(other)) is same


def test_a_variant_or_dense_rewards_have_no_references() -> None:
    hopper = find("hopper-medium")
    assert judged_in(hopper, "Hopper-v4") == hopper
    # Its references are of returns, however it is played.
    assert judged_in(hopper, "Hopper-v5", EnvSpec("Hopper-v5", entry_point="mine:Own")) == hopper
    for name in ("Hopper-variant-v0", "HopperDense-v5", "Walker2d-v5"):
        assert judged_in(hopper, name).reference is None
        assert name in judged_in(hopper, name).reference_source
    assert judged_in(find("antmaze-large-diverse"), "AntMaze_Large_Diverse_GRDense-v4") != find(
        "antmaze-large-diverse"
    )


def plays(task: Task, name: str, **changes: Any) -> EnvSpec:
    spec = registered(name)
    spec.kwargs.update(changes)
    return as_judged(task, spec)


@pytest.mark.usefixtures("mazes")
@pytest.mark.parametrize("name", ["PointMaze_UMaze-v3", "PointMaze_UMaze_Own-v0"])
def test_a_maze_of_the_tasks_kind_ends_at_the_goal(name: str) -> None:
    spec = plays(DEMO, name)
    kwargs = {key: spec.kwargs[key] for key in ("continuing_task", "reset_target", "reward_type")}
    assert kwargs == {"continuing_task": False, "reset_target": False, "reward_type": "sparse"}
    assert spec.max_episode_steps == DEMO.max_episode_steps
    assert spec.kwargs["maze_map"] == registered(name).kwargs["maze_map"]
    assert judged_in(DEMO, spec.id, spec) == DEMO
    environment = gym.make(spec)
    observation, _ = environment.reset(seed=0)
    state: Any = environment.unwrapped
    state.point_env.set_state(observation["desired_goal"], np.zeros(2))
    _, reward, terminated, _, info = environment.step(np.zeros(2, np.float32))
    assert (reward, terminated, info["success"]) == (1.0, True, True)
    environment.close()


@pytest.mark.usefixtures("mazes")
def test_dense_rewards_stay_and_are_no_success() -> None:
    spec = plays(DEMO, "PointMaze_UMazeDense-v3")
    assert spec == registered("PointMaze_UMazeDense-v3")
    assert judged_in(DEMO, spec.id, spec).reference is None


@pytest.mark.usefixtures("mazes")
def test_another_maze_is_played_as_it_is_registered() -> None:
    spec = plays(DEMO, "PointMaze_Medium-v3")
    assert spec == registered("PointMaze_Medium-v3")
    assert judged_in(DEMO, spec.id, spec).reference is None


@pytest.mark.usefixtures("mazes")
def test_a_maze_that_goes_on_at_the_goal_has_no_references() -> None:
    spec = registered("PointMaze_UMaze-v3")
    without = judged_in(DEMO, spec.id, spec)
    assert without.reference is None and "as it is played here" in without.reference_source
    live = gym.make("PointMaze_UMaze-v3", continuing_task=False)
    assert judged_in(DEMO, "PointMaze_UMaze-v3", live.spec) == DEMO
    live.close()
    # Nor a maze that pays for the distance.
    spec.kwargs.update(continuing_task=False, reward_type="dense")
    assert judged_in(DEMO, spec.id, spec).reference is None


def test_a_maze_of_ones_own_is_left_alone_and_has_no_references() -> None:
    own = EnvSpec("PointMaze_UMaze_Mine-v0", entry_point="mine:Maze")
    assert as_judged(DEMO, own) == own
    assert judged_in(DEMO, own.id, own).reference is None


def test_a_single_task_of_ogbench_counts_its_successes() -> None:
    task = find("pointmaze-medium-navigate-singletask-v0")
    assert task.environment is not None
    plain = EnvSpec(task.environment, entry_point="ogbench:Maze")
    assert judged_in(task, plain.id, plain).reference is None
    played = as_judged(task, plain)
    assert [wrapper.name for wrapper in played.additional_wrappers] == ["SingleTask"]
    assert judged_in(task, played.id, played) == task
    other = EnvSpec("pointmaze-medium-singletask-task2-v0", entry_point="ogbench:Maze")
    assert as_judged(task, other) == other
    assert judged_in(task, other.id, other).reference is None


@pytest.mark.usefixtures("mazes")
def test_the_option_is_read_so() -> None:
    class Table:
        task = DEMO.name

    spec = evaluation_spec(Table(), environment="PointMaze_UMaze-v3")  # type: ignore[arg-type]
    assert spec == plays(DEMO, "PointMaze_UMaze-v3")
