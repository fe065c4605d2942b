"""Evaluation environments out of a dataset's own specification."""

from __future__ import annotations

import copy
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from gtp_fast.data import (
    Provenance,
    Statistics,
    TransitionTable,
    evaluation_spec,
    fits_environment,
    maze,
)
from gtp_fast.data.environment import register_mazes
from gtp_fast.errors import UserError
from gtp_fast.evaluation.vector import make
from gtp_fast.tasks import Rules, find

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("mujoco")
register_mazes()

UMAZE = [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]]
MARKED = [[1, 1, 1, 1, 1], [1, "g", 0, 0, 1], [1, 1, 1, 0, 1], [1, "r", 0, 0, 1], [1, 1, 1, 1, 1]]


def spec_json(name: str, **changes: Any) -> str:
    spec = copy.deepcopy(gym.spec(name))
    spec.kwargs.update(changes)
    return spec.to_json()


def table(
    task: str, collected: str | None, stored: str | None, width: int = 6, **more: Any
) -> TransitionTable:
    found = find(task)
    actions = 2 if found.family == "pointmaze" else 8
    return TransitionTable(
        rows=torch.zeros(1, 2 * width + actions + 2),
        episode=torch.zeros(1, dtype=torch.int32),
        observation_dim=width,
        action_dim=actions,
        observation_keys=found.observation_keys,
        action_low=(-1.0,) * actions,
        action_high=(1.0,) * actions,
        task=task,
        rules=more.pop("rules", found.rules),
        statistics=Statistics(1, 1, 0, 0.0, 1.0, None),
        provenance=Provenance("some/data-v0", False, ""),
        environment=collected,
        evaluation_environment=stored,
        **more,
    )


def point(**changes: Any) -> TransitionTable:
    collected = spec_json("PointMaze_UMaze-v3", maze_map=UMAZE, continuing_task=True, **changes)
    return table("pointmaze-umaze", collected, spec_json("PointMaze_UMaze-v3", maze_map=MARKED))


def test_mazes_end_at_a_goal_that_stays() -> None:
    spec = evaluation_spec(point(reset_target=True))
    assert spec is not None
    assert spec.kwargs["continuing_task"] is False
    assert spec.kwargs["reset_target"] is False
    assert spec.kwargs["maze_map"] == MARKED
    assert spec.max_episode_steps == find("pointmaze-umaze").max_episode_steps


def test_a_mirrored_evaluation_map_is_turned_back() -> None:
    for turned in ([row[::-1] for row in MARKED], [row[::-1] for row in MARKED[::-1]]):
        stored = spec_json("AntMaze_UMaze-v4", maze_map=turned)
        collected = spec_json("AntMaze_UMaze-v4", maze_map=UMAZE)
        spec = evaluation_spec(table("antmaze-umaze-diverse", collected, stored, 31))
        assert spec is not None
        chosen = spec.kwargs["maze_map"]
        assert maze.walls(chosen) == maze.walls(UMAZE)
        ends = {maze.only(chosen, "r"), maze.only(chosen, "g")}
        # One end of the U each; upside down they change places, and the walls leave no other way.
        assert ends == {(1, 1), (3, 1)}


def test_every_mirror_image_of_an_evaluation_map_is_turned_back() -> None:
    marked: maze.MazeMap = [[1, 1, 1, 1], [1, 0, "r", 1], [1, "g", 1, 1], [1, 1, 1, 1]]
    for turned in (marked, marked[::-1]):
        for stored in (turned, [row[::-1] for row in turned]):
            assert maze.evaluation_map(maze.bare(marked), stored, (0, 0), (0, 0)) == marked
    several = [["r" if cell == 0 else cell for cell in row] for row in marked]
    assert maze.only(marked, "r") == (1, 2) and maze.only(several, "r") is None


def test_marks_of_the_collection_map_come_first() -> None:
    other = [row.copy() for row in UMAZE]
    other[1][3], other[3][2] = "r", "g"  # type: ignore[call-overload]
    collected = spec_json("AntMaze_UMaze-v4", maze_map=other)
    stored = spec_json("AntMaze_UMaze-v4", maze_map=MARKED)
    spec = evaluation_spec(table("antmaze-umaze", collected, stored, 31))
    assert spec is not None
    assert spec.kwargs["maze_map"] == other


def test_a_maze_of_another_shape_is_refused() -> None:
    walled = [[1] * 5 for _ in range(5)]
    collected = spec_json("AntMaze_UMaze-v4", maze_map=walled)
    with pytest.raises(UserError, match="wall where antmaze-umaze starts or ends"):
        evaluation_spec(table("antmaze-umaze", collected, collected, 31))


def test_cell_centres_are_the_mazes_own() -> None:
    environment = make(evaluation_spec(point()))
    inner = environment.unwrapped.maze  # type: ignore[attr-defined]
    for cell in ((1, 1), (3, 2), (2, 3)):
        assert maze.centre(UMAZE, cell, 1.0) == pytest.approx(
            inner.cell_rowcol_to_xy(np.array(cell))
        )
    environment.close()


def test_columns_go_right_and_rows_down_from_the_middle_of_a_maze() -> None:
    wide: maze.MazeMap = [[0] * 4 for _ in range(2)]
    assert maze.centre(wide, (0, 3), 2.0) == (3.0, 1.0)
    assert maze.centre(wide, (1, 0), 2.0) == (-3.0, -1.0)


