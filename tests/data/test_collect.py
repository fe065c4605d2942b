"""Locally made datasets: genuine Minari sets, honest about it, the same bits every time."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest
import torch

from gtp_fast import cli
from gtp_fast import collect as collecting
from gtp_fast.collect import PLANS, collect, storage
from gtp_fast.collect.__main__ import main
from gtp_fast.data import evaluation_spec, fits_environment, load_table
from gtp_fast.errors import UserError
from gtp_fast.evaluation.vector import make
from gtp_fast.tasks import TASKS

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("mujoco")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collect(
        "pointmaze-demo", 1500, output=tmp_path_factory.mktemp("sets"), progress=False
    ).path


def read(folder: Path) -> tuple[Any, list[Any]]:
    dataset = minari.MinariDataset(folder / "data")
    return dataset, list(dataset.iterate_episodes())


def same(one: Path, other: Path) -> bool:
    for left, right in zip(read(one)[1], read(other)[1], strict=True):
        for key, values in left.observations.items():
            if not np.array_equal(values, right.observations[key]):
                return False
        if not np.array_equal(left.actions, right.actions):
            return False
    return True


def test_every_maze_task_can_be_collected_and_no_other() -> None:
    assert set(PLANS) == {name for name, task in TASKS.items() if task.goal_reaching}
    with pytest.raises(UserError, match=r"hopper-medium cannot be collected.*antmaze-umaze"):
        collect("hopper-medium")


def test_minari_reads_it_with_the_conventions_of_its_own_sets(demo: Path) -> None:
    dataset, episodes = read(demo)
    assert dataset.total_steps == 1500
    assert sum(len(episode) for episode in episodes) == 1500
    for episode in episodes:
        steps = len(episode.rewards)
        widths = {"observation": 4, "achieved_goal": 2, "desired_goal": 2}
        for key, width in widths.items():
            assert episode.observations[key].shape == (steps + 1, width)
            assert episode.observations[key].dtype == np.float64
        assert episode.actions.dtype == np.float32
        assert np.abs(episode.actions).max() <= 1.0
        assert set(episode.infos) == {"success", "qpos", "qvel", "goal"}
        assert len(episode.infos["success"]) == steps + 1
        # The task goes on at the goal: only truncations end an episode.
        assert not episode.terminations.any()
        assert episode.truncations.tolist() == [False] * (steps - 1) + [True]
        assert np.array_equal(episode.rewards, episode.infos["success"][1:].astype(float))
        assert not episode.infos["success"][:-1].any()
    assert dataset.recover_environment(eval_env=True).spec.max_episode_steps == 200


def test_it_says_that_it_is_not_minaris(demo: Path) -> None:
    facts = json.loads((demo / "data" / "metadata.json").read_text())
    assert facts["dataset_id"] == "local/pointmaze/demo-v0"
    assert "not the official data" in facts["description"]
    assert (facts["ref_min_score"], facts["ref_max_score"]) == (0.0, 1.0)
    table = load_table("pointmaze-demo", demo)
    assert table.provenance.official is False
    ids = {one for task in TASKS.values() for option in task.datasets for one in option}
    official = {one for one in ids if not one.startswith("local/")}
    assert not official & {TASKS[name].local_dataset for name in PLANS}


def test_the_loader_and_the_evaluation_take_it(demo: Path) -> None:
    table = load_table("pointmaze-demo", demo)
    assert table.observation_dim == 6
    assert table.statistics.terminals >= 1
    assert torch.equal(table.all().reward, -table.all().mask)
    # One fixed goal: its cell is the evaluation's, up to the maze's own noise.
    goals = table.all().observation[:, 4:]
    assert (goals - torch.tensor([-1.0, 1.0])).abs().max() <= 0.25
    environment = make(evaluation_spec(table))
    fits_environment(table, environment)
    environment.close()


def test_the_same_seed_gives_the_same_bits(demo: Path, tmp_path: Path) -> None:
    again = collect("pointmaze-demo", 1500, output=tmp_path, progress=False, workers=2).path
    assert same(demo, again)
    other = collect("pointmaze-demo", 1500, seed=1, output=tmp_path / "b", progress=False).path
    assert not np.array_equal(read(other)[1][0].actions[:5], read(demo)[1][0].actions[:5])


def test_a_plain_script_collects_in_several_processes(tmp_path: Path) -> None:
    """Without a guard of its main module, which no other command needs."""
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from gtp_fast.collect import collect\n"
        f"print(collect('pointmaze-demo', 60, output=Path({str(tmp_path)!r}), workers=2).path)\n"
    )
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=surroundings
    )
    assert done.returncode == 0, done.stderr
    assert read(Path(done.stdout.strip()))[0].total_steps == 60


@pytest.mark.parametrize("workers", [1, 2])
def test_a_missing_package_is_named_whatever_process_needs_it(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gymnasium_robotics.py").write_text("raise ImportError\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gymnasium_robotics")
    with pytest.raises(UserError, match=r"mazes need gymnasium-robotics.*gtp_fast\[envs\]"):
        collect("pointmaze-demo", 60, output=tmp_path / "sets", progress=False, workers=workers)


def test_it_is_never_collected_twice(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gtp_fast.collect.episodes", lambda *_: pytest.fail("collected again"))
    root = demo.parents[2]
    made = collect("pointmaze-demo", 1500, output=root)
    assert made.reused
    assert made.path == demo
    with pytest.raises(UserError, match=r"noise 0\.5 instead of 0\.1"):
        collect("pointmaze-demo", 1500, noise=0.1, output=root)


def test_the_second_of_two_collections_waits_and_reuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gather, seconds = collecting._gather, list[Any]()

    def meanwhile(*given: Any) -> Any:
        if others:
            return gather(*given)
        other = threading.Thread(
            target=lambda: seconds.append(
                collect("pointmaze-demo", 50, output=tmp_path, progress=False)
            )
        )
        other.start()
        others.append(other)
        while "waiting for another" not in capsys.readouterr().err:
            assert other.is_alive(), "the second one did not wait"
            time.sleep(0.01)
        return gather(*given)

    others: list[threading.Thread] = []
    monkeypatch.setattr(collecting, "_gather", meanwhile)
    first = collect("pointmaze-demo", 50, output=tmp_path, progress=False)
    others[0].join()
    assert (first.reused, [(one.path, one.reused) for one in seconds]) == (
        False, [(first.path, True)],
    )  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"transitions": 0}, {"seed": -1}, {"noise": -0.1}, {"noise": math.nan}, {"noise": math.inf},
    ],
)  # fmt: skip
@pytest.mark.parametrize("task", ["pointmaze-demo", "pointmaze-medium-navigate-singletask-v0"])
def test_settings_that_make_no_sense(task: str, change: dict[str, Any], tmp_path: Path) -> None:
    few = {"transitions": 20} | change
    with pytest.raises(UserError, match="at least 1"):
        collect(task, output=tmp_path, progress=False, **few)
    assert list(tmp_path.iterdir()) == []


def test_workers_that_nothing_can_be_collected_by(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="workers must be at least 1"):
        collect("pointmaze-demo", 20, output=tmp_path, workers=0)
    with pytest.raises(UserError, match="in one process: leave out --workers"):
        collect("pointmaze-medium-navigate-singletask-v0", 20, output=tmp_path, workers=2)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="--output"):
        collect("pointmaze-demo", 50, output=tmp_path / "file", progress=False)


@pytest.mark.parametrize("task", ["pointmaze-demo", "pointmaze-medium-navigate-singletask-v0"])
def test_a_folder_that_cannot_be_written_is_noticed_before_the_first_step(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(**_: Any) -> None:
        raise OSError(30, "Read-only file system")

    for made in ("gtp_fast.collect._gather", "gtp_fast.collect.ogbench_sets._gathered"):
        monkeypatch.setattr(made, lambda *_: pytest.fail("collected in vain"))
    monkeypatch.setattr(tempfile, "TemporaryFile", locked)
    with pytest.raises(UserError, match=r"could not be written|cannot be written"):
        collect(task, 20, output=tmp_path / "sets", progress=False)


def test_a_relative_folder_is_that_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = collect("pointmaze-demo", 50, output=Path("sets"), progress=False)
    assert read(tmp_path / "sets" / made.dataset_id)[0].total_steps == 50
    monkeypatch.setenv("MINARI_DATASETS_PATH", "others")
    made = collect("pointmaze-demo", 50, progress=False)
    assert read(tmp_path / "others" / made.dataset_id)[0].total_steps == 50


def test_nothing_is_left_behind_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gtp_fast.collect.storage._move", full)
    with pytest.raises(UserError, match="No space left on device"):
        collect("pointmaze-demo", 50, output=tmp_path, progress=False)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".demo-v0.lock"]


def test_no_model_files_are_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    collect("pointmaze-medium", 60, output=tmp_path / "sets", progress=False)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_command_speaks_plainly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["pointmaze-demo", "--transitions", "60", "--output", str(tmp_path)]
    assert cli.run(main, arguments) == 0
    out, err = capsys.readouterr()
    assert "not the official data" in out
    assert str(tmp_path / "local" / "pointmaze" / "demo-v0") in out
    assert "locally made" in err
    assert cli.run(main, arguments) == 0
    assert "already there" in capsys.readouterr().out
    assert cli.run(main, ["pointmaze-dmeo", "--output", str(tmp_path)]) == 2
    _, err = capsys.readouterr()
    assert err.startswith("gtp_fast: unknown task 'pointmaze-dmeo'")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError("no flock")]
)
def test_a_file_system_without_locks_is_collected_on(
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def acquire(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(storage.FileLock, "acquire", acquire)
    with storage.alone(tmp_path / "set"):
        assert "has no locks" in capsys.readouterr().err
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(storage.FileLock, "acquire", lambda *_, **__: (_ for _ in ()).throw(full))
    with pytest.raises(UserError, match="No space left"), storage.alone(tmp_path / "set"):
        pass
