"""What a run says of its guidance: made-up figures, and runs of a few updates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fake_environments
import numpy as np
import pytest
import sets
from fake_runs import add_scores, config

from gtp_fast import cli, report, train
from gtp_fast.runs import Run, guidance, metrics
from gtp_fast.runs.metrics import MetricsLog
from gtp_fast.training import start

SOUND = {
    "weight_ess": 0.6, "weight_correlation": 0.8, "weight_quartile_1": 1.0,
    "weight_quartile_2": 1.1, "weight_quartile_3": 1.2, "weight_quartile_4": 1.3,
    "map_error": 0.11, "euler_error": 0.1, "map_std": 0.3, "action_std_one_jump": 0.2,
}  # fmt: skip


def columns(path: Path, *rows: tuple[int, dict[str, float | list[float]]]) -> guidance.Columns:
    """Write a metrics.csv of two seeds with the given changes of SOUND by step, and read it."""
    log = MetricsLog(path / "metrics.csv", (4, 7))
    for step, changes in rows:
        log.write(step, {"loss": 0.5})
        log.write(step, {**SOUND, **changes})
    return guidance.read(log.path)


def test_a_metrics_table_reads_back_as_numbers(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.csv", (3, 9))
    log.write(1, {"loss": [0.5, 1.5]})
    log.write(2, {"score": 7.0})
    found = metrics.read(log.path)
    assert {name: column.tolist()[:2] for name, column in found.items() if name != "score"} == {
        "step": [1, 1], "seed": [3, 9], "loss": [0.5, 1.5],
    }  # fmt: skip
    assert np.isnan(found["score"][:2]).all() and found["score"][2:].tolist() == [7, 7]
    log.path.write_text("step,seed,loss\n")
    assert [len(column) for column in metrics.read(log.path).values()] == [0, 0, 0]


def test_a_sound_run_has_figures_and_no_warning(tmp_path: Path) -> None:
    found = columns(tmp_path, (50, {"weight_ess": 0.4}), (100, {}))
    assert guidance.last(found) == pytest.approx(SOUND)
    assert guidance.sentences(found, 100, "map") == {}
    assert guidance.shown(guidance.last(found)) == {"ess": "0.60", "r": "0.80"}
    said = guidance.describe(guidance.last(found))
    assert said.startswith("ess 0.60, r 0.80, w by quartile of score 1.00 1.10 1.20 1.30, error")
    assert "0.11 by the map, 0.1 by Euler, deviation 0.3 by K steps, 0.2 by one jump" in said


@pytest.mark.parametrize(
    ("changes", "kind", "fault"),
    [
        ({"weight_ess": [0.1, 0.45]}, "guidance", "ess"),
        ({"weight_correlation": [0.2, 0.7]}, "guidance", "correlation"),
        ({"weight_quartile_4": 0.94}, "guidance", "order"),
        ({"map_error": 0.121}, "map", "map"),
    ],
)
def test_each_fault_is_named_with_what_mends_it(
    tmp_path: Path, changes: dict[str, float | list[float]], kind: str, fault: str
) -> None:
    ((found, sentence),) = guidance.sentences(columns(tmp_path, (60, changes)), 100, "map").items()
    assert found == kind
    assert [name for name, mend in guidance.MENDS.items() if mend in sentence] == [fault]
    assert sentence.endswith(".") and ". " not in sentence


@pytest.mark.parametrize(
    "changes",
    [
        {"weight_ess": 0.3},
        {"weight_correlation": [0.3, 0.7]},
        {"weight_quartile_4": 0.96},
        {"map_error": 0.119},
    ],
)
def test_at_its_limit_a_figure_is_sound(
    tmp_path: Path, changes: dict[str, float | list[float]]
) -> None:
    assert guidance.sentences(columns(tmp_path, (60, changes)), 100, "map") == {}


def test_a_map_that_lags_is_a_fault_only_where_it_acts(tmp_path: Path) -> None:
    found = columns(tmp_path, (60, {"map_error": 9.0}))
    assert set(guidance.sentences(found, 100, "map")) == {"map"}
    assert guidance.sentences(found, 100, "euler") == {}


def test_only_the_second_half_is_judged_and_by_its_mean(tmp_path: Path) -> None:
    noted = [(40, {"weight_ess": 0.0, "map_error": 9.0}), (60, {"weight_ess": 0.2}), (90, {})]
    assert guidance.sentences(columns(tmp_path, *noted[:1]), 100, "map") == {}
    (tmp_path / "metrics.csv").unlink()
    found = columns(tmp_path, *noted)
    # Of 0, 0.2 and 0.6 the last two make 0.4, all three 0.27.
    assert guidance.sentences(found, 100, "map") == {}
    assert set(guidance.sentences(found, 80, "map")) == {"guidance", "map"}


def test_seeds_without_guidance_are_no_part_of_its_figures(tmp_path: Path) -> None:
    mixed = columns(tmp_path, (60, {"weight_ess": [1.0, 0.2]}))
    assert guidance.last(mixed)["weight_ess"] == pytest.approx(0.2)
    assert "guidance" in guidance.sentences(mixed, 100, "map")
    (tmp_path / "metrics.csv").unlink()
    alike = {name: 1.0 for name in SOUND if name.startswith("weight")}
    clone = columns(tmp_path, (60, alike))
    assert guidance.shown(guidance.last(clone)) == {}
    assert guidance.sentences(clone, 100, "map") == {}
    assert guidance.describe(guidance.last(clone)).startswith("error of the mean action")


def test_a_run_guided_by_episodes_alone_shows_its_order_and_is_judged_by_it(
    tmp_path: Path,
) -> None:
    alone = {"weight_ess": 1.0, "weight_correlation": 1.0, "weight_quartile_2": float("nan")}
    found = columns(tmp_path, (60, alone))
    figures = guidance.last(found)
    assert not {"weight_ess", "weight_correlation"} & figures.keys()
    assert guidance.shown(figures) == {} and guidance.sentences(found, 100, "map") == {}
    assert guidance.describe(figures).startswith("w by quartile of score 1.00 1.20 1.30, error")
    (tmp_path / "metrics.csv").unlink()
    worse = columns(tmp_path, (60, alone | {"weight_quartile_4": 0.5}))
    said = guidance.sentences(worse, 100, "map")["guidance"]
    # What such a run does already mends nothing.
    assert guidance.MENDS["draws"] in said and "--trajectory-eta 3" not in said
    assert "--advantage-start" not in said


@pytest.mark.parametrize("kind", ["correlation", "order"])
def test_a_mend_of_weights_names_its_options(kind: str) -> None:
    assert "--advantage-start None with --trajectory-eta 3" in guidance.MENDS[kind]


def test_quartiles_without_a_row_are_left_out_of_the_order(tmp_path: Path) -> None:
    nan = float("nan")
    gaps = {"weight_quartile_2": nan, "weight_quartile_4": nan, "weight_quartile_3": 0.5}
    found = columns(tmp_path, (60, gaps))
    assert "the best episodes have the mean weight 0.50, the worst 1.00" in str(
        guidance.sentences(found, 100, "map")
    )
    assert "w by quartile of score 1.00 0.50," in guidance.describe(guidance.last(found))


def test_tables_without_such_figures_say_nothing(tmp_path: Path) -> None:
    assert guidance.read(tmp_path / "absent.csv") == {}
    MetricsLog(tmp_path / "metrics.csv", (0,)).write(5, {"loss": 1.0})
    MetricsLog(tmp_path / "diverged.csv", (0,)).write(5, dict.fromkeys(SOUND, float("nan")))
    assert guidance.read(tmp_path / "diverged.csv") == {}
    found = guidance.read(tmp_path / "metrics.csv")
    assert found == {} and guidance.last(found) == {} and guidance.sentences(found, 5, "map") == {}


def test_the_report_has_a_line_for_each_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for name in ("healthy", "ill", "silent"):
        run = Run(tmp_path / name)
        run.path.mkdir()
        run.write_config(config(steps=100))
        add_scores(run, 100, [[1.0], [0.0]], [4, 7])
        if name != "silent":
            columns(run.path, (100, {"weight_ess": 0.6 if name == "healthy" else 0.1}))
        paths.append(str(run))
    assert cli.run(report.main, paths) == 0
    lines = [
        line for line in capsys.readouterr().out.splitlines() if ": ess " in line or "noise" in line
    ]
    assert [line.split(",")[0] for line in lines[:2]] == [
        f"{tmp_path / 'healthy'}: ess 0.60",
        f"{tmp_path / 'ill'}: ess 0.10",
    ]
    assert lines[2].startswith("  Value guidance is mostly noise: the effective sample size")
    assert len(lines) == 3


# --- runs -----------------------------------------------------------------------------------------

TINY = [
    "--width", "8", "--k", "2", "--batch-size", "8", "--episodes", "1", "--steps", "20",
    "--evaluate-every", "10", "--seeds", "0", "5", "--device", "cpu", "--processes", "1",
    "--preset", "paper",
]  # fmt: skip


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the command of a run of 20 updates on a tiny set, in an environment of its shape."""
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "cache"))
    np.savez(tmp_path / "x.npz", **sets.flat(width=2))
    environment = fake_environments.spec(flat=True).to_json()
    monkeypatch.setattr(start, "evaluation_place", lambda *_: start.Place(environment))
    places = ["--dataset", str(tmp_path / "x.npz"), "--output", str(tmp_path / "runs")]
    return ["--task", "hopper-medium", *places, *TINY]


