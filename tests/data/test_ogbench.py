"""OGBench's single tasks: names, its own loading and labels, and evaluation."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from ogbench_arrays import POINT, written

from gtp_fast import agents
from gtp_fast.data import evaluation_spec as table_spec
from gtp_fast.data import load_table, ogbench_files
from gtp_fast.environments import ogbench_names
from gtp_fast.environments.singletask import evaluation_spec
from gtp_fast.errors import UserError
from gtp_fast.evaluation.vector import make
from gtp_fast.evaluation.workers import SharedSlots
from gtp_fast.tasks import Rules, find

ogbench = pytest.importorskip("ogbench")

PUZZLE = "puzzle-3x3-play-singletask-task2-v0"


# --- names and tasks -----------------------------------------------------------------------------


def test_every_single_task_of_states_has_its_name_and_its_steps() -> None:
    found = set()
    for body, kinds in ogbench_names.DATA.items():
        for known in (key for key in gym.registry if key.startswith(f"{body}-")):
            setting, _, rest = known.partition("-singletask")
            for data in kinds if rest else ():
                name = f"{setting}-{data}-singletask{rest}"
                single = ogbench_names.find(name)
                assert ogbench_names.is_name(name) and single.environment == known
                assert single.max_episode_steps == gym.spec(known).max_episode_steps
                found.add(known)
    states = {k for k in gym.registry if "-singletask" in k and not k.startswith("visual")}
    assert found == states and len(found) == 24 * 6


@pytest.mark.parametrize(
    "name",
    ["antmaze-large-play-singletask-v0", "antmaze-large-v0",
     "visual-cube-single-play-singletask-v0", "cube-single-play-singletask-task6-v0",
     "scene-large-play-singletask-v0"],
)  # fmt: skip
def test_what_ogbench_does_not_have_is_no_name(name: str) -> None:
    assert not ogbench_names.is_name(name)
    with pytest.raises(UserError, match=r"unknown task|is no single task|has several datasets"):
        find(name)


def test_fql_has_its_authors_settings_on_every_task_of_a_set() -> None:
    for suffix in ogbench_names.TASKS:
        _, config = agents.defaults("fql", find(f"antmaze-giant-navigate-singletask{suffix}-v0"))
        assert (config.alpha, config.discount, config.q_aggregate) == ((10.0,), 0.995, "min")
        assert not config.normalise_q
    _, unlisted = agents.defaults("fql", find(POINT))
    assert unlisted.normalise_q and unlisted.alpha == (1.0,) and unlisted.discount == 0.99


# --- data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [POINT, PUZZLE])
def test_a_table_holds_what_ogbench_itself_loads_and_labels(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "set.npz", name)
    (tmp_path / "empty").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(tmp_path / "empty"))
        table = load_table(name, path, use_cache=False)
    assert not list((tmp_path / "empty").iterdir())
    _, own, _ = ogbench.make_env_and_datasets(name, dataset_path=str(path))
    batch = table.all()
    pairs = {
        "observations": batch.observation, "actions": batch.action, "rewards": batch.reward,
        "next_observations": batch.next_observation, "masks": batch.mask,
    }  # fmt: skip
    for key, ours in pairs.items():
        np.testing.assert_array_equal(ours.numpy(), own[key], err_msg=key)
    # Episodes end where OGBench's terminals are, not at the goal, which stops the bootstrap alone.
    assert table.episode.tolist() == [0] * 4 + [1] * 7 + [2] * 3
    assert np.flatnonzero(batch.mask.numpy() == 0.0).tolist() == [7, 8]
    assert table.statistics.success_rate == pytest.approx(1 / 3)
    assert table.episode_scores().tolist() == [0.0, 1.0, 0.0]
    assert table.provenance.official
    spec = table_spec(table)
    assert spec is not None and spec.id == find(name).environment


def test_a_file_or_rule_that_does_not_fit_is_a_sentence(tmp_path: Path) -> None:
    task = find(POINT)
    whole = written(tmp_path / "whole.npz", POINT)
    with pytest.raises(UserError, match="leave out the options of the data's rules"):
        load_table(task, whole, Rules(reward="minus_one"))
    bare = written(tmp_path / "bare.npz", POINT, qpos=None)
    with pytest.raises(UserError, match=r"bare\.npz is no file of pointmaze-medium-navigate-v0"):
        load_table(task, bare)
    with pytest.raises(UserError, match="no state of it is at the goal"):
        load_table(POINT.replace("task-", "task-task4-"), whole, use_cache=False)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(UserError, match=r"cannot be read as an \.npz"):
        load_table(task, tmp_path / "text.npz")
    cut = whole.read_bytes()
    at = cut.index(b"PK", 100) + 60
    whole.write_bytes(cut[:at] + b"\xff" * 8 + cut[at + 8 :])
    with pytest.raises(UserError, match=r"whole\.npz"):
        load_table(task, whole, use_cache=False)


def test_a_missing_set_names_the_ways_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(names: list[str], folder: str) -> None:
        raise OSError("no network")

    monkeypatch.setenv("OGBENCH_DATA", str(tmp_path))
    monkeypatch.setattr(ogbench, "download_datasets", refused)
    with pytest.raises(UserError, match="no network") as point:
        ogbench_files.located(ogbench_names.find(POINT))
    url = "https://rail.eecs.berkeley.edu/datasets/ogbench/pointmaze-medium-navigate-v0.npz"
    for way in (url, "--dataset PATH", f"gtp_fast.collect {POINT}"):
        assert way in str(point.value)
    with pytest.raises(UserError, match="no network") as ant:
        ogbench_files.located(ogbench_names.find("antmaze-large-navigate-singletask-v0"))
    assert "gtp_fast.collect" not in str(ant.value)
    with pytest.raises(UserError, match="there is no file"):
        ogbench_files.located(ogbench_names.find(POINT), tmp_path / "other.npz")


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ogbench", None)
    with pytest.raises(UserError, match=r"pip install 'gtp_fast\[ogbench\]'"):
        evaluation_spec(ogbench_names.find(POINT))


# --- evaluation ----------------------------------------------------------------------------------


def test_the_return_of_an_episode_is_its_success_and_it_ends_there() -> None:
    env: Any = make(evaluation_spec(ogbench_names.find(POINT)))
    env.reset(seed=3)
    action = np.zeros(2, np.float32)
    assert env.step(action)[1:] == (0.0, False, False, {"success": 0.0})
    env.unwrapped.set_xy(np.array(env.unwrapped.cur_goal_xy))
    assert env.step(action)[1:] == (1.0, True, False, {"success": 1.0})
    env.close()


def test_resets_follow_the_seed_and_leave_numpy_alone() -> None:
    spec = evaluation_spec(ogbench_names.find(POINT))
    first, second = make(spec), make(spec)
    before = np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    starts = [first.reset(seed=5)[0], second.reset(seed=6)[0]]
    starts += [first.reset()[0], second.reset(seed=5)[0], second.reset()[0]]
    assert np.random.get_state()[1].tolist() == before  # type: ignore[union-attr]
    np.testing.assert_array_equal(starts[0], starts[3])
    np.testing.assert_array_equal(starts[2], starts[4])
    assert not np.array_equal(starts[0], starts[1]) and not np.array_equal(starts[0], starts[2])


def test_a_worker_rebuilds_the_environment_from_its_text() -> None:
    spec = gym.envs.registration.EnvSpec.from_json(
        evaluation_spec(ogbench_names.find(POINT)).to_json()
    )
    slots = SharedSlots(spec, [1], ())
    try:
        observation = slots.reset([5], np.ones(1, bool))
        np.testing.assert_array_equal(
            observation[0], make(spec).reset(seed=5)[0].astype(np.float32)
        )
        assert slots.step(np.zeros((1, 2), np.float32)).success.tolist() == [0.0]
    finally:
        slots.close()
