"""Loading: real sets, flat files, broken files, missing datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest
import sets
import torch

from gtp_fast.data import load_table, locate
from gtp_fast.errors import UserError
from gtp_fast.tasks import TASKS, Rules, find, of_dataset

PLAIN = Rules(goal="concat", cut_at_goal=False, reward="none")


@pytest.mark.parametrize("name", [name for name in TASKS if name != "pointmaze-demo"])
def test_real_sets_agree_with_minaris_own_reader(
    name: str, minari_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(minari_data))
    task = TASKS[name]
    chosen = PLAIN if task.goal_reaching else Rules()
    found = load_table(name, rules_override=chosen, use_cache=False)
    batch, at = found.all(), 0
    for part in found.dataset_id.split("+"):
        for episode in minari.load_dataset(part).iterate_episodes():
            end, seen = at + len(episode.rewards), episode.observations
            if task.goal_reaching:
                seen = np.concatenate([seen[key] for key in task.observation_keys], axis=1)
            same = slice(0, found.observation_dim - 2 if task.goal_reaching else None)
            expected = torch.tensor(seen, dtype=torch.float32)
            assert torch.equal(batch.observation[at:end, same], expected[:-1, same])
            assert torch.equal(batch.next_observation[at:end], expected[1:])
            assert torch.equal(batch.action[at:end], torch.tensor(episode.actions))
            reward = torch.tensor(episode.rewards, dtype=torch.float32)
            assert torch.equal(batch.reward[at:end], reward)
            ended = torch.tensor(episode.terminations)
            assert torch.equal(batch.mask[at:end], 1.0 - ended.float())
            at = end
    assert at == len(found)


@pytest.mark.parametrize("name", [name for name in TASKS if "maze" in name and "demo" not in name])
def test_real_mazes_end_once_at_their_goal(
    name: str, minari_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(minari_data))
    found = load_table(name)
    facts, batch = found.statistics, found.all()
    assert facts.success_rate is not None
    assert 0.5 < facts.success_rate <= 1.0
    assert facts.terminals == round(facts.success_rate * facts.episodes)
    # Minus one a step, and nothing at the goal.
    assert torch.equal(batch.reward, -batch.mask)
    assert found.provenance.official is False


def test_d4rl_rules_drop_timeouts_and_the_last_row(tmp_path: Path) -> None:
    path = tmp_path / "hopper-medium-v2.hdf5"
    with h5py.File(path, "w") as file:
        for key, values in sets.flat().items():
            file[key] = values
        # D4RL's loader does not read these.
        file["next_observations"] = -sets.flat()["observations"]
    found = load_table("hopper-medium", path)
    batch = found.all()
    assert (batch.observation[:, 0] / 10).tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10]
    assert batch.mask.tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 1, 1]
    step = batch.next_observation[:, 0] - batch.observation[:, 0]
    # After the terminal row comes another episode: a stand-in, hidden by the mask.
    assert step.tolist() == [10, 10, 10, 0, 10, 10, 10, 10, 10, 10]
    assert found.statistics.episodes == 3
    # Rewards 0 to 3, 4 to 6 and 8 to 10.
    assert found.statistics.mean_return == 16.0
    scaled = load_table("hopper-medium", path, Rules(reward="iql_locomotion"))
    assert torch.equal(scaled.all().reward, batch.reward * (1000.0 / (27 - 6)))
    assert found.provenance.dataset_id == path.name


def test_next_observations_of_an_npz_keep_every_row(tmp_path: Path) -> None:
    arrays = sets.flat()
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays, next_observations=arrays["observations"] + 1)
    batch = load_table("hopper-medium", path).all()
    assert len(batch.mask) == 12
    assert torch.equal(batch.next_observation, batch.observation + 1)


def test_flat_antmaze_files_keep_their_stored_rewards(tmp_path: Path) -> None:
    arrays = sets.flat() | {"rewards": np.isin(np.arange(12), (2, 3)).astype(np.float32)}
    np.savez(tmp_path / "ant.npz", **arrays)
    found = load_table("antmaze-umaze", tmp_path / "ant.npz")
    assert found.rules.goal == "none"
    # Nor is anything cut at its goal.
    assert found.all().reward.tolist() == [-1, -1, 0, 0, -1, -1, -1, -1, -1, -1]
    assert found.all().mask.tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 1, 1]
    assert found.statistics.success_rate == pytest.approx(1 / 3)
    arrays["rewards"][:] = 0
    np.savez(tmp_path / "lost.npz", **arrays)
    with pytest.raises(UserError, match=r"lost\.npz.*no step reaches its goal"):
        load_table("antmaze-umaze", tmp_path / "lost.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": np.zeros(11)}, r"rewards has shape \(11,\).*12 rows"),
        ({"observations": np.zeros(12)}, "observations has shape"),
        ({"timeouts": None, "terminals": np.zeros(12, bool)}, "marks no end of an episode"),
        ({"actions": None}, "lacks actions"),
        ({"observations": np.full((12, 3), np.nan)}, "row 0: the observation holds NaN"),
        (
            {"rewards": np.r_[np.zeros(8), np.inf, np.zeros(3)]},
            "episode 2, row 7: the reward holds NaN",
        ),
    ],
)
def test_flat_arrays_that_are_not_sound(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    arrays = {k: v for k, v in (sets.flat() | change).items() if v is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=message) as caught:
        load_table("hopper-medium", tmp_path / "bad.npz")
    assert "bad.npz" in str(caught.value)


@pytest.mark.parametrize("suffix", ["npz", "hdf5"])
def test_files_that_cannot_be_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    with pytest.raises(UserError, match="there is no file"):
        load_table("hopper-medium", path)
    path.write_bytes(b"not what it says")
    with pytest.raises(UserError, match=path.name):
        load_table("hopper-medium", path)


@pytest.mark.parametrize("task", ["hopper-medium", "cube-single-play-singletask-v0"])
def test_a_relative_path_is_looked_for_in_the_working_folder(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A run keeps the path as it was given, and may go on in another folder.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"no file x.npz in {tmp_path}: .* started elsewhere"):
        load_table(task, "x.npz")


def test_a_run_finds_ogbenchs_own_file_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "cube-single-play-v0.npz"
    own.touch()
    monkeypatch.setenv("OGBENCH_DATA", str(tmp_path))
    (found,) = locate.find(find("cube-single-play-singletask-v0"), own.name)
    assert found.path == own


def test_a_truncated_minari_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sets.hopper(tmp_path, monkeypatch, "medium", 400)
    file = folder / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match=r"mujoco/hopper/medium-v0.*truncated"):
        load_table("hopper-medium")


@pytest.mark.parametrize("key", ["rewards", "terminations", "observations"])
def test_lengths_that_disagree_name_the_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    folder = sets.hopper(tmp_path, monkeypatch, "medium", 40)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        stored = file[f"episode_0/{key}"]
        stored.resize(stored.shape[0] - 1, axis=0)
    with pytest.raises(UserError, match=f"medium-v0, episode 0: {key} has shape"):
        load_table("hopper-medium")


def test_a_missing_episode_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = [sets.walk(0, 4, 4), sets.walk(1, 4, 4)]
    folder = sets.save(
        tmp_path, monkeypatch, "D4RL/antmaze/umaze-v1", episodes, sets.ant_space(), 8
    )
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        del file["episode_1"]
    with pytest.raises(UserError, match=r"promises 8 steps but the file holds 4"):
        load_table("antmaze-umaze")


def test_data_of_another_kind_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets.hopper(tmp_path, monkeypatch, "medium", 10)
    with pytest.raises(UserError, match=r"does not fit this task.*achieved_goal"):
        load_table("antmaze-umaze", "mujoco/hopper/medium-v0")


def test_medium_expert_is_joined_from_its_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets.hopper(tmp_path, monkeypatch, "medium", 30)
    sets.hopper(tmp_path, monkeypatch, "expert", 20)
    found = load_table("hopper-medium-expert")
    assert found.dataset_id == "mujoco/hopper/medium-v0+mujoco/hopper/expert-v0"
    assert (len(found), found.statistics.episodes, found.statistics.terminals) == (50, 2, 2)
    again = load_table("hopper-medium-expert", found.dataset_id)
    assert torch.equal(again.rows, found.rows)
    sets.hopper(tmp_path, monkeypatch, "medium-expert", 10)
    assert len(load_table("hopper-medium-expert")) == 10


def test_a_missing_dataset_gets_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def no_network(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route\nto anything")

    monkeypatch.setattr(minari, "download_dataset", no_network)
    with pytest.raises(UserError) as caught:
        load_table("antmaze-large-diverse")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "D4RL/antmaze/large-diverse-v1",
        "no route",
        "minari download D4RL/antmaze/large-diverse-v1",
        "--dataset PATH",
        "python -m gtp_fast.collect antmaze-large-diverse",
    ):
        assert part in message
    with pytest.raises(UserError, match=r"local/none-v0 is not in .* of these: --dataset PATH$"):
        load_table(of_dataset("", "local/none-v0"), "local/none-v0")


def test_a_download_that_works_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def fetch(dataset_id: str) -> None:
        assert dataset_id == "mujoco/hopper/medium-v0"
        sets.hopper(tmp_path, monkeypatch, "medium", 15)

    monkeypatch.setattr(minari, "download_dataset", fetch)
    assert len(load_table("hopper-medium")) == 15
