"""Every engine of a sweep leaves the same bits, and so does a machine that is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from sweep_cases import digest, jobs_of, write

from gtp_fast.studies import jobs
from gtp_fast.studies.sweeps import drive
from gtp_fast.studies.sweeps.local import Local, Place
from gtp_fast.studies.sweeps.on_ray import OnRay
from gtp_fast.studies.sweeps.on_slurm import OnSlurm
from gtp_fast.system import machine
from gtp_fast.system.children import Child

LONG = {"steps": 3000, "checkpoint_every": 50, "log_every": 500}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A job in this process takes one thread."""
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


def undisturbed(file: Path, folder: Path) -> dict[str, str]:
    """Return the digest of every job of a file, each run in this process."""
    found = {}
    for job in jobs_of(file, folder):
        assert job.folder is not None
        result = jobs.run(job)
        assert result.state == "finished", result
        found[result.name] = digest(job.folder)
    return found


def test_local_processes_leave_the_bits_of_this_one(tmp_path: Path) -> None:
    file = write(tmp_path, grid={"seeds": [3, 5]})
    expected = undisturbed(file, tmp_path / "alone")
    one = {min(machine.cores())}
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, one)
    try:
        assert drive.run(jobs_of(file, tmp_path / "here"), Local("cpu", 2), tmp_path / "here") == 0
    finally:
        os.sched_setaffinity(0, mine)
    assert {name: digest(tmp_path / "here" / name) for name in expected} == expected


def test_submitit_leaves_the_bits_of_this_process(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    file = write(tmp_path)
    expected = undisturbed(file, tmp_path / "alone")
    folder = tmp_path / "slurm"
    engine = OnSlurm(folder / "logs", "cpu", ("timeout_min=5",), cluster="local")
    assert drive.run(jobs_of(file, folder), engine, folder) == 0
    assert {name: digest(folder / name) for name in expected} == expected


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster of one node, with one core for jobs."""
    ray = pytest.importorskip("ray", reason="needs the extra `ray`")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    own = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    # A node that was killed is noticed after 3 refused looks, at most ten seconds by default.
    looks = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
    # Ray runs workers at a nice value of 15, which starves them beside other tests.
    system = looks | {"worker_niceness": 0}
    head = {**own, "include_dashboard": False, "_system_config": system}
    handler = signal.getsignal(signal.SIGTERM)
    found = Cluster(initialize_head=True, head_node_args=head)
    # A node takes SIGTERM over and does not give it back, which later tests would inherit.
    signal.signal(signal.SIGTERM, handler)
    yield found, own
    ray.shutdown()
    found.shutdown()


def processes_of(parent: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == parent:
            found.append(int(entry.name))
    return found


def warm(ray: Any, nodes: int) -> None:
    """Wait for a worker on every node: one that is late would leave all jobs to the others."""

    @ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
    def where() -> str:
        time.sleep(0.2)
        return str(ray.get_runtime_context().get_node_id())

    while len(set(ray.get([where.remote() for _ in range(nodes)]))) < nodes:
        pass


def kill_when(begun: Callable[[], bool], raylet: int, killed: list[int]) -> None:
    """Kill a node and its workers by SIGKILL, as a machine is lost, once its job has begun."""
    while not begun():
        time.sleep(0.02)
    for process in [raylet, *processes_of(raylet)]:
        os.kill(process, signal.SIGKILL)
        killed.append(process)


def test_a_job_of_a_killed_node_goes_on_with_another_to_the_same_bits(
    cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes, own = cluster
    second = nodes.add_node(**own)
    raylet = second.all_processes["raylet"][0].process.pid
    file = write(tmp_path, base=LONG, grid={"seeds": [3, 5]})
    folder = tmp_path / "ray"
    given = jobs_of(file, folder)
    handler = signal.getsignal(signal.SIGTERM)
    engine = OnRay("cpu", nodes.address)
    assert engine.slots == 2 and signal.getsignal(signal.SIGTERM) is handler
    warm(engine.ray, engine.slots)
    killed: list[int] = []
    done = {}

    def begun() -> bool:
        return all(any(job.home.glob("checkpoints/step_*")) for job in given)

    threading.Thread(target=kill_when, args=(begun, raylet, killed), daemon=True).start()
    with closing(engine.results(given)) as results:
        for result in results:
            if result is not None:
                done[result.name] = result
    assert len(killed) > 1 and {result.state for result in done.values()} == {"finished"}
    # The other node went on at a checkpoint of the lost one.
    first, second_begun = sorted(result.begun for result in done.values())
    assert first == 0 and LONG["checkpoint_every"] <= second_begun < LONG["steps"]
    assert {name: digest(folder / name) for name in done} == undisturbed(file, tmp_path / "alone")


def test_sigterm_ends_a_sweep_with_its_runs_saved(tmp_path: Path) -> None:
    file = write(tmp_path, base=LONG | {"steps": 100_000})
    folder = tmp_path / "here"
    (job,) = jobs_of(file, folder)
    words = ["sweep", str(file), "--device", "cpu", "--workers", "1", "--output", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "gtp_fast", *words], stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not any(job.home.glob("checkpoints/step_*")):
        time.sleep(0.1)
    process.terminate()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert said.splitlines()[-1] == "gtp_fast: stopped by SIGTERM."
    assert "Stopped at update" in (job.log / "output.txt").read_text()


def test_sigterm_ends_a_process_that_waits_for_a_job(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = jobs_of(write(tmp_path, base={"steps": 2}), tmp_path / "here")[0]
    child = Child("gtp_fast.studies.sweeps.child", "the process of the job")
    child.send(Place())
    child.send(job)
    assert child.receive().state == "finished"
    child.process.terminate()
    assert child.process.wait(60) == 128 + signal.SIGTERM
    assert "Traceback" not in capfd.readouterr().err