def only_run(output: Path) -> Run:
    (path,) = output.iterdir()
    return Run(path)


def test_an_evaluated_run_notes_its_health_and_warns_once(
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guidance, "LEAST_CORRELATION", 1.1)
    assert cli.run(train.main, arguments) == 0
    said = capsys.readouterr().err
    # Both evaluations lie in the second half.
    assert said.count("Value guidance is mostly noise") == 1
    assert guidance.MENDS["correlation"] in said
    assert "ess=" in said and "r=" in said and "critic_loss=" in said
    run = only_run(tmp_path / "runs")
    found = metrics.read(run.metrics)
    noted = found["step"][~np.isnan(found["weight_ess"])]
    assert noted.tolist() == [10, 10, 20, 20]
    scored = ~np.isnan(found["evaluation_score"])
    assert np.array_equal(scored, ~np.isnan(found["map_error"]))
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["health"] == pytest.approx(guidance.last(guidance.read(run.metrics)))
    assert "two draws of the weights correlate" in summary["warnings"][0]


def test_a_run_without_evaluation_notes_its_health_at_each_checkpoint(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "evaluation_place", lambda *_: start.Place(None))
    assert (
        cli.run(train.main, [*arguments, "--checkpoint-every", "8", "--evaluate-every", "5"]) == 0
    )
    found = metrics.read(only_run(tmp_path / "runs").metrics)
    assert found["step"][~np.isnan(found["weight_ess"])].tolist() == [8, 8, 16, 16, 20, 20]


