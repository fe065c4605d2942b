"""Minari sets as users bring them: any keys, any age, any storage, with or without spaces."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari as library
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from minari.data_collector import EpisodeBuffer

from gtp_fast.data import minari, rules
from gtp_fast.data.recording import Recording
from gtp_fast.errors import UserError
from gtp_fast.tasks import Rules

ACTIONS = Box(-1.0, 1.0, (2,), np.float32)
SPACE = Dict(
    {
        "velocity": Box(-np.inf, np.inf, (2,), np.float32),
        "camera": Box(0, 255, (8, 8, 3), np.uint8),
        "arm": Dict({"joint": Box(-np.inf, np.inf, (3,), np.float64), "mode": Discrete(3)}),
        "count": Box(0, 9, (1,), np.int64),
    }
)
TAKEN = ("arm/joint", "count", "velocity")
FLAT = Box(-np.inf, np.inf, (3,), np.float64)


def observations(number: int, steps: int) -> dict[str, Any]:
    time = 10.0 * number + np.arange(steps + 1)[:, None]
    return {
        "velocity": (time + np.array([0.0, 0.5])).astype(np.float32),
        "camera": np.zeros((steps + 1, 8, 8, 3), np.uint8),
        "arm": {"joint": time - np.array([0.0, 0.25, 0.5]), "mode": np.zeros(steps + 1, np.int64)},
        "count": np.arange(steps + 1)[:, None] % 10,
    }


def episode(number: int, steps: int, space: gym.Space[Any] = FLAT) -> EpisodeBuffer:
    seen = observations(number, steps)
    return EpisodeBuffer(
        id=number,
        observations=seen if space != FLAT else seen["arm"]["joint"],
        actions=np.full((steps, 2), 0.1 * number, np.float32),
        rewards=number + np.arange(steps, dtype=np.float64),
        terminations=np.arange(steps) == steps - 1,
        truncations=np.zeros(steps, bool),
        infos={},
    )


def save(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    space: gym.Space[Any] = FLAT,
    steps: tuple[int, ...] = (3, 4, 2),
    **more: Any,
) -> Path:
    """Write the set user/set-v0 with the real library; returns its folder."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    buffers = [episode(number, length, space) for number, length in enumerate(steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.create_dataset_from_buffers(
            "user/set-v0", buffers, observation_space=space,
            **({"action_space": ACTIONS} | more),
        )  # fmt: skip
    return root / "user/set-v0"


def open_file(folder: Path) -> h5py.File:
    return h5py.File(folder / "data/main_data.hdf5", "a")


def change_facts(folder: Path, *dropped: str, **changed: Any) -> dict[str, Any]:
    """Rewrite the metadata; returns what they were."""
    path = folder / "data/metadata.json"
    facts: dict[str, Any] = json.loads(path.read_text())
    kept = {key: value for key, value in facts.items() if key not in dropped}
    path.write_text(json.dumps(kept | changed))
    return facts


def same(found: Recording, other: Recording) -> bool:
    keys = ("rows", "rewards", "terminals", "action_low", "action_high")
    return all(np.array_equal(getattr(found, key), getattr(other, key)) for key in keys)


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


def test_gaps_in_the_numbering_are_read_in_numeric_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, monkeypatch, steps=(1,) * 12)
    with open_file(folder) as file:
        for number in (0, 1, 3, 4, 5, 6, 7, 8, 9):
            del file[f"episode_{number}"]
    with pytest.raises(UserError, match="promises 12 steps but the file holds 3"):
        minari.read(folder, None)
    change_facts(folder, total_steps=3)
    found = minari.read(folder, None)
    assert found.rows[:, 0].tolist() == [20, 100, 110]
    assert found.episode.tolist() == [2, 10, 11]
    assert "episode 10, row 1" in found.place(1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_numbers_serve_as_terminations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: type
) -> None:
    folder = save(tmp_path, monkeypatch)
    expected = minari.read(folder, None)
    with open_file(folder) as file:
        for group in file.values():
            flags = group["terminations"][()].astype(dtype)
            rewards = group["rewards"][()][:, None]
            half = group["observations"][()].astype(np.float16)
            for key, values in (
                ("terminations", flags[:, None]), ("rewards", rewards), ("observations", half),
            ):  # fmt: skip
                del group[key]
                group[key] = values
    found = minari.read(folder, None)
    assert found.terminals.sum() == 3 and same(found, expected)


@pytest.mark.parametrize(
    ("flags", "what"), [(np.array([0, 0, 0, np.nan]), "NaN"), (np.array([b"no"] * 4), r"\|S2")]
)
def test_terminations_that_say_nothing_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: Any, what: str
) -> None:
    folder = save(tmp_path, monkeypatch)
    with open_file(folder) as file:
        del file["episode_1/terminations"]
        file["episode_1/terminations"] = flags
    with pytest.raises(UserError, match=f"set-v0, episode 1: terminations holds {what}"):
        minari.read(folder, None)


