"""The command `evaluate`: what it repeats, writes down and refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fake_environments
import gymnasium
import numpy as np
import pytest
from fake_policies import KEYS
from fake_runs import make_run

from gtp_fast import cli, evaluate
from gtp_fast.runs import checkpoint


def test_the_command_repeats_an_evaluation_and_writes_it_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(
        tmp_path / "run",
        evaluation={"environment": fake_environments.spec().to_json()},
        observation_keys=list(KEYS),
    )
    assert cli.run(evaluate.main, [str(run), "--episodes", "4", "--processes", "0"]) == 0
    said = capsys.readouterr().out
    for fact in ("some/set-v0", "Chaos-v0", "4 episodes for each of 2 seeds", "last checkpoint"):
        assert fact in said
    assert "K = 3, num_candidates = 1" in said
    assert "success rate" in said
    assert "normalised return" in said
    (path,) = (run.path / "evaluations").iterdir()
    written = json.loads(path.read_text())
    assert written["step"] == 60
    assert np.shape(written["per_episode"]["return"]) == (2, 4)
    assert cli.run(evaluate.main, [str(run), "--episodes", "4", "--environments", "1"]) == 0
    assert json.loads(path.read_text())["per_episode"] == written["per_episode"]
    assert cli.run(evaluate.main, [str(run), "--episodes", "4", "--k", "1"]) == 0
    other = run.path / "evaluations" / path.name.replace("-k3-", "-k1-")
    assert json.loads(other.read_text())["per_episode"] != written["per_episode"]
    assert written["noise_scale"] == 1.0 and "noise_scale = 1" in said
    assert cli.run(evaluate.main, [str(run), "--episodes", "4", "--noise-scale", "0"]) == 0
    assert "noise_scale = 0" in capsys.readouterr().out
    still = json.loads((path.parent / path.name.replace("-z1-", "-z0-")).read_text())
    assert still["noise_scale"] == 0.0 and still["per_episode"] != written["per_episode"]
    assert written["act_by"] == "map" and "act_by" not in said
    assert cli.run(evaluate.main, [str(run), "--episodes", "4", "--act-by", "euler"]) == 0
    said, mean = capsys.readouterr().out, "one Euler step gives about the mean action"
    assert "act_by = euler" in said and mean not in said
    one = [str(run), "--episodes", "4", "--act-by", "euler", "--k", "1"]
    assert cli.run(evaluate.main, one) == 0 and mean in capsys.readouterr().out
    steps = json.loads((path.parent / path.name.replace("-z1-", "-z1-euler-")).read_text())
    assert steps["act_by"] == "euler" and steps["per_episode"] != written["per_episode"]


def test_another_environment_has_files_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = gymnasium.spec("Short/Chaos-v0")
    run = make_run(
        tmp_path / "run", evaluation={"environment": own.to_json()}, observation_keys=list(KEYS)
    )
    words = [str(run), "--episodes", "2", "--processes", "0"]
    assert cli.run(evaluate.main, words) == 0
    (path,) = (run.path / "evaluations").iterdir()
    before = path.read_bytes()
    assert json.loads(before)["own_environment"] is True
    assert cli.run(evaluate.main, [*words, "--env", "Short/Chaos-v0"]) == 0
    assert [*path.parent.iterdir()] == [path]
    before = path.read_bytes()
    assert cli.run(evaluate.main, [*words, "--env", "Quiet/Chaos-v0"]) == 0
    assert path.read_bytes() == before
    other = json.loads(path.with_name(f"{path.stem}-Quiet-Chaos-v0.json").read_text())
    assert (other["environment"], other["own_environment"]) == ("Quiet/Chaos-v0", False)
    # The same id with other arguments is another environment too.
    changed = run.config() | {"evaluation": {"environment": fake_environments.spec().to_json()}}
    checkpoint.save(make_run(tmp_path / "changed", **changed), 90, checkpoint.load(run).tensors, {})
    words[0] = str(tmp_path / "changed")
    assert cli.run(evaluate.main, [*words, "--env", "Short/Chaos-v0"]) == 0
    (path,) = (tmp_path / "changed" / "evaluations").iterdir()
    assert path.stem.endswith("-2episodes-Short-Chaos-v0")
    assert "every episode is in" in capsys.readouterr().out


def test_a_checkpoint_that_was_copied_away_keeps_its_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(
        tmp_path / "run",
        evaluation={"environment": fake_environments.spec().to_json()},
        observation_keys=list(KEYS),
    )
    away = shutil.copytree(run.checkpoints / "step_000000060", tmp_path / "x" / "step_000000060")
    monkeypatch.chdir(run.checkpoints)
    for folder in (away, "step_000000060"):
        words = [str(folder), "--episodes", "1", "--processes", "0"]
        assert cli.run(evaluate.main, words) == 0
    for home in (away, run.path):
        (path,) = (home / "evaluations").iterdir()
        assert json.loads(path.read_text())["run"] == str(home)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "x"]


def test_best_and_last_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", evaluation={"environment": fake_environments.spec().to_json()})
    checkpoint.mark_best(run, run.checkpoints / "step_000000060", 1.0)
    checkpoint.save(run, 90, checkpoint.load(run).tensors, {})
    options = ["--episodes", "1", "--processes", "0"]
    assert cli.run(evaluate.main, [str(run), *options, "--checkpoint", "best"]) == 0
    assert "best checkpoint (update 60)" in capsys.readouterr().out
    assert cli.run(evaluate.main, [str(run), *options]) == 0
    assert "last checkpoint (update 90)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--k", "0"], "k = 0"),
        (["--weights", "both"], "Unknown weights 'both'"),
        (["--noise-scale", "11"], "noise_scale = 11 is out of range"),
        (["--checkpoint", "best"], "no best checkpoint"),
        (["--episodes", "-2"], "--episodes must be at least 1, not -2."),
        (["--episodes", "0"], "--episodes must be at least 1, not 0."),
        (["--seed", "-1"], "--seed must be at least 0, not -1."),
        (["--environments", "0"], "--environments must be at least 1, not 0."),
        (["--processes", "-1"], "--processes must be at least 0, not -1."),
        (["--env", "Pendulum-v1"], "no observation state, goal"),
        (["--episods", "3"], "did you mean --episodes"),
        (["--fqe-steps", "50"], "--fqe-steps needs --fqe"),
        (["--video-episodes", "5"], "--video-episodes needs --video: add it, or leave the number"),
        ([], "names no environment"),
    ],
)
def test_bad_options_are_one_sentence_and_exit_code_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    environment = {} if not options else {"environment": fake_environments.spec().to_json()}
    run = make_run(tmp_path / "run", evaluation=environment)
    assert cli.run(evaluate.main, [str(run), *options]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("gtp_fast: ")
    assert complaint in said


def test_another_environment_must_fit_as_in_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", observation_keys=[], observation_dim=11)
    assert cli.run(evaluate.main, [str(run), "--env", "Pendulum-v1"]) == 2
    said = "run does not fit Pendulum-v1: its states have 11 numbers, the environment's 3;"
    assert said in capsys.readouterr().err


def test_a_run_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(evaluate.main, [str(tmp_path / "nothing")]) == 2
    assert "no run folder or checkpoint" in capsys.readouterr().err