def test_an_episode_starts_and_ends_where_it_should() -> None:
    spec = evaluation_spec(point())
    assert spec is not None
    environment = make(spec)
    fits_environment(point(), environment)
    for seed in range(5):
        observation, _ = environment.reset(seed=seed)
        # Maze noise is a quarter of a cell.
        assert np.abs(observation["achieved_goal"] - maze.centre(UMAZE, (3, 1), 1.0)).max() <= 0.25
        assert np.abs(observation["desired_goal"] - maze.centre(UMAZE, (1, 1), 1.0)).max() <= 0.25
    state = environment.unwrapped
    state.point_env.set_state(observation["desired_goal"], np.zeros(2))  # type: ignore[attr-defined]
    _, reward, terminated, _, info = environment.step(np.zeros(2, np.float32))
    assert (reward, terminated, info["success"]) == (1.0, True, True)
    environment.close()


def test_relabelled_data_are_evaluated_at_their_one_goal() -> None:
    made = replace(
        point(), rules=Rules(goal="relabel", cut_at_goal=True), observation_keys=("observation",)
    )
    spec = evaluation_spec(made)
    assert spec is not None
    environment = make(gym.envs.registration.EnvSpec.from_json(spec.to_json()))
    for seed in range(3):
        observation, _ = environment.reset(seed=seed)
        assert observation["desired_goal"] == pytest.approx(maze.centre(UMAZE, (1, 1), 1.0))
        after, *_ = environment.step(np.zeros(2, np.float32))
        assert after["desired_goal"] == pytest.approx(maze.centre(UMAZE, (1, 1), 1.0))
    environment.close()


def test_no_model_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = make(evaluation_spec(point()))
    environment.reset(seed=0)
    environment.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("field", ["entry_point", "additional_wrappers"])
def test_code_from_elsewhere_needs_trust(field: str) -> None:
    facts = json.loads(spec_json("PointMaze_UMaze-v3", maze_map=UMAZE))
    foreign = "gymnasium_evil.module:Env"
    wrapper = {"name": "W", "entry_point": foreign, "kwargs": {}}
    facts[field] = [wrapper] if field == "additional_wrappers" else foreign
    made = table("pointmaze-umaze", json.dumps(facts), json.dumps(facts))
    with pytest.raises(UserError, match="--trust-environment"):
        evaluation_spec(made)
    assert evaluation_spec(made, trust_environment=True) is not None


@pytest.mark.parametrize(
    ("task", "stored", "fits"),
    [
        ("pointmaze-umaze", "PointMaze_UMaze_Diverse_G-v3", True),
        ("pointmaze-umaze", "PointMaze_UMazeDense-v3", True),
        ("pointmaze-umaze", "PointMaze_Medium-v3", False),
        ("antmaze-umaze", "PointMaze_UMaze-v3", False),
        ("hopper-medium", "Hopper-v4", True),
        ("hopper-medium", "Walker2d-v5", False),
    ],
)
def test_data_of_another_environment_than_the_tasks_are_refused(
    task: str, stored: str, fits: bool
) -> None:
    facts = spec_json("PointMaze_UMaze-v3", maze_map=MARKED)
    if find(task).family == "locomotion":
        facts = spec_json("Hopper-v5")
    facts = json.dumps(json.loads(facts) | {"id": stored})
    made = table(task, facts, facts)
    if fits:
        assert evaluation_spec(made) is not None
        return
    own = find(task).environment
    with pytest.raises(UserError, match=f"collected in {stored} and {task} is played in {own}"):
        evaluation_spec(made)


def test_files_without_an_environment() -> None:
    hopper = replace(
        table("pointmaze-umaze", None, None),
        task="hopper-medium",
        observation_keys=(),
        rules=Rules(),
    )
    spec = evaluation_spec(hopper)
    assert spec is not None
    assert spec.id == "Hopper-v5"
    assert evaluation_spec(table("antmaze-umaze", None, None, 31)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation_dim": 105}, "105 numbers, the environment's 6"),
        ({"observation_keys": ("observation", "gyroscope")}, "no observation gyroscope"),
        (
            {"observation_widths": (2, 4)},
            r"hold observation \[2\], desired_goal \[4\], the environment's"
            r" observation \[4\], desired_goal \[2\]; use the environment",
        ),
        ({"observation_keys": ()}, "rows of 6 numbers, the environment observes Dict.*FlattenObs"),
        ({"action_dim": 3}, "actions are 3 real numbers"),
        (
            {"action_high": (1.0, 2.0)},
            r"action boxes differ, action 1 lies in \[-1, 2\] in the data and in \[-1, 1\] in the",
        ),
    ],
)
def test_data_that_do_not_fit_the_environment(change: dict[str, Any], message: str) -> None:
    environment = make(evaluation_spec(point()))
    fits_environment(point(), environment)
    with pytest.raises(UserError, match=message) as caught:
        fits_environment(replace(point(), **change), environment)
    assert "some/data-v0" in str(caught.value)
    assert "PointMaze_UMaze-v3" in str(caught.value)
    environment.close()
