"""`make gpu` before its first GPU: what it would run collects, fits, and survives a cut."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
pytest.importorskip("pytest_benchmark")

from benchmarks import gpu, recorded, results_file  # noqa: E402
from benchmarks.stage import RedGate, gate  # noqa: E402
from benchmarks.workload import EAGER, OURS  # noqa: E402

CPU = torch.device("cpu")

ABSENT = "gymnasium,gymnasium_robotics,minari,tyro,mujoco"


@pytest.mark.parametrize("absent", [ABSENT, ABSENT.removeprefix("gymnasium,")])
def test_gpu_tests_collect_without_packages_of_other_parts(absent: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "without_packages", "-p", "no:cacheprovider"]
    command += ["-q", "-m", "gpu", "--collect-only", *gpu.gpu_tests()]
    folders = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "support")))
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "GTP_FAST_WITHOUT": absent, "PYTHONPATH": folders},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    # Those of kernels need no gymnasium, those of agents do.
    found = {Path(line.split("::")[0]).stem for line in done.stdout.splitlines() if "::" in line}
    assert {"test_native_cuda", "test_mlp_gpu", "test_mlp_triton"} <= found
    assert ("test_kernels_agent" in found) == ("gymnasium," not in absent)
    assert re.search(r"\d+/\d+ tests collected", done.stdout)


# --- benchmarks ----------------------------------------------------------------------------------


def test_a_recorded_row_is_judged_by_an_update_that_it_replays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks import bench_update

    work = bench_update.Update((1, 2), CPU)
    work.config = dataclasses.replace(work.config, width=16, batch_size=16)
    plain, exact = work.build(EAGER), work.exact()
    for row in (bench_update.CAPTURED, OURS):
        subject = work.recorded(row, piece=2)
        gate(row.name, subject.results, plain.results, exact)
        assert subject.results.keys() == exact.keys()
        assert subject.run() == subject.repeats == 40
    # An update that does not start from the common state is another one.
    monkeypatch.setattr(recorded.Recorded, "rewind", lambda self: self.watch.means())
    later = work.recorded(OURS, piece=2)
    with pytest.raises(RedGate):
        gate("later", later.results, plain.results, exact)


def test_rows_of_a_gpu_are_recorded_in_every_precision() -> None:
    from benchmarks.bench_update import RECORDED

    ours = {precision for row, (_, precision) in RECORDED.items() if row.role == "ours"}
    assert ours == {"fp32", "tf32", "bf16"}
    assert {backend for backend, _ in RECORDED.values()} == {"auto", "reference", "compiled"}


def test_a_run_of_many_updates_counts_as_many() -> None:
    def entry(row: str, repeats: int) -> dict:
        info = {"row": row, "role": "ours", "repeats": repeats}
        return {"group": "updates", "extra_info": info, "stats": {"data": [0.32, 0.32, 0.32]}}

    group = results_file._group("updates", [entry("ours", 320), entry("ours bf16", 1)], [])
    assert [row["median_seconds"] for row in group["rows"]] == [0.001, 0.32]
    assert "repeats" not in group


def test_an_agent_of_a_device_trains_on_a_table_of_that_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks import bench_run

    class Table:
        def __init__(self, device: str = "host") -> None:
            self.device = device

        def to(self, device: torch.device) -> Table:
            return Table(str(device))

    class Agent:
        def update(self, table: Table, step: int) -> None:
            seen.append(table.device)

    seen: list[str] = []
    monkeypatch.setattr(bench_run, "table", Table)
    monkeypatch.setattr(bench_run, "build", lambda *_: Agent())
    monkeypatch.setattr(bench_run, "learnt", lambda agent: {})
    other = torch.device("cuda:1")
    bench_run.Seeds("width 256", other).exact()
    bench_run.Bookkeeping(Path(), other).exact()
    assert seen == ["cuda:1"] * 6
