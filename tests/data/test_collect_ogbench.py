"""Data of OGBench's single tasks, made here: files that it loads, and none written over."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from ogbench_arrays import POINT

from gtp_fast.collect import __main__
from gtp_fast.collect import ogbench_sets as collection
from gtp_fast.data import ogbench_files
from gtp_fast.environments import ogbench_names
from gtp_fast.errors import UserError

ogbench = pytest.importorskip("ogbench")


def made(name: str, count: int, output: Path, **more: Any) -> Path:
    path, _ = collection.collect(
        ogbench_names.find(name), count, output=output, progress=False, **more
    )
    return path


@pytest.mark.parametrize("data", ["navigate", "stitch"])
def test_collected_mazes_are_files_that_ogbench_loads(data: str, tmp_path: Path) -> None:
    name = POINT.replace("navigate", data)
    path = made(name, 450, tmp_path / "a")
    arrays = ogbench.load_dataset(str(path), add_info=True)
    assert arrays["observations"].shape == (450, 2) and arrays["terminals"][-1] == 1.0
    assert int(arrays["terminals"].sum()) == (3 if data == "stitch" else 1)
    np.testing.assert_array_equal(arrays["observations"], arrays["qpos"])
    # A step moves the point by a fifth of the action, but where a wall stops it.
    moved = arrays["next_observations"] - arrays["observations"]
    free = np.isclose(moved, 0.2 * arrays["actions"], atol=1e-3).all(1)
    assert free.mean() > 0.5
    again = ogbench.load_dataset(str(made(name, 450, tmp_path / "b")), add_info=True)
    other = ogbench.load_dataset(str(made(name, 450, tmp_path / "c", seed=1)), add_info=True)
    assert all(np.array_equal(arrays[key], again[key]) for key in arrays)
    assert not np.array_equal(arrays["actions"], other["actions"])
    assert len(ogbench.load_dataset(str(path.with_name(f"{path.stem}-val.npz")))["actions"]) == 45


def test_collected_data_say_so_and_are_never_written_over(tmp_path: Path) -> None:
    path = made(POINT, 20, tmp_path)
    told = ogbench_files.made_here(path)
    assert told is not None and told["transitions"] == 20
    assert collection.collect(ogbench_names.find(POINT), 20, output=tmp_path) == (path, True)
    with pytest.raises(UserError, match="made with other settings or by OGBench"):
        made(POINT, 21, tmp_path)
    with np.load(path) as file:
        kept = {key: file[key] for key in file if key != ogbench_files.SETTINGS_KEY}
    np.savez(path, **kept)
    assert ogbench_files.made_here(path) is None
    with pytest.raises(UserError, match="made with other settings or by OGBench"):
        made(POINT, 20, tmp_path)
    with pytest.raises(UserError, match="cannot be collected"):
        made("antmaze-large-navigate-singletask-v0", 20, tmp_path)


def test_the_second_file_of_a_set_is_never_written_over(tmp_path: Path) -> None:
    second = tmp_path / "pointmaze-medium-navigate-v0-val.npz"
    np.savez(second, observations=np.zeros((3, 2)))
    official = second.read_bytes()
    with pytest.raises(UserError, match=r"-val\.npz is there already, made with other settings"):
        made(POINT, 20, tmp_path)
    assert second.read_bytes() == official
    assert not second.with_name("pointmaze-medium-navigate-v0.npz").exists()
    # What a collection left that was killed before its main file is made again.
    second.unlink()
    path = made(POINT, 20, tmp_path)
    path.unlink()
    assert made(POINT, 20, tmp_path) == path and path.exists()


def test_the_second_of_two_collections_waits_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds what the first one made, here while it waited for the lock."""
    path = made(POINT, 20, tmp_path / "first")
    place = tmp_path / "second" / path.name

    @contextlib.contextmanager
    def waited(target: Path) -> Iterator[None]:
        assert target == place
        place.write_bytes(path.read_bytes())
        yield

    monkeypatch.setattr(collection, "alone", waited)
    monkeypatch.setattr(collection, "_write", lambda *_: pytest.fail("collected again"))
    found = collection.collect(ogbench_names.find(POINT), 20, output=tmp_path / "second")
    assert found == (place, True)


@pytest.mark.parametrize("name", ["cube-single-play-singletask-v0"])
def test_collected_arms_are_files_that_ogbench_loads(name: str, tmp_path: Path) -> None:
    path = made(name, 8, tmp_path)
    arrays = ogbench.load_dataset(str(path), add_info=True)
    env = gym.make(ogbench_names.find(name).environment)
    ogbench.relabel_utils.relabel_dataset(ogbench_names.find(name).environment, env, arrays)
    assert arrays["observations"].shape == (8, env.observation_space.shape[0])  # type: ignore[index]
    assert arrays["actions"].shape == (8, 5) and np.abs(arrays["actions"]).max() > 0.1
    assert arrays["rewards"].shape == (8,) and ("button_states" in arrays) == ("puzzle" in name)


def test_the_command_collects_a_single_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    __main__.main([POINT, "--transitions", "20", "--output", str(tmp_path)])
    told = capsys.readouterr().out
    assert f"--task {POINT} --dataset {tmp_path / 'pointmaze-medium-navigate-v0.npz'}" in told


def test_the_settings_of_a_collection_travel_with_its_file(tmp_path: Path) -> None:
    path = made(POINT, 20, tmp_path, noise=0.25)
    with np.load(path) as file:
        told = json.loads(str(file[ogbench_files.SETTINGS_KEY]))
    wanted = {
        "dataset": "pointmaze-medium-navigate-v0",
        "transitions": 20,
        "seed": 0,
        "noise": 0.25,
    }
    assert told == wanted
