"""Learning curves and critics of named runs as files: figures, commands, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence_cells import FACTS, SUMMARY
from fake_runs import SETTINGS, add_scores, make_run

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import critic_truth, evidence_critic, evidence_curves
from gtp_fast import agents, cli
from gtp_fast.errors import UserError
from gtp_fast.runs import Run, checkpoint, plain
from gtp_fast.runs.metrics import MetricsLog
from gtp_fast.training import config as training


def finished(path: Path, **changes: Any) -> Run:
    """Make a finished run of two seeds, evaluated after 50 and 100 updates."""
    run = make_run(path, task="pointmaze-umaze", seeds=[0, 1], steps=100, **changes)
    (run.path / "environment.json").write_text(json.dumps(FACTS))
    run.write_summary(SUMMARY)
    log = MetricsLog(run.metrics, (0, 1))
    for step, scores in ((50, [[0.0, 1.0], [0.0, 0.0]]), (100, [[1.0, 1.0], [0.0, 1.0]])):
        log.write(step - 10, {"weight_ess": [9.0, 9.0]})
        log.write(step, {"weight_ess": [0.5, step / 100]})
        add_scores(run, step, scores, [0, 1])
    return run


def test_the_file_has_curves_and_where_they_come_from(tmp_path: Path) -> None:
    runs = [str(finished(tmp_path / name).path) for name in ("one", "other")]
    output = tmp_path / "out.json"
    assert cli.run(evidence_curves.main, [*runs, "--output", str(output)]) == 0
    text = output.read_text()
    assert str(tmp_path) not in text
    first, second = json.loads(text)["runs"]
    assert first == second
    assert first["score"] == {"50": 25.0, "100": 75.0}
    assert first["last_score_of_each_seed"] == {"0": 100.0, "1": 50.0}
    assert first["weight_ess"] == {"50": 0.5, "100": 0.75} and "weight_correlation" not in first
    assert (first["git"], first["torch"], first["made_locally"]) == ("abcdef", "2.13.0", True)
    asked = training.parse(first["command"].split()[3:]).run
    assert (asked.task, asked.seeds, asked.steps) == ("pointmaze-umaze", (0, 1), 100)
    settings = agents.completed("gtp", Run(Path(runs[0])).config()["agent_settings"])
    made = training.parse(first["command"].split()[3:]).agent
    assert plain(dataclasses.asdict(made)) == plain(settings)


def test_the_shortest_of_the_last_episodes_alone_counts(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    rows = dict(np.load(run.evaluations))
    rows["length"] = np.array([1, 2, 3, 4, 70, 60, 80, 90])
    np.savez(run.evaluations, **rows)
    assert evidence_curves.record(str(run))["shortest_last_episode"] == 60


def test_a_run_that_gives_no_curve_is_refused(tmp_path: Path) -> None:
    short = finished(tmp_path / "short")
    short.write_summary(SUMMARY | {"updates": 60})
    with pytest.raises(UserError, match="has not finished: go on with it by --resume"):
        evidence_curves.record(str(short))
    own = SETTINGS | {"eta": [0.0, 2.0]}
    mixed = finished(tmp_path / "mixed", agent_settings=own)
    with pytest.raises(UserError, match="has seeds with settings of their own"):
        evidence_curves.record(str(mixed))


def test_a_run_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    run.evaluations.unlink()
    with pytest.raises(UserError, match="has not been evaluated yet"):
        evidence_curves.record(str(run))


def test_a_command_names_other_data_another_environment_and_what_was_kept(tmp_path: Path) -> None:
    changes = {"dataset": "/my/own", "dataset_id": "own/set-v0", "keep_checkpoints": "all"}
    run = finished(tmp_path / "run", **changes)
    run.write_summary(SUMMARY | {"environment": "Other-v1"})
    command = evidence_curves.record(str(run))["command"]
    assert "--dataset DATA --env Other-v1 " in command and "--keep-checkpoints all" in command
    assert "/my/own" not in command


def test_a_critic_is_judged_at_the_checkpoint_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(tmp_path / "run")
    loaded = checkpoint.load(run)
    earlier = checkpoint.save(run, 50, loaded.tensors, loaded.meta)
    asked = []

    def compared(options: critic_truth.Options) -> Any:
        asked.append(options)
        said = [np.array([1.0, 2.0, 3.0, 5.0]), np.zeros(4)]
        first = [np.array([1.0, 2.0, 3.0, 5.0]), np.array([2.0, 4.0, 6.0, 109.0])]
        return said, [first, [-first[0], -first[1]]]

    monkeypatch.setattr(critic_truth, "compared", compared)
    output = tmp_path / "out.json"
    argv = [str(run.path), str(earlier), "--states", "4", "--horizon", "7"]
    assert cli.run(evidence_critic.main, [*argv, "--output", str(output)]) == 0
    content = json.loads(output.read_text())
    assert (content["states"], content["horizon"]) == (4, 7)
    assert [one["update"] for one in content["runs"]] == [loaded.step, 50]
    assert [Path(one.run).name for one in asked] == [checkpoint.last(run).name, earlier.name]
    assert {(one.states, one.horizon) for one in asked} == {(4, 7)}
    first = content["runs"][0]
    assert first["correlations"]["Q"] == [1.0, -1.0, None]
    assert first["score"] == {"50": 25.0, "100": 75.0}
