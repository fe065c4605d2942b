"""The action box: the data's own, an option's, the environment's or the one that a run had."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fake_environments
import gymnasium as gym
import numpy as np
import pytest
import sets

import gtp_fast
from gtp_fast.data import fits_environment, load_table
from gtp_fast.data.environment import box_of
from gtp_fast.errors import UserError
from gtp_fast.policy.restore import table_of
from gtp_fast.tasks import Rules, of_dataset

TASK = of_dataset("", "x")
KEYS = ["achieved_goal", "desired_goal", "observation"]
ASSUMED = "the action box is assumed to be [-1, 1]"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "tables"))
    return tmp_path / "tables"


@pytest.fixture
def ant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return sets.save(tmp_path, monkeypatch, "x-v0", [sets.walk(0, 4, 4)], sets.ant_space(), 8)


@pytest.fixture
def spaceless(ant: Path) -> Path:
    """A Minari set that states no spaces and no environment."""
    path = ant / "data/metadata.json"
    facts = json.loads(path.read_text())
    dropped = ("action_space", "observation_space", "env_spec")
    path.write_text(json.dumps({k: v for k, v in facts.items() if k not in dropped}))
    return ant


def ends(size: float, count: int) -> tuple[list[float], list[float]]:
    return [-size] * count, [size] * count


def config_of(dataset: Path, size: float, count: int, **more: Any) -> dict[str, Any]:
    low, high = ends(size, count)
    return {
        "task": TASK.name, "task_facts": TASK.facts(), "dataset": str(dataset),
        "rules": asdict(Rules()), "action_low": low, "action_high": high, **more,
    }  # fmt: skip


def test_a_cached_table_of_a_set_without_spaces_is_of_its_box(spaceless: Path) -> None:
    found = {size: load_table(TASK, spaceless, box=ends(size, 8)) for size in (1.0, 2.0)}
    assert [set(found[size].action_high) for size in (1.0, 2.0)] == [{1.0}, {2.0}]
    largest = [float(found[size].all().action.abs().max()) for size in (1.0, 2.0)]
    assert largest[0] == 2.0 * largest[1] > 0.0
    with pytest.raises(UserError, match="states no spaces of its own"):
        load_table(TASK, spaceless)


def test_a_set_with_spaces_has_one_cached_table(ant: Path, cache: Path) -> None:
    for box in (None, ends(1.0, 8), ends(2.0, 8)):
        assert set(load_table(TASK, ant, box=box).action_high) == {1.0}
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("size", [1.0, 2.0])
def test_a_run_on_a_set_without_spaces_finds_its_data_again(spaceless: Path, size: float) -> None:
    found = table_of(config_of(spaceless, size, 8, observation_keys=KEYS))
    assert set(found.action_high) == {size} and list(found.observation_keys) == KEYS


def test_a_state_of_other_keys_than_the_runs_is_refused(spaceless: Path) -> None:
    config = config_of(spaceless, 1.0, 8, observation_keys=KEYS[::-1])
    with pytest.raises(UserError, match="was trained on observation, desired_goal, achieved_goal"):
        table_of(config)


@pytest.mark.parametrize("size", [1.0, 2.0])
def test_a_run_on_a_flat_file_says_again_what_is_assumed(tmp_path: Path, size: float) -> None:
    np.savez(tmp_path / "x.npz", **sets.flat())
    found = table_of(config_of(tmp_path / "x.npz", size, 2))
    assert set(found.action_high) == {size} and (ASSUMED in found.notes) == (size == 1.0)


def test_a_run_reads_its_observations_standardised_as_it_was_trained(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **sets.flat())
    config = config_of(tmp_path / "x.npz", 1.0, 2)
    mean, scale = np.array([1.0, 20.0, -3.0]), np.array([2.0, 4.0, 0.5])
    standard = {"observation_mean": mean.tolist(), "observation_scale": scale.tolist()}
    raw, found = (table_of(one).all() for one in (config, config | standard))
    for name in ("observation", "next_observation"):
        wanted = (getattr(raw, name).numpy() - mean) / scale
        np.testing.assert_allclose(getattr(found, name).numpy(), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("option", "high"),
    [({"action_low": (-2.0,)}, 3.0), ({"action_low": (-2.0,), "action_high": (4.0,)}, 4.0)],
)
def test_an_end_that_was_not_given_is_the_environments_where_the_data_have_none(
    spaceless: Path, option: dict[str, Any], high: float
) -> None:
    for data, count in ((sets.flat(), 2), (spaceless, 8)):
        found = load_table(TASK, data, option, box=ends(3.0, count))
        assert (set(found.action_low), set(found.action_high)) == ({-2.0}, {high})


def test_an_end_that_was_not_given_is_the_datas_own(ant: Path) -> None:
    found = load_table(TASK, ant, {"action_low": (-2.0,)}, box=ends(3.0, 8))
    assert (set(found.action_low), set(found.action_high)) == ({-2.0}, {1.0})


class Unbounded(fake_environments.Chaos):
    """Chaos whose actions have the ends that are given."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__(flat=True)
        self.action_space = gym.spaces.Box(low, high, (2,), np.float32)


@pytest.mark.parametrize(
    ("low", "high", "fits"),
    [
        (-np.inf, np.inf, True),
        (-1.0, np.inf, True),
        (-np.inf, 1.0, True),
        (-1.0, 1.0, True),
        (-2.0, np.inf, False),
        (-np.inf, 2.0, False),
    ],
)
def test_an_environment_without_a_limit_fits_any_end(low: float, high: float, fits: bool) -> None:
    table = load_table(TASK, sets.flat(width=2))
    if fits:
        fits_environment(table, Unbounded(low, high))
        return
    with pytest.raises(UserError, match="the action boxes differ"):
        fits_environment(table, Unbounded(low, high))


def test_an_environment_of_whole_numbers_as_actions_is_refused() -> None:
    chaos = fake_environments.Chaos(flat=True)
    chaos.action_space = gym.spaces.Box(-1, 1, (2,), np.int64)
    with pytest.raises(UserError, match=r"Chaos takes .*int.*wrap it .*--env none"):
        fits_environment(load_table(TASK, sets.flat(width=2)), chaos)
    with pytest.raises(UserError, match=r"Chaos takes .*int.* real numbers in a box; wrap"):
        box_of(chaos)


def test_a_run_in_an_unbounded_environment_asks_for_the_box_and_takes_it(tmp_path: Path) -> None:
    small = {"steps": 4, "width": 8, "episodes": 1, "device": "cpu", "processes": 1}
    live = gym.wrappers.TimeLimit(Unbounded(-np.inf, np.inf), 5)
    more = {"agent": "bc", "env": live, "output": tmp_path, **small}
    for missing in ({}, {"action_low": -1.0}):
        with pytest.raises(UserError, match=r"not finite.*give --action-low and --action-high"):
            gtp_fast.fit(sets.flat(width=2), **more, **missing)
    run = gtp_fast.fit(sets.flat(width=2), **more, action_low=-1.0, action_high=1.0)
    assert run.run.config()["action_high"] == [1.0, 1.0]
    assert run.evaluate(episodes=1).returns.shape == (1, 1)
