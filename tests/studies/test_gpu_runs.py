"""`make gpu` before its first GPU: what it would run fits, and survives a cut."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import emulated
import pytest
import torch
from torch.autograd import DeviceType

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
pytest.importorskip("pytest_benchmark")

from benchmarks import gpu_all, gpu_checked, gpu_report, recorded, results_file  # noqa: E402
from benchmarks.gpu_fast import Span, spans_of, summary  # noqa: E402
from benchmarks.stage import RedGate, gate  # noqa: E402
from benchmarks.workload import EAGER, OURS  # noqa: E402

CPU = torch.device("cpu")


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


# --- the parts -----------------------------------------------------------------------------------


def test_a_dry_run_of_all_parts_passes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--dry", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    parts = [json.loads((tmp_path / "gpu" / f"part{n}.json").read_text()) for n in (1, 2, 3)]
    assert all(part["done"] and part["dry"] for part in parts)
    records = [record for part in parts for record in part["records"]]
    assert all(record.get("ok", True) for record in records)
    plans = {(r["plan"], r["precision"]) for r in records if r["stage"] == "plans" and "plan" in r}
    assert plans == {(f"{path} {rows}", precision) for path, rows, precision in emulated.PLANS}
    assert {r["row"] for r in records if r["stage"] == "update" and "us_an_update" in r} == {
        "ours", "reference captured",
    }  # fmt: skip


def test_a_row_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import bench_update, gpu_fast, gpu_right

    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access")

    place = gpu_report.Place(CPU, True)
    monkeypatch.setattr(bench_update.Update, "replayed", broken)
    rows = list(gpu_fast.updates(place))
    assert [row["row"] for row in rows] == ["reference captured", "ours"]
    monkeypatch.setattr(bench_update.Update, "judged", broken)
    monkeypatch.setattr(gpu_right.Plans, "__init__", lambda self, *_: None)
    monkeypatch.setattr(gpu_right.Plans, "all", lambda self: [("tensor", 16), ("tensor", 32)])
    monkeypatch.setattr(gpu_right.Plans, "run", broken)
    plans = list(gpu_right.plans(place))
    assert [plan["plan"] for plan in plans] == ["tensor 16", "tensor 32"] * 3
    for record in (*rows, *plans, *gpu_right.update(place)):
        assert record["ok"] is False and "RuntimeError: CUDA error" in record["failed"]


def test_what_compiles_for_minutes_is_timed_last() -> None:
    from benchmarks import bench_update, gpu_fast

    assert gpu_fast.STAGES[-1][0] == "compiled"
    assert bench_update.COMPILED not in gpu_fast._ROWS


def test_a_part_says_what_failed_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "part.json"
    seen: list[int] = []

    def breaks(place: gpu_report.Place) -> Iterator[gpu_report.Record]:
        yield {"ok": True, "first": 1}
        # What a run that is killed here leaves behind.
        seen.append(len(json.loads(path.read_text())["records"]))
        raise ValueError("broken")

    def endless(place: gpu_report.Place) -> Iterator[gpu_report.Record]:
        while True:
            yield {"ok": True}

    stages = [("breaks", breaks), ("endless", endless), ("late", breaks)]
    report = gpu_report.Report(path, {"part": 0})
    assert not gpu_report.run(stages, gpu_report.Place(CPU, True), report, 0.2)
    content = json.loads(path.read_text())
    assert seen == [1] and content["done"]
    bad = {r["stage"]: r for r in content["records"] if not r.get("ok", True)}
    assert "ValueError: broken" in bad["breaks"]["failed"]
    assert "ran out" in bad["endless"]["cut"] and "no time" in bad["late"]["cut"]


def test_tests_that_do_not_run_are_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"code": 0, "text": ""}
    monkeypatch.setattr(gpu_checked, "_said", lambda *_: (said["code"], said["text"]))
    for code, text, good in (
        (5, "no tests ran in 0.01s", False),
        (0, "2 skipped in 0.1s", False),
        (0, "3 passed, 2 skipped in 0.1s", True),
        (1, "FAILED tests/x.py::y\n1 failed, 3 passed in 0.1s", False),
    ):
        said.update(code=code, text=text)
        found = gpu_checked.counts_of(["tests/x.py"], False)
        assert found["ok"] is good, text
    assert found["failures"] == ["FAILED tests/x.py::y"] and found["passed"] == 3


def test_a_folder_of_gpu_tests_is_one_run_and_those_of_cuda_come_first() -> None:
    found = gpu_checked.folders(gpu_checked.files())
    first = next(iter(found))
    assert first == "tests/csrc" and "tests/csrc/test_native_cuda.py" in found[first]
    assert sorted(path for paths in found.values() for path in paths) == gpu_checked.files()


def test_a_benchmark_that_ran_nothing_is_no_success(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended = lambda *_, **__: subprocess.CompletedProcess([], 5)  # noqa: E731
    monkeypatch.setattr(gpu_all.subprocess, "run", ended)
    monkeypatch.setattr(gpu_all.resources, "report", lambda *_: "")
    failed = gpu_all.measure([], tmp_path)
    assert failed == [f"benchmark {name} ran nothing" for name in gpu_all.BENCHMARKS]


def test_gaps_between_nodes_are_told_from_work() -> None:
    # Two nodes side by side, a gap of 2, a third one; of two updates.
    spans = [Span(10.0, 14.0, "a"), Span(12.0, 16.0, "side"), Span(18.0, 20.0, "a")]
    found = summary(spans, 2)
    assert (found["nodes"], found["us"], found["us_at_work"]) == (1.5, 5.0, 4.0)
    assert found["kernels"]["a"] == {"us": 3.0, "times": 1.0, "median_us": 3.0}


def test_what_the_host_does_is_no_node() -> None:
    def event(name: str, device: DeviceType, start: float, end: float) -> SimpleNamespace:
        span = SimpleNamespace(start=start, end=end)
        return SimpleNamespace(name=name, device_type=device, time_range=span)

    # A profile of a GPU holds the launch of the graph and the wait for its end, too.
    events = [
        event("cudaGraphLaunch", DeviceType.CPU, 0.0, 9.0),
        event("kernel", DeviceType.CUDA, 10.0, 14.0),
        event("cudaDeviceSynchronize", DeviceType.CPU, 9.0, 30.0),
        event("kernel", DeviceType.CUDA, 16.0, 20.0),
    ]
    found = summary(spans_of(events, DeviceType.CUDA), 1)
    assert (found["nodes"], found["us"], found["us_at_work"]) == (2.0, 10.0, 8.0)
