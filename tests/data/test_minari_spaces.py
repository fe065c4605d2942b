"""Spaces of Minari sets: any keys, and sets that state none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari as library
import pytest
from gymnasium.spaces import Dict, Discrete
from minari_sets import SPACE, TAKEN, change_facts, open_file, same, save

from gtp_fast.data import minari, rules
from gtp_fast.errors import UserError
from gtp_fast.tasks import Rules


def test_all_vectors_of_a_dict_are_taken_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = minari.read(save(tmp_path, monkeypatch, SPACE), None)
    assert found.observation_keys == TAKEN, "gymnasium sorts the keys of a Dict"
    assert found.rows[4, : found.observation_dim].tolist() == [11, 10.75, 10.5, 1, 11, 11.5]
    assert found.rows[4, found.columns.next_observation].tolist() == [12, 11.75, 11.5, 2, 12, 12.5]
    taken, left = found.notes
    assert f"the state is {', '.join(TAKEN)}" in taken
    assert "arm/mode (a Discrete space), camera (an image of shape (8, 8, 3))" in left
    assert found.environment is None
    assert rules.apply(found, Rules(), None, False)[2].episodes == 3
    named = minari.read(tmp_path / "user/set-v0", ("velocity", "arm/joint"))
    assert named.rows[0, :5].tolist() == [0, 0.5, 0, -0.25, -0.5] and named.notes == []


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Dict({"camera": SPACE["camera"]}), r"none of its observations is a vector: camera"),
        (SPACE["camera"], r"its observations are an image of shape \(8, 8, 3\)"),
        (Discrete(3), r"its observations are a Discrete space"),
    ],
)
def test_states_without_a_vector_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: gym.Space[Any], message: str
) -> None:
    folder = save(tmp_path, monkeypatch)
    change_facts(folder, observation_space=library.serialization.serialize_space(space))
    with pytest.raises(UserError, match=message):
        minari.read(folder, None)


def test_discrete_actions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(tmp_path, monkeypatch)
    change_facts(folder, action_space=library.serialization.serialize_space(Discrete(4)))
    with pytest.raises(UserError, match=r"a Discrete space as actions.*continuous actions"):
        minari.read(folder, None)


def test_spaces_left_to_the_environment_are_its_spaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, monkeypatch)
    with open_file(folder) as file:
        for group in file.values():
            actions = group["actions"][()]
            del group["actions"]
            group["actions"] = actions[:, :1]
    spec = gym.spec("Pendulum-v1").to_json()
    change_facts(folder, "observation_space", "action_space", env_spec=spec)
    found = minari.read(folder, None)
    assert (found.action_low.tolist(), found.action_high.tolist()) == ([-2.0], [2.0])
    assert (found.observation_dim, found.environment) == (3, spec)
    foreign = json.dumps(json.loads(spec) | {"entry_point": "evil.code:Env"})
    change_facts(folder, env_spec=foreign)
    with pytest.raises(UserError, match=r"states no spaces.*evil\.code.*--env"):
        minari.read(folder, None)
    change_facts(folder, "env_spec")
    with pytest.raises(UserError, match=r"no environment either.*--env"):
        minari.read(folder, None)
    with_box = minari.read(folder, None, box=([-3.0], [3.0]))
    assert with_box.action_high.tolist() == [3.0] and with_box.observation_dim == 3


def test_an_absent_observation_space_follows_from_the_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, monkeypatch, SPACE)
    expected = minari.read(folder, ("arm/joint", "count", "velocity"))
    change_facts(folder, "observation_space")
    found = minari.read(folder, None)
    assert found.observation_keys == TAKEN and same(found, expected)
    assert "camera (an image of shape (8, 8, 3))" in found.notes[1]
    assert any("follows from its arrays" in note for note in found.notes)
