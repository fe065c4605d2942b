"""Worker processes: the same figures, and nothing left behind."""

from __future__ import annotations

import copy
import glob
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import fake_environments
import pytest
from fake_policies import KEYS, Linear, equal, play
from torch import Tensor

from gtp_fast.errors import UserError
from gtp_fast.evaluation.evaluator import Evaluator


@pytest.mark.parametrize("processes", [1, 2])
def test_worker_processes_change_nothing(processes: int) -> None:
    assert equal(play((3, 5)), play((3, 5), environments=3, processes=processes))


def test_workers_end_when_closed() -> None:
    evaluator = Evaluator(fake_environments.spec(), KEYS, (0, 1), 4, processes=2)
    evaluator.evaluate(Linear(2))
    processes = [worker.process for worker in evaluator._slots._workers]  # type: ignore[union-attr]
    assert [process.poll() for process in processes] == [None, None]
    evaluator.close()
    assert [process.poll() for process in processes] == [0, 0]


def test_a_dead_worker_is_named() -> None:
    with Evaluator(fake_environments.spec(), KEYS, (0, 1), 4, processes=2) as evaluator:
        evaluator.evaluate(Linear(2))
        process = evaluator._slots._workers[1].process  # type: ignore[union-attr]
        process.kill()
        process.wait()
        with pytest.raises(
            UserError, match=rf"worker \(process {process.pid}\) was ended by SIGKILL"
        ):
            evaluator.evaluate(Linear(2))


def test_workers_end_when_their_parent_is_killed() -> None:
    code = (
        "import os, fake_environments\n"
        "from gtp_fast.evaluation.workers import SharedSlots\n"
        "slots = SharedSlots(fake_environments.spec(), [1, 1], ('state', 'goal'))\n"
        "print(*(worker.process.pid for worker in slots._workers), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=surroundings
    )
    workers = [Path("/proc") / pid for pid in done.stdout.split()]
    assert len(workers) == 2, done.stderr
    for _ in range(200):
        if not any(alive(worker) for worker in workers):
            return
        time.sleep(0.05)
    pytest.fail("workers outlived their parent")


def alive(process: Path) -> bool:
    try:
        return "\nState:\tZ" not in (process / "status").read_text()
    except OSError:
        return False


def test_a_missing_environment_is_a_sentence() -> None:
    spec = fake_environments.spec()
    spec.entry_point = "no_such_package:Maze"
    for processes in (0, 1):
        with (
            pytest.raises(UserError, match=r"Chaos-v0 cannot be built .*gtp_fast\[envs\]"),
            Evaluator(spec, KEYS, (0,), 1, processes=processes) as evaluator,
        ):
            evaluator.evaluate(Linear(1))


@pytest.mark.parametrize("processes", [0, 1])
def test_mazes_leave_nothing_behind(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    keys = ("observation", "desired_goal")
    with Evaluator(maze_spec(), keys, (0,), 2, processes=processes) as evaluator:
        evaluation = evaluator.evaluate(Half())
    assert evaluation.lengths.tolist() == [[5, 5]]
    assert evaluation.successes.tolist() == [[0.0, 0.0]]
    assert glob.glob(str(tmp_path / "**"), recursive=True) == [str(tmp_path) + "/"]


class Half:
    """Half of the noise."""

    draws = 1

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        return (0.5 * noise).clamp(-1, 1)


def maze_spec() -> Any:
    robotics = pytest.importorskip(
        "gymnasium_robotics", reason="gymnasium-robotics is not installed"
    )
    import gymnasium

    gymnasium.register_envs(robotics)
    spec = copy.deepcopy(gymnasium.spec("PointMaze_UMaze-v3"))
    spec.max_episode_steps = 5
    spec.kwargs.update(continuing_task=False, reset_target=False)
    return spec