def test_a_clone_shows_nothing_of_guidance(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(train.main, [*arguments, "--eta", "0"]) == 0
    said = capsys.readouterr().err
    assert "ess=" not in said and "Value guidance" not in said
    # Its critic learns nothing; the table keeps the column.
    assert "critic_loss=" not in said and "flow_loss=" in said
    columns = metrics.read(only_run(tmp_path / "runs").metrics)
    assert not np.nansum(np.abs(columns["critic_loss"]))
    summary = json.loads((only_run(tmp_path / "runs").path / "summary.json").read_text())
    assert "weight_ess" not in summary["health"] and "map_error" in summary["health"]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_weights_show_from_the_update_that_they_act_in(
    arguments: list[str], tmp_path: Path, processes: str
) -> None:
    more = ["--processes", processes, "--advantage-start", "10", "--evaluate-every", "5"]
    assert cli.run(train.main, [*arguments, *more]) == 0
    path = only_run(tmp_path / "runs").path
    found = guidance.read(path / "metrics.csv")
    guided = found["weight_ess"] < 1.0
    assert guided.tolist() == (found["step"] > 10).tolist()


def test_a_resumed_run_shows_weights_from_the_update_that_they_act_in(
    arguments: list[str], tmp_path: Path
) -> None:
    more = ["--advantage-start", "10", "--checkpoint-every", "10"]
    assert cli.run(train.main, [*arguments, *more]) == 0
    run = only_run(tmp_path / "runs")
    # As if the run had been stopped within its evaluation after update 10.
    shutil.rmtree(run.checkpoints / "step_000000020")
    run.evaluations.unlink()
    assert cli.run(train.main, ["--resume", str(run.path), "--processes", "1"]) == 0
    found = guidance.read(run.metrics)
    assert found["step"].tolist() == [10] * 4 + [20] * 2
    assert (found["weight_ess"] < 1.0).tolist() == (found["step"] > 10).tolist()
