"""Benchmarks as an instrument: their gate, their order, and the whole way to a table."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
pytest.importorskip("pytest_benchmark")

from benchmarks import (  # noqa: E402
    bench_run,
    bench_sampler,
    bench_sampler_gpu,
    gpu,
    gpu_checked,
    report,
    resources,
    results_file,
)
from benchmarks.stage import RedGate, Stage  # noqa: E402
from benchmarks.workload import (  # noqa: E402
    COMPILED,
    EAGER,
    OURS,
    ROWS,
    TURNS,
    Results,
    Row,
    Subject,
    Unavailable,
    Workload,
    compiled,
    in_turns,
)


class Thirds(Workload):
    """Three thirds; `ours` is off by `error`, and nobody has compiled it."""

    group = "thirds"
    facts = {"dtype": "float32", "shape": [3]}  # noqa: RUF012

    def __init__(self, error: float = 0.0, judge: tuple[Results, Results] | None = None):
        self.error, self.built, self.judge = error, 0, judge
        self.ran: list[str] = []

    def exact(self) -> Results:
        return {"third": torch.full((3,), 1.0, dtype=torch.float64) / 3}

    def build(self, row: Row) -> Subject:
        self.built += 1
        if row == COMPILED:
            raise Unavailable("no compiler knows thirds")
        third = torch.full((3,), 1.0) / 3
        results = {"third": third + self.error if row == OURS else third}
        judge = self.judge if row == OURS else None
        return Subject(lambda: self.ran.append(row.name), results, "by hand", judge)


class Clock:
    """Stands in for pytest-benchmark's fixture and keeps what it was asked to time."""

    def __init__(self) -> None:
        self.group, self.extra_info, self.rounds = "", {}, 0

    def pedantic(self, target: Callable[[], None], rounds: int, iterations: int) -> None:
        self.rounds = rounds
        target()


@pytest.fixture
def stage() -> Stage:
    return Stage(torch.device("cpu"), 0.001)


def test_a_wrong_row_is_never_timed(stage: Stage) -> None:
    clock, wrong = Clock(), Thirds(error=1e-5)
    for _ in range(TURNS):
        with pytest.raises(RedGate, match=r"no time is reported.*thirds, ours: third"):
            stage.measure(clock, wrong, OURS)
    assert (clock.rounds, clock.extra_info) == (0, {})
    assert "ours" not in wrong.ran


def test_the_gate_grants_rounding_and_no_more(stage: Stage) -> None:
    stage.measure(Clock(), Thirds(error=torch.finfo(torch.float32).eps / 4), OURS)


def test_a_row_that_computes_something_else_has_a_truth_of_its_own(stage: Stage) -> None:
    other = {"third": torch.full((3,), 0.25)}
    judge = other, {"third": other["third"].double()}
    error = 0.25 - float(torch.tensor(1.0) / 3)
    stage.measure(Clock(), Thirds(error, judge), OURS)
    stage.group = ""
    with pytest.raises(RedGate):
        stage.measure(Clock(), Thirds(0.0, judge), OURS)


def test_a_right_row_is_timed_with_its_facts(stage: Stage) -> None:
    clock = Clock()
    stage.measure(clock, Thirds(), OURS)
    assert clock.rounds >= 2
    assert clock.group == "thirds"
    expected = {"row": "ours", "role": "ours", "dtype": "float32", "shape": [3], "note": "by hand"}
    assert expected.items() <= clock.extra_info.items()
    assert clock.extra_info["torch"] == torch.__version__
    assert clock.extra_info["threads"] == torch.get_num_threads()
    known = {"device", "driver", "triton", "python", "gtp_fast", "peak_memory_bytes"}
    assert known <= clock.extra_info.keys()
    assert clock.extra_info["device"]


def test_a_missing_row_is_skipped_and_its_reason_kept_once(stage: Stage) -> None:
    work, clock = Thirds(), Clock()
    for _ in range(TURNS):
        with pytest.raises(pytest.skip.Exception, match="no compiler knows thirds"):
            stage.measure(clock, work, COMPILED)
    reason = {"group": "thirds", "row": COMPILED.name, "role": "compiled"}
    assert stage.skipped == [reason | {"reason": "no compiler knows thirds"}]
    assert work.built == 1, "what cannot be built is not tried again in every turn"
    assert clock.rounds == 0


def test_rows_are_built_once_for_all_turns(stage: Stage) -> None:
    work = Thirds()
    for _ in range(TURNS):
        for row in (EAGER, OURS):
            stage.measure(Clock(), work, row)
    assert work.built == 2


def test_rows_take_turns_and_change_places() -> None:
    cases = [parameter.values for parameter in in_turns(("a", "b")).args[1]]
    assert cases[: TURNS * len(ROWS)] == [c for c in cases if c[0] == "a"]
    turns = [[row for case, t, row in cases if (case, t) == ("b", turn)] for turn in range(TURNS)]
    assert all(set(rows) == set(ROWS) for rows in turns)
    assert {rows[0] for rows in turns} == set(ROWS), "each row comes first once"


