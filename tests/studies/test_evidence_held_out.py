"""docs/held_out_error.json from run folders: its figures, its command, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from evidence_cells import FACTS, SUMMARY
from fake_runs import SETTINGS, add_scores, config

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import evidence_command, evidence_held_out
from gtp_fast import agents, cli, runs, tasks
from gtp_fast.errors import UserError
from gtp_fast.runs import Run
from gtp_fast.runs.metrics import MetricsLog
from gtp_fast.training import config as training


def held(
    root: Path, task: str, seeds: tuple[int, ...], errors: list[list[float]], **changes: Any
) -> Run:
    """Make a finished run whose errors, of 50 and of 100 updates, are given for each seed."""
    run = Run(root / f"{task}-{seeds[0]}")
    run.path.mkdir(parents=True)
    given = {"hold_out": 0.1, "evaluate_every": 50, "data": "episodes"} | changes
    run.write_config(config(task=task, seeds=list(seeds), **given))
    (run.path / "environment.json").write_text(json.dumps(FACTS | {"system": "not asked for"}))
    run.write_summary(SUMMARY)
    log = MetricsLog(run.metrics, seeds)
    for step, row in zip((50, 100), errors, strict=True):
        log.write(step, {"flow_loss": 9.0})
        log.write(step, {"held_out_error": row, "trained_error": [x / 2 for x in row]})
        add_scores(run, step, [[1.0, 0.0]] * len(seeds), list(seeds))
    return run


def test_the_file_has_the_figures_and_where_they_come_from(tmp_path: Path) -> None:
    made = [
        held(tmp_path, "pointmaze-umaze", (0, 1), [[0.1, 0.3], [0.4, 0.4]]),
        held(tmp_path, "pointmaze-umaze", (2,), [[0.5], [1.0]]),
        held(tmp_path, "pointmaze-large", (0,), [[0.7], [0.8]]),
    ]
    output = tmp_path / "out.json"
    argv = [*map(str, made), "--output", str(output)]
    assert cli.run(evidence_held_out.main, argv) == 0
    text = output.read_text()
    found = json.loads(text)
    assert found["held_out_error"] == {
        "pointmaze-umaze": {"50": 0.3, "100": 0.6}, "pointmaze-large": {"50": 0.7, "100": 0.8},
    }  # fmt: skip
    assert found["trained_error"]["pointmaze-umaze"] == {"50": 0.15, "100": 0.3}
    assert found["score"]["pointmaze-large"] == {"50": 50.0, "100": 50.0}
    assert str(tmp_path) not in text
    # The command is one that gtp_fast.train takes, and it makes such runs.
    words = found["command"].replace("TASK", "pointmaze-large").replace("SEEDS", "0").split()
    assert words[:3] == ["python", "-m", "gtp_fast.train"]
    asked = training.parse(words[3:])
    run, settings = asked.run, made[0].config()["agent_settings"]
    assert (run.steps, run.episodes, run.evaluate_every, run.hold_out) == (100, 3, 50, 0.1)
    completed = agents.completed("gtp", settings)
    assert runs.plain(dataclasses.asdict(asked.agent)) == runs.plain(completed)
    first = found["runs"][0]
    assert (first["task"], first["seeds"], first["torch"]) == ("pointmaze-umaze", [0, 1], "2.13.0")
    assert (first["git"], first["made_locally"], first["transitions"]) == ("abcdef", True, 1234)
    assert first["settings"]["width"] == 16 and len(found["runs"]) == 3


def test_options_are_written_as_the_command_line_takes_them() -> None:
    words = evidence_command._words
    assert words("cosine_decay", False) == "--no-cosine-decay"
    assert words("learning_rate", [0.5, 1.0]) == "--learning-rate 0.5 1.0"
    assert words("weight_decay", 0.1) == "--weight-decay 0.1"


def test_a_command_names_rules_of_the_data_and_standardised_observations(tmp_path: Path) -> None:
    usual = runs.plain(dataclasses.asdict(tasks.find("pointmaze-umaze").rules))
    chosen = {"rules": usual | {"reward": "quarter"}, "observation_mean": [0.0, 1.0, 2.0]}
    run = held(tmp_path, "pointmaze-umaze", (0,), [[0.1], [0.2]], **chosen)
    command = evidence_held_out.collect([str(run)])["command"]
    assert command.endswith(" --normalise-observations --reward quarter")
    plain = held(tmp_path / "plain", "pointmaze-umaze", (0,), [[0.1], [0.2]], rules=usual)
    command = evidence_held_out.collect([str(plain)])["command"]
    assert "--reward" not in command and "--normalise" not in command


def test_a_command_names_what_else_was_chosen_and_nothing_that_was_not(tmp_path: Path) -> None:
    chosen = {"preset": "paper", "precision": "bf16", "evaluate_every": None}
    run = held(tmp_path, "pointmaze-umaze", (0,), [[0.1], [0.2]], **chosen)
    command = evidence_held_out.collect([str(run)])["command"]
    assert "--preset paper --precision bf16" in command and "None" not in command


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    one = held(tmp_path, "pointmaze-umaze", (0,), [[0.1], [0.2]])
    wide = SETTINGS | {"width": 32}
    other = held(tmp_path / "w", "pointmaze-umaze", (1,), [[0.1], [0.2]], agent_settings=wide)
    none = held(tmp_path / "n", "pointmaze-umaze", (2,), [[0.1], [0.2]], hold_out=0.0)
    cases = (
        ([one, other], "differ in task and seeds alone"),
        ([none], "holds no episodes out"),
        ([one, one], "differ in task and seeds alone"),
    )
    for folders, said in cases:
        with pytest.raises(UserError, match=said):
            evidence_held_out.collect([str(run) for run in folders])
    one.write_summary(SUMMARY | {"updates": 60})
    with pytest.raises(UserError, match="has not finished"):
        evidence_held_out.collect([str(one)])


def test_a_seed_without_an_error_is_refused(tmp_path: Path) -> None:
    nan = float("nan")
    lost = held(tmp_path, "pointmaze-umaze", (0, 1), [[0.1, 0.2], [0.3, nan]])
    with pytest.raises(UserError, match="has a held_out_error after update 100"):
        evidence_held_out.collect([str(lost)])
    lost.metrics.unlink()
    MetricsLog(lost.metrics, (0, 1)).write(50, {"flow_loss": 1.0})
    with pytest.raises(UserError, match="has a held_out_error at all"):
        evidence_held_out.collect([str(lost)])
