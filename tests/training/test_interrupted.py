"""Runs that are interrupted, or spread over processes, leave the same bits."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from train_runs import arguments, only_run, refusal

from gtp_fast import cli, train
from gtp_fast.runs import checkpoint
from gtp_fast.runs.evaluations import read


def children(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes that a run has started to train its seeds."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes()
            if parent == process.pid and b"gtp_fast.engine.child" in command:
                found.append(int(entry.name))
    return found


def runs_on(process: int) -> bool:
    """Say whether a process is there and is more than an entry that nobody has collected."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def final_bytes(run: Path) -> bytes:
    last = checkpoint.last(run)
    assert last is not None
    return (last / "state.safetensors").read_bytes()


def launch(args: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "gtp_fast.train", *args]
    # Under nohup the tests ignore SIGHUP, and so would their children.
    kept = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        return subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    finally:
        signal.signal(signal.SIGHUP, kept)


def wait_for_checkpoint(output: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not any(output.glob("*/checkpoints/step_*")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.02)


INTERRUPTED = ("--steps", "400", "--evaluate-every", "0", "--checkpoint-every", "20")


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupted."""
    output = tmp_path_factory.mktemp("whole")
    assert cli.run(train.main, arguments(dataset, output, *INTERRUPTED)) == 0
    return only_run(output)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_run_resumes_to_the_same_bits(
    dataset: Path, whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = launch(arguments(dataset, tmp_path, *INTERRUPTED))
    wait_for_checkpoint(tmp_path, process)
    process.send_signal(number)
    _, complaint = process.communicate(timeout=120)
    assert "Traceback" not in complaint
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    run = only_run(tmp_path)
    assert checkpoint.load(run).step < 400
    assert cli.run(train.main, ["--resume", str(run)]) == 0
    assert final_bytes(run) == final_bytes(whole)
    again, first = read(run / "evaluations.npz"), read(whole / "evaluations.npz")
    for name, column in first.items():
        np.testing.assert_array_equal(again[name], column, err_msg=name)


SPREAD = (*INTERRUPTED, "--seeds", "5", "2")


@pytest.fixture(scope="module")
def whole_of_two(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two seeds in one process that nobody interrupted."""
    output = tmp_path_factory.mktemp("whole")
    assert cli.run(train.main, arguments(dataset, output, *SPREAD, "--processes", "1")) == 0
    return only_run(output)


def test_seeds_in_processes_leave_the_same_files(
    dataset: Path, whole_of_two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(train.main, arguments(dataset, tmp_path, *SPREAD, "--processes", "2")) == 0
    assert "processes   2 of one thread each" in capsys.readouterr().out
    run = only_run(tmp_path)
    assert final_bytes(run) == final_bytes(whole_of_two)
    for name in ("metrics.csv", "evaluations.npz"):
        assert (run / name).read_bytes() == (whole_of_two / name).read_bytes(), name
    assert json.loads((run / "summary.json").read_text())["processes"] == 2


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_run_of_processes_goes_on_in_one(
    dataset: Path, whole_of_two: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = launch(arguments(dataset, tmp_path, *SPREAD, "--processes", "2"))
    wait_for_checkpoint(tmp_path, process)
    started = children(process)
    assert len(started) == 2
    process.send_signal(number)
    _, complaint = process.communicate(timeout=120)
    assert "Traceback" not in complaint
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    run = only_run(tmp_path)
    assert checkpoint.load(run).step < 400
    assert cli.run(train.main, ["--resume", str(run), "--processes", "1"]) == 0
    assert final_bytes(run) == final_bytes(whole_of_two)
    deadline = time.monotonic() + 60
    while any(runs_on(one) for one in started):
        assert time.monotonic() < deadline, "a process outlived its run"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")
def test_a_process_that_dies_ends_the_run_with_a_sentence(
    dataset: Path, whole_of_two: Path, tmp_path: Path
) -> None:
    process = launch(arguments(dataset, tmp_path, *SPREAD, "--processes", "2"))
    wait_for_checkpoint(tmp_path, process)
    os.kill(children(process)[0], signal.SIGKILL)
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Traceback" not in complaint
    run = only_run(tmp_path)
    last = complaint.strip().splitlines()[-1]
    assert last.startswith("gtp_fast: the process of seed ")
    assert "was ended by SIGKILL: the last good checkpoint is" in last
    assert f"--resume {run}" in last
    assert cli.run(train.main, ["--resume", str(run), "--processes", "2"]) == 0
    assert final_bytes(run) == final_bytes(whole_of_two)


def test_a_run_keeps_its_precision_and_goes_on_in_no_other(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = yaml.safe_load((whole / "config.yaml").read_text())
    assert settings["precision"] == "fp32"
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(settings | {"precision": "tf32"}))
    said = refusal(["--resume", str(tmp_path / "run"), "--device", "cpu"], capsys)
    assert "--precision tf32 is not available" in said