def test_threads_wait_in_benchmarks_as_they_do_in_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    code = "import os, sys, benchmarks; print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "10000"]


def test_no_row_finds_the_table_that_another_has_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches: list[Path] = []
    monkeypatch.setattr(
        bench_run.FirstUpdate, "_start", lambda _, options, cache: caches.append(cache)
    )
    for seeds in (["0"], ["0", "1"]):
        work = object.__new__(bench_run.FirstUpdate)
        work.root, work.seeds, work.data = tmp_path, seeds, tmp_path
        work.device = torch.device("cpu")
        for row in (EAGER, OURS):
            work.build(row).run()
    assert len(caches) == 8 and len(set(caches)) == 4


def test_tf32_is_on_for_its_own_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Seen:
        device = torch.device("cpu")
        on: list[bool] = []  # noqa: RUF012

        def measure(self, *_: object) -> None:
            self.on.append(torch.backends.cuda.matmul.allow_tf32)

    monkeypatch.setattr(bench_sampler_gpu, "make", lambda *case: None)
    for case in ("1x5-tf32", "1x5-fp32"):
        bench_sampler_gpu.test_sampler_gpu(None, Seen(), case, 0, EAGER)
        assert not torch.backends.cuda.matmul.allow_tf32
    assert Seen.on == [True, False]


def test_a_policy_that_acts_wrongly_has_no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_sampler, "make", lambda *case: Thirds(error=1e-5))
    monkeypatch.setattr(bench_sampler, "Latency", lambda *_: pytest.fail("it was timed"))
    with pytest.raises(RedGate, match=r"no time is reported.*Policy\.act, fp32: third"):
        bench_sampler.test_act_latency(None, None, None, "fp32")


def test_what_pytorch_compiles_no_more_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo import config, exc, reset

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    reset()
    with config.patch(recompile_limit=1, fail_on_recompile_limit_hit=False):
        double = compiled(lambda x: x + x, torch.device("cpu"))
        assert double(torch.ones(2)).tolist() == [2.0, 2.0]
        with pytest.raises(exc.FailOnRecompileLimitHit):
            double(torch.ones(3))
    reset()


# --- the whole way -------------------------------------------------------------------------------


def test_a_benchmark_runs_from_pytest_to_the_table(tmp_path: Path) -> None:
    raw = tmp_path / "raw.json"
    files = [f"benchmarks/bench_{name}.py" for name in ("loss", "sampler", "ways")]
    options = ["--benchmark-only", f"--benchmark-json={raw}", "--row-seconds", "0.001"]
    # Nothing that torch.compile would have to work on for half a minute.
    chosen = "(test_loss or 256x2 or test_ways) and not compiled"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *files, *options, "-k", chosen],
        cwd=ROOT,
        # pytest-benchmark measures nothing in a process that xdist seems to have started.
        env={name: value for name, value in os.environ.items() if "XDIST" not in name},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    made = results_file.collect([raw])
    groups = {group["group"]: group for group in made["groups"]}
    ways = "Policy.act, one observation"
    assert groups.keys() == {"loss and gradient, 1 x 256 rows", "sampler, batch 256, K = 2", ways}
    sampler = groups["sampler, batch 256, K = 2"]
    assert (sampler["K"], sampler["num_candidates"], sampler["dtype"]) == (2, 1, "float32")
    assert sampler["rows"][0]["rounds"] >= 2 * TURNS
    assert "| sampler, batch 256, K = 2 |" in report.render([made])
    for name in ("map, K = 2", "Euler, K = 5", "mean of 16, K = 5", "best of 16 by Q, K = 5"):
        assert f"| {ways}, {name} | - | - |" in report.render([made])


def test_pytest_alone_collects_no_benchmark() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert options["testpaths"] == ["tests"]
    assert "bench_*.py" in options["python_files"]
    assert not list((ROOT / "tests").rglob("bench_*.py"))


def test_gpu_command_says_why_it_has_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert gpu.main([]) == 0
    assert "skipped: torch sees no CUDA device here" in capsys.readouterr().out


def test_gpu_command_knows_the_tests_that_need_a_gpu() -> None:
    found = {Path(path).stem.removeprefix("test_") for path in gpu_checked.files()}
    triton = ("perturb", "loss", "weigh", "td", "mlp", "embed", "adam", "tally", "philox", "gather")
    expected = {f"{name}_triton" for name in triton} | {"loss_gpu", "mlp_gpu"}
    expected |= {"kernels_agent", "kernels_whole", "launches", "engine", "native_cuda", "policy"}
    expected |= {"critics_cuda", "kernels_fold", "kernels_rivals"}
    assert found == expected


def test_resources_of_the_native_module_are_listed(tmp_path: Path) -> None:
    text = resources.report(gpu.native_modules(), tmp_path)
    if "REG:" not in text:
        pytest.skip("no cuobjdump here, or a native module without CUDA")
    kernels = [line for line in text.splitlines() if "REG:" in line]
    assert all(line.startswith("  sm_") for line in kernels)
    assert any("latency_kernel" in line for line in kernels)
