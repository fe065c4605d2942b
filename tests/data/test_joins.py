"""Joins of datasets: what fits becomes one table, what does not is refused with the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pytest
import sets

from gtp_fast.data import TransitionTable, flat, load_table
from gtp_fast.data.recording import concatenate
from gtp_fast.errors import UserError
from gtp_fast.tasks import of_dataset

KEYS = ("achieved_goal", "desired_goal", "observation")
WIDTHS = (2, 2, 27)
STATE = [f"{key} [{width}]" for key, width in zip(KEYS, WIDTHS, strict=True)]


def spec_of(name: str, **changes: Any) -> str:
    return json.dumps(json.loads(gym.spec(name).to_json()) | changes)


def joined(root: Path, monkeypatch: pytest.MonkeyPatch, **changed: Any) -> TransitionTable:
    """Return the join of two sets of one content; the second has other metadata."""
    for name, changes in (("a-v0", {}), ("b-v0", changed)):
        folder = sets.save(root, monkeypatch, name, [sets.walk(0, 4, 4)], sets.ant_space(), 8)
        path = folder / "data/metadata.json"
        facts = json.loads(path.read_text()) | {"env_spec": spec_of("Pendulum-v1")} | changes
        path.write_text(json.dumps(facts))
    return load_table(of_dataset("", "x"), "a-v0+b-v0", use_cache=False)


def test_sets_of_one_environment_are_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = joined(tmp_path, monkeypatch)
    assert len(found) == 8
    assert (found.observation_keys, found.observation_widths) == (KEYS, WIDTHS)
    assert not any("comes from" in note for note in found.notes)


def test_a_join_keeps_episodes_apart_and_what_all_parts_have() -> None:
    one = flat.transitions("a", sets.flat())
    one.official, one.achieved = True, np.zeros((len(one.rows), 2))
    # The ends of its actions are the same numbers in float32.
    rounded = {"action_high": one.action_high * (1 + 1e-9)}
    for changes in ({}, {"official": False}, {"achieved": None}, rounded):
        found = concatenate([one, replace(one, **changes), one])
        assert np.unique(found.episode).tolist() == list(range(9))
        assert (np.diff(found.episode) >= 0).all()
        assert found.official == ("official" not in changes)
        assert (found.achieved is None) == ("achieved" in changes)


@pytest.mark.parametrize(
    ("change", "b"),
    [
        ({"id": "Pendulum-v2"}, "Pendulum-v2 of 200 steps"),
        ({"max_episode_steps": 500}, "Pendulum-v1 of 500 steps"),
        ({"max_episode_steps": None}, "Pendulum-v1"),
    ],
)
def test_other_versions_and_time_limits_are_joined_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], b: str
) -> None:
    found = joined(tmp_path, monkeypatch, env_spec=spec_of("Pendulum-v1", **change))
    assert len(found) == 8 and found.environment == spec_of("Pendulum-v1")
    origins = f"a-v0 comes from Pendulum-v1 of 200 steps and b-v0 from {b}"
    assert found.notes[-1] == f"{origins}: the first one is kept for both"


@pytest.mark.parametrize("unknown", [None, "[]", "no JSON", json.dumps({"kwargs": {}})])
def test_a_set_that_names_no_environment_is_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unknown: str | None
) -> None:
    found = joined(tmp_path, monkeypatch, env_spec=unknown)
    assert len(found) == 8 and not any("comes from" in note for note in found.notes)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_set_without_a_step_is_named(order: str) -> None:
    whole = flat.transitions("a", sets.flat())
    none = replace(
        whole, name="b", rows=whole.rows[:0], rewards=whole.rewards[:0], episode=whole.episode[:0]
    )
    parts = {"a": whole, "b": none}
    with pytest.raises(UserError, match="b holds no transition"):
        concatenate([parts[name] for name in order])


def permuted() -> str:
    space = json.loads(minari.serialization.serialize_space(sets.ant_space()))
    space["subspaces"] = {key: space["subspaces"][key] for key in reversed(KEYS)}
    return json.dumps(space)


@pytest.mark.parametrize(
    ("changed", "how"),
    [
        (
            {"env_spec": spec_of("MountainCarContinuous-v0")},
            "they come from Pendulum-v1 and MountainCarContinuous-v0",
        ),
        (
            {"observation_space": permuted()},
            f"their states hold {', '.join(STATE)} and {', '.join(STATE[::-1])}, in these orders",
        ),
        (
            {"action_space": minari.serialization.serialize_space(gym.spaces.Box(-2, 2, (8,)))},
            "their action boxes differ, action 0 lies in [-1, 1] and [-2, 2]",
        ),
    ],
)
def test_sets_that_do_not_fit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], how: str
) -> None:
    with pytest.raises(UserError) as caught:
        joined(tmp_path, monkeypatch, **changed)
    expected = f"b-v0 cannot be joined to a-v0: {how}; choose one with --dataset"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("states", "actions", "how"),
    [
        (2, 2, "their states have 3 and 2 numbers"),
        # Rows of the same length.
        (2, 4, "their states have 3 and 2 numbers"),
        (3, 4, "their actions have 2 and 4 numbers"),
    ],
)
def test_widths_that_differ_are_refused(states: int, actions: int, how: str) -> None:
    plain = sets.flat()
    other = plain | {
        "observations": plain["observations"][:, :states],
        "actions": np.zeros((12, actions), np.float32),
    }
    parts = [flat.transitions("a", plain), flat.transitions("b", other)]
    with pytest.raises(UserError, match=f"b cannot be joined to a: {how}"):
        concatenate(parts)
