"""Rules of the data that are asked for come to act, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import sets
from minari.data_collector import EpisodeBuffer

from gtp_fast.data import load_table
from gtp_fast.errors import UserError
from gtp_fast.tasks import Rules, find, of_dataset


@pytest.fixture
def ant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    episodes = [sets.walk(0, 6, 4), sets.walk(1, 5, None)]
    return str(sets.save(tmp_path, monkeypatch, "ant-v0", episodes, sets.ant_space(), 8))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cut_at_goal": True}, "--cut-at-goal .* needs --goal concat or relabel"),
        ({"success_radius": 0.45}, "--success-radius .* needs --goal concat or relabel"),
        ({"evaluation_goal": (1.0, 2.0)}, "--evaluation-goal .* needs --goal relabel"),
    ],
)
def test_goals_of_data_without_a_goal_rule_are_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_table(of_dataset("", "x"), sets.flat(), asked, use_cache=False)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"goal": "concat", "evaluation_goal": (1.0, 2.0)}, "--evaluation-goal .* --goal relabel"),
        ({"terminals": "trajectory_end"}, "--terminals .* needs a flat file"),
    ],
)
def test_rules_that_a_minari_set_does_not_follow_are_refused(
    ant: str, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        load_table(of_dataset("", "x"), ant, asked, use_cache=False)


def test_one_goal_for_all_needs_a_task_that_hides_it_and_is_judged_at_it(ant: str) -> None:
    one = {"goal": "relabel", "evaluation_goal": (5.0, 5.2)}
    hidden = load_table(find("antmaze-umaze"), ant, one, use_cache=False)
    assert hidden.observation_keys == ("achieved_goal", "observation")
    with pytest.raises(UserError, match="ant-v0: --goal relabel needs --task with a maze"):
        load_table(of_dataset("", "x"), ant, one, use_cache=False)


@pytest.mark.parametrize("keys", [(), ("state",), ("state", "achieved_goal"), "wide"], ids=str)
@pytest.mark.parametrize("task", ["hopper-medium", ""])
def test_a_goal_rule_is_no_damage_of_data_without_goals(
    task: str, keys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A goal in space, as of Fetch, is none of a maze.
    names = ("achieved_goal", "desired_goal") if keys == "wide" else keys
    one = gym.spaces.Box(-1.0, 1.0, (3 if keys == "wide" else 2,), np.float64)
    space = gym.spaces.Dict(dict.fromkeys(names, one)) if names else one
    seen = dict.fromkeys(names, np.zeros((4, *one.shape))) if names else np.zeros((4, 2))
    ends = np.zeros(3, np.bool_)
    episode = EpisodeBuffer(
        id=0, observations=seen, actions=np.zeros((3, 2), np.float32), rewards=np.ones(3),
        terminations=ends, truncations=ends, infos={},
    )  # fmt: skip
    at = str(sets.save(tmp_path, monkeypatch, "plain-v0", [episode], space, 2))
    with pytest.raises(UserError) as caught:
        load_table(of_dataset(task, at), at, {"goal": "concat"}, use_cache=False)
    said = str(caught.value)
    assert "damaged" not in said and "remove" not in said
    if not (task and names):
        assert said.startswith("plain-v0 has no achieved_goal and desired_goal of two numbers")


def test_a_flat_file_of_a_maze_has_no_radius_and_can_be_cut() -> None:
    arrays = sets.flat()
    with pytest.raises(UserError, match="--success-radius"):
        load_table(find("antmaze-umaze"), arrays, {"success_radius": 0.5}, use_cache=False)
    # Each episode ends at its first reward: rows 0 and 1, row 4, row 8.
    cut = load_table(find("antmaze-umaze"), arrays, {"cut_at_goal": True}, use_cache=False)
    assert len(cut) == 4 and cut.statistics.terminals == 3


def test_what_changes_nothing_by_its_own_value_is_no_fault() -> None:
    asked = {"cut_at_goal": False, "terminals": "auto", "goal": "none", "evaluation_goal": None}
    assert len(load_table(of_dataset("", "x"), sets.flat(), asked, use_cache=False)) == 10


def test_a_run_with_such_a_rule_from_earlier_goes_on() -> None:
    whole = Rules(cut_at_goal=True, success_radius=1.0)
    assert len(load_table(of_dataset("", "x"), sets.flat(), whole, use_cache=False)) == 10
