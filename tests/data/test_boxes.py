"""The action box: the data's own, an option's, the environment's or the one that a run had."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sets

from gtp_fast.data import load_table
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
