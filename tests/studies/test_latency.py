"""The latency command: its arithmetic, its table and its files. How fast is nobody's test."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import packed_policies
import pytest
from fake_runs import make_run
from folded import Sizes

from gtp_fast import cli, latency
from gtp_fast.latency import Options, main, prepare
from gtp_fast.runs import Run
from gtp_fast.studies import latency_figure
from gtp_fast.studies.latency import Timing, histogram, measure, table

QUICK = ("--seconds", "0.01", "--rounds", "2")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("latency") / "run")


def timing(microseconds: list[float], batch: int = 1) -> Timing:
    way = None, 1.0, "map"
    return Timing(batch, 5, 1, "cpu", "native", *way, np.int64(np.array(microseconds) * 1000))


def test_figures_are_those_of_the_calls() -> None:
    calls = timing([float(i) for i in range(1, 1001)], batch=4)
    assert calls.percentile(50) == pytest.approx(500.5)
    assert calls.percentile(99) == pytest.approx(990.01)
    assert calls.percentile(99.9) == pytest.approx(999.001)
    assert calls.rate == pytest.approx(4 * 1000 / 500_500e-6)
    assert calls.figures()["min_us"] == 1 and calls.figures()["max_us"] == 1000


def test_a_percentile_that_too_few_calls_can_tell_is_left_out() -> None:
    few, some = timing([1.0] * 99), timing([1.0] * 999)
    assert few.percentile(50) == 1 and few.percentile(99) is None
    assert some.percentile(99) == 1 and some.percentile(99.9) is None
    row = table([few]).splitlines()[2].split()
    assert row[:6] == ["1", "5", "1", "cpu", "native", "99"]
    assert row[6:] == ["1.0", "us", "-", "-", "1,000,000"]


def test_the_histogram_counts_every_call() -> None:
    values = [*np.linspace(20, 30, 500), *np.linspace(30, 35, 100), 5000.0]
    lines = histogram(timing(values)).splitlines()
    assert lines[0] == "batch 1, K 5, candidates 1, cpu, native: 601 calls"
    assert sum(int(line.split()[-1]) for line in lines[1:]) == 601
    assert lines[-1].split("|")[0].strip() == "to 5.00 ms, the longest"
    assert max(line.count("#") for line in lines) == 50
    assert histogram(timing([2.0] * 100)).count("#") == 50


def test_ways_to_act_are_told_apart_in_histogram_and_figure() -> None:
    by_map, by_flow = timing([2.0] * 100), replace(timing([2.0] * 100), act_by="euler")
    assert histogram(by_map).splitlines()[0] == "batch 1, K 5, candidates 1, cpu, native: 100 calls"
    assert histogram(by_flow).startswith("batch 1, K 5, candidates 1, cpu, native, by Euler steps:")
    assert latency_figure._kind(by_map) != latency_figure._kind(by_flow)


def test_every_case_is_called_as_a_control_loop_would(run: Run) -> None:
    cases = prepare(Options(str(run), batch=(1, 3), k=(1, 2), backend=("auto", "reference")))
    assert [(c.batch, c.k, c.candidates, c.device) for c in cases] == [
        (batch, k, 1, "cpu") for _ in range(2) for k in (1, 2) for batch in (1, 3)
    ]
    assert len({case.backend for case in cases}) == len({c.backend for c in cases[::4]})
    assert cases[0].observations[0].shape == (3,) and cases[1].observations[0].shape == (3, 3)
    timings = measure(cases, 0.001, 3)
    assert all(len(t.nanoseconds) >= 100 and (t.nanoseconds > 0).all() for t in timings)
    assert [t.batch for t in timings] == [case.batch for case in cases]


def test_the_command_prints_and_writes(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ("--json", str(tmp_path / "l.json"), "--plot", str(tmp_path / "l.png"))
    assert cli.run(main, [str(run), "--batch", "1", "5", *QUICK, *files]) == 0
    said = capsys.readouterr().out
    assert "processor" in said and "torch" in said and "resolution" in said
    assert said.count("calls\n") == 1, "a histogram for the smallest batch alone"
    content = json.loads((tmp_path / "l.json").read_text())
    assert [(row["batch"], row["k"]) for row in content["rows"]] == [(1, 3), (5, 3)]
    assert all(row["num_candidates"] == 1 for row in content["rows"])
    assert content["rows"][0]["p50_us"] > 0 and content["machine"]["processor"]
    assert (tmp_path / "l.png").read_bytes().startswith(b"\x89PNG")


def test_candidates_stand_beside_the_latency(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"eta": [1.0], "width": 8, "depth": 2, "num_candidates": 50}
    own = make_run(tmp_path / "run", agent="consistency-ac", agent_settings=settings)
    assert cli.run(main, [str(own), "--batch", "1", *QUICK]) == 0
    assert "batch 1, K 2, candidates 50, cpu" in capsys.readouterr().out


def test_a_packed_file_can_be_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = packed_policies.write(packed_policies.make(Sizes(O=3, A=1, H=4, L=1, K=2)), tmp_path)
    assert cli.run(main, [str(path), "--batch", "1", *QUICK]) == 0
    assert "batch 1, K 2, candidates 1, cpu" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--batch", "100000000000000"), "--batch 100000000000000 is too large for the memory"),
        (("--batch", str(10**20)), f"--batch {10**20} is too large for the memory"),
        (("--batch", "0"), "--batch takes numbers of observations from 1 upwards"),
        (("--seconds", "0"), "--seconds must be positive"),
        (("--seconds", "inf"), "--seconds must be positive and finite"),
        (("--rounds", "0"), "--rounds at least 1"),
        (("--k", "0"), "k = 0 is no number of sampler steps"),
        (("--device", "tpu"), "There is no device 'tpu': choose cpu"),
        (("--precision", "fp8"), "Unknown precision 'fp8'"),
        (("--backend", "quick"), "Unknown backend 'quick'"),
        (("--plot", "l.xyz"), "l.xyz is no name of a figure: let it end in .png, .svg or .pdf"),
        (("--plot", "figure"), "figure is no name of a figure"),
        (("--plot", "none/here.png"), "There is no folder none to write none/here.png into"),
        (("--json", str(Path(__file__).parent)), "studies is a folder: name a file in it"),
    ],
)
def test_what_cannot_be_timed_is_one_sentence(
    run: Run, options: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(main, [str(run), *QUICK, *options]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_plot_without_matplotlib_is_refused_before_the_timing(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(latency, "measure", pytest.fail)
    assert cli.run(main, [str(run), "--plot", "l.png"]) == 2
    assert "pip install 'gtp_fast[plot]'" in capsys.readouterr().err


def test_unusual_ways_to_act_have_columns_of_their_own(run: Run) -> None:
    assert "noise_scale" not in table([timing([1.0])])
    (plain,) = prepare(Options(str(run), batch=(1,), device=("cpu",)))
    assert (plain.rule, plain.noise_scale, plain.act_by) == (None, 1.0, "map")
    several = Options(
        str(run), batch=(1,), device=("cpu",), num_candidates=3, candidate_rule="mean"
    )
    (case,) = prepare(several)
    assert (case.candidates, case.rule) == (3, "mean")
    both = Options(str(run), batch=(1,), device=("cpu",), act_by=("map", "euler"))
    assert [case.act_by for case in prepare(both)] == ["map", "euler"]
    odd = Timing(1, 5, 3, "cpu", "native", "mean", 0.5, "euler", np.int64([1000]))
    head, _, first, second = table([timing([1.0]), odd]).splitlines()
    assert head.split()[5:8] == ["candidate_rule", "noise_scale", "act_by"]
    assert first.split()[5:8] == ["-", "1", "map"]
    assert second.split()[5:8] == ["mean", "0.5", "euler"]


def test_the_histogram_of_the_file_counts_every_call() -> None:
    stored = timing([1.0] * 90 + [1.5] * 9 + [40.0]).figures()["histogram"]
    edges, counts = stored["edges_us"], stored["counts"]
    assert len(edges) == len(counts) + 1 and sum(counts) == 100
    assert edges == sorted(edges) and edges[0] == 1.0 and edges[-1] == 40.0
    assert counts[-1] == 1, "the long tail is the last bin"
