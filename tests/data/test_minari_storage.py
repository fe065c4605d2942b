"""Minari sets of any age, in any storage: their files, their metadata, their episodes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari as library
import minari_sets
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict
from minari_sets import SPACE, TAKEN, change_facts, open_file, same, save

from gtp_fast.data import minari
from gtp_fast.errors import UserError


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
    monkeypatch.setattr(minari_sets, "observations", lambda *_: dict.fromkeys(space.spaces, goal))
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
