"""A run that is evaluated in an environment that the user names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_runs import make_run

from gtp_fast.policy.evaluation import Options, evaluate
from gtp_fast.tasks import find


def test_a_maze_is_played_as_the_task_has_it(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium_robotics")
    pytest.importorskip("mujoco")
    task = find("pointmaze-demo")
    run = make_run(
        tmp_path / "run", task=task.name, task_facts=task.facts(), observation_dim=6,
        observation_keys=list(task.observation_keys or ()), action_low=[-1.0] * 2,
        action_high=[1.0] * 2,
    )  # fmt: skip
    words: dict[str, Any] = {"run": str(run), "episodes": 1, "processes": 0, "environments": 1}
    record, found = evaluate(Options(env="PointMaze_UMaze-v3", **words))
    assert record["reference"] == (0.0, 1.0)
    assert found.lengths.max() <= (task.max_episode_steps or 0)
    record, found = evaluate(Options(env="PointMaze_UMazeDense-v3", **words))
    assert record["reference"] is None and "Dense" in record["reference_source"]
    assert found.returns.max() > 1.0