def test_sets_from_before_minari_0_5_keep_their_metadata_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, monkeypatch)
    expected = minari.read(folder, None)
    spec = json.loads(gym.spec("Pendulum-v1").to_json())
    old = spec | {"apply_api_compatibility": False, "autoreset": False}
    facts = change_facts(folder, env_spec=json.dumps(old))
    (folder / "data/metadata.json").unlink()
    with open_file(folder) as file:
        file.attrs.update({k: v for k, v in facts.items() if isinstance(v, str | int)})
        file.attrs["env_spec"] = json.dumps(old)
    assert minari.is_dataset(folder)
    found = minari.read(folder, None)
    assert same(found, expected) and found.name == "user/set-v0"
    assert found.environment == json.dumps(spec), "gymnasium 1.0 refuses the dropped fields"
    assert found.evaluation_environment == found.environment
    with open_file(folder) as file:
        file.attrs["total_steps"] = 10
    with pytest.raises(UserError, match="promises 10 steps but the file holds 9"):
        minari.read(folder, None)


def test_metadata_that_are_no_object_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, monkeypatch)
    (folder / "data/metadata.json").write_text("[]")
    with pytest.raises(UserError, match=r"metadata of .* cannot be read .*no JSON object"):
        minari.read(folder, None)


def test_a_number_of_steps_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, monkeypatch)
    change_facts(folder, total_steps="many")
    with pytest.raises(UserError, match="the metadata promises many steps but the file holds 9"):
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


@pytest.mark.parametrize("data_format", ["arrow", "parquet"])
def test_sets_of_other_formats_are_read_with_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_format: str
) -> None:
    pytest.importorskip("pyarrow")
    expected = minari.read(save(tmp_path / "a", monkeypatch, SPACE), None)
    folder = save(tmp_path / "b", monkeypatch, SPACE, data_format=data_format)
    assert minari.is_dataset(folder)
    found = minari.read(folder, None)
    assert same(found, expected) and found.notes == expected.notes
    facts = change_facts(folder, total_steps=5)
    (folder / "data/1").rename(folder / "data/removed")
    assert minari.read(folder, None).episode.tolist() == [0, 0, 0, 2, 2]
    (folder / "data/removed").rename(folder / "data/1")
    change_facts(folder, total_steps=10)
    with pytest.raises(UserError, match="promises 10 steps but the file holds 9"):
        minari.read(folder, None)
    foreign = json.dumps(json.loads(gym.spec("Pendulum-v1").to_json()) | {"entry_point": "x:Env"})
    change_facts(folder, "observation_space", total_steps=9, env_spec=foreign)
    with pytest.raises(UserError, match="asks to run code from x:Env"):
        minari.read(folder, None)
    (folder / "data/metadata.json").write_text(json.dumps(facts))
    (part,) = (folder / "data/1").glob(f"*.{data_format}")
    part.write_bytes(part.read_bytes()[:50])
    with pytest.raises(UserError, match="truncated or damaged"):
        minari.read(folder, None)


def test_arrow_without_pyarrow_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    folder = save(tmp_path, monkeypatch, data_format="arrow")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "minari.dataset._storages.arrow_storage", raising=False)
    with pytest.raises(UserError, match=r"stored as arrow.*pip install pyarrow"):
        minari.read(folder, None)


@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_a_loaded_set_gives_its_selected_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_format: str
) -> None:
    if data_format == "arrow":
        pytest.importorskip("pyarrow")
    folder = save(tmp_path, monkeypatch, SPACE, data_format=data_format)
    dataset = library.load_dataset("user/set-v0")
    assert same(minari.read_object(dataset, None), minari.read(folder, None))
    filtered = dataset.filter_episodes(lambda one: one.rewards[0] != 1.0)
    found = minari.read_object(filtered, None)
    assert found.observation_keys == TAKEN
    assert found.rows[:, 0].tolist() == [0, 1, 2, 20, 21]
    assert found.episode.tolist() == [0, 0, 0, 2, 2]
    assert found.notes[-1] == "user/set-v0: 2 of its 3 episodes are selected"
    backwards = library.MinariDataset(dataset.storage, np.array([2, 0]))
    again = minari.read_object(backwards, None)
    assert again.rows[:, 0].tolist() == [20, 21, 0, 1, 2]
    assert again.episode.tolist() == [0, 0, 1, 1, 1]
    twice = minari.read_object(library.MinariDataset(dataset.storage, np.array([2, 2])), None)
    assert twice.episode.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("facts", "official"),
    [
        ({}, True),
        ({"dataset_id": "local/set-v0"}, False),
        ({"description": "Not the official data."}, False),
    ],
)
def test_data_made_locally_say_so_by_name_or_by_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: dict[str, str], official: bool
) -> None:
    folder = save(tmp_path, monkeypatch)
    change_facts(folder, **facts)
    assert minari.read(folder, None).official == official


def test_a_goal_is_the_one_in_force_however_the_set_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    box = Box(-np.inf, np.inf, (2,), np.float64)
    space = Dict({"achieved_goal": box, "desired_goal": box, "observation": box})
    goal = np.arange(8.0).reshape(4, 2)
    monkeypatch.setattr(
        sys.modules[__name__], "observations", lambda *_: dict.fromkeys(space.spaces, goal)
    )
    found = [
        minari.read(
            save(tmp_path / kind, monkeypatch, space, (3,), data_format=kind), None, positions=True
        )
        for kind in ("hdf5", "arrow")
    ]
    assert same(*found)
    assert found[1].rows[0, :6].tolist() == [0, 1, 2, 3, 0, 1]
    assert np.array_equal(found[1].desired, goal[1:])
    assert np.array_equal(found[1].achieved, goal[1:])
