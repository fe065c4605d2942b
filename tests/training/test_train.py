"""The training command as a user meets it: it trains, and refuses in one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from train_runs import arguments, only_run, refusal

from gtp_fast import cli, train
from gtp_fast.runs import checkpoint
from gtp_fast.runs.evaluations import read
from gtp_fast.system import native
from gtp_fast.training import config


def test_a_run_leaves_everything_a_user_expects(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = arguments(dataset, tmp_path, "--steps", "10", "--seeds", "0", "7", "--eta", "0", "3")
    assert cli.run(train.main, args) == 0
    run = only_run(tmp_path)
    written = {
        "config.yaml",
        "environment.json",
        "metrics.csv",
        "evaluations.npz",
        "summary.json",
        "checkpoints",
    }
    assert written <= {path.name for path in run.iterdir()}
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["agent_settings"]["eta"] == [0.0, 3.0]
    assert config["agent_settings"]["discount"] == 0.99
    rows = read(run / "evaluations.npz")
    last = rows["step"] == 10
    assert sorted(set(rows["seed"][last])) == [0, 7]
    assert last.sum() == 4
    out = capsys.readouterr().out
    for fact in (
        "local/pointmaze/demo-v0",
        "made locally",
        "K = 2",
        "num_candidates = 1",
        "2 episodes a seed",
        "standard deviation over 2 seeds (",
        "each advances 2 seeds;",
        str(run),
    ):
        assert fact in out
    formats = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    summary = json.loads((run / "summary.json").read_text())
    keys = [*config, *config["rules"], *summary, *summary["data"], *summary["last"]]
    assert [key for key in keys if f"`{key}`" not in formats] == []


def test_one_seed_has_no_deviation(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = arguments(dataset, tmp_path, "--steps", "2", "--eta", "0", "--episodes", "1")
    assert cli.run(train.main, args) == 0
    out = capsys.readouterr().out
    assert "1 episode a seed" in out and "each advances 1 seed;" in out
    assert "+-" not in out and "over 1 seed" not in out
    assert "evaluation  1 episode as asked; the protocol has 100\n" in out


def test_unknown_names_are_refused_with_the_nearest_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "antmaze-large-diverse" in refusal(["--task", "antmaze-large-divers"], capsys)
    assert "gtp" in refusal(["--task", "pointmaze-demo", "--agent", "gpt"], capsys)
    assert "--steps" in refusal(["--task", "pointmaze-demo", "--step", "3"], capsys)
    assert "--task" in refusal([], capsys)


def test_engine_that_cannot_be_had_is_an_error(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = arguments(dataset, tmp_path, "--device", "cpu")
    assert "a CUDA graph needs a CUDA GPU" in refusal([*args, "--engine", "captured"], capsys)
    assert "Unknown engine 'quick'" in refusal([*args, "--engine", "quick"], capsys)
    both = ["--engine", "fused", "--backend", "reference"]
    assert "leave out --backend reference" in refusal([*args, *both], capsys)
    assert "--processes 2 is too many for 1 seed" in refusal([*args, "--processes", "2"], capsys)
    assert "at least 1" in refusal([*args, "--processes", "0"], capsys)
    assert not any(tmp_path.iterdir())


def test_what_cannot_be_had_is_said_before_a_dataset_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "_find", lambda: (None, "nobody built it"))
    args = ["--task", "pointmaze-demo", "--dataset", str(tmp_path / "absent.npz")]
    args += ["--device", "cpu"]
    assert "there is no file" in refusal(args, capsys)
    assert "a CUDA graph needs" in refusal([*args, "--engine", "captured"], capsys)
    for option in ("--engine", "--backend"):
        assert "nobody built it" in refusal([*args, option, "fused"], capsys)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_one_seed_that_diverges_does_not_stop_the_others(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], processes: str
) -> None:
    rates = ("--learning-rate", "3e-4", "1e30")
    options = ("--steps", "40", "--seeds", "3", "8", *rates, "--processes", processes)
    assert cli.run(train.main, arguments(dataset, tmp_path, *options)) == 0
    said = capsys.readouterr()
    assert said.err.count("of seed 8 diverged at update") == 1
    assert "seed 8 diverged at update" in said.out
    summary = json.loads((only_run(tmp_path) / "summary.json").read_text())
    assert list(summary["diverged"]) == ["8"]
    assert summary["engine"].startswith(("fused (", "eager ("))


def test_settings_that_do_not_fit_are_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--eta has 2 values for 3 seeds" in refusal(
        arguments(dataset, tmp_path, "--eta", "1", "2", "--seeds", "0", "1", "2"), capsys
    )
    assert "none twice" in refusal(arguments(dataset, tmp_path, "--seeds", "1", "1"), capsys)
    for seed in ("-1", str(2**63), str(10**20)):
        said = refusal(arguments(dataset, tmp_path, "--seeds", "0", seed), capsys)
        assert f"--seeds must be whole numbers from 0 to {2**63 - 1}, not {seed}." in said
    assert "at least 1" in refusal(arguments(dataset, tmp_path, "--steps", "0"), capsys)
    never = refusal(arguments(dataset, tmp_path, "--steps", "4", "--evaluate-every", "-5"), capsys)
    assert "--evaluate-every must be at least 0" in never and "not -5" in never
    assert "--discount 1.5 is out of range" in refusal(
        arguments(dataset, tmp_path, "--discount", "1.5"), capsys
    )
    assert "u-mode" in refusal(arguments(dataset, tmp_path, "--u-mode", "sideways"), capsys)
    assert "no run folder" in refusal(["--resume", str(tmp_path / "absent")], capsys)
    for words in (["--resume"], ["--resume="], ["--resume", "--task", "hopper-medium"]):
        assert "--resume needs a run folder." in refusal(words, capsys)
    assert "leave out --steps" in refusal(["--resume", "somewhere", "--steps", "9"], capsys)


def test_without_a_critic_the_tasks_candidates_are_left_out(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = ["--task", "hopper-medium", "--agent", "diffusion-ql"]
    assert config.parse(theirs).agent.num_candidates == 50
    assert config.parse([*theirs, "--eta", "0", "2"]).agent.num_candidates == 50
    assert config.parse([*theirs, "--eta", "0"]).agent.num_candidates == 1
    cloned = [*theirs, "--eta", "0", "--num-candidates=50"]
    assert config.parse(cloned).agent.num_candidates == 50
    for agent in ("consistency-ac", "gtp"):
        options = ("--agent", agent, "--eta", "0", "--num-candidates", "3")
        said = refusal(arguments(dataset, tmp_path, *options), capsys)
        assert "--num-candidates 3 needs a critic to choose with" in said
    assert list(tmp_path.iterdir()) == []


def test_a_rule_that_was_asked_for_is_taken_though_it_is_the_tasks_own() -> None:
    task = ["--task", "antmaze-umaze"]
    given = [*task, "--goal", "concat", "--no-clip-actions", "--cut-at-goal", "--width", "16"]
    own = {"goal": "concat", "clip_actions": False, "cut_at_goal": True}
    assert config.parse(given).asked_rules == own
    assert config.parse(task).asked_rules == {}
    assert config.of_keywords(None, "gtp", {"task": task[1], **own}).asked_rules == own


def test_a_loss_that_is_not_finite_stops_the_run(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (
        "--steps",
        "200",
        "--evaluate-every",
        "0",
        "--checkpoint-every",
        "1",
        "--learning-rate",
        "1e18",
    )
    said = refusal(arguments(dataset, tmp_path, *options), capsys)
    assert "diverged at update" in said
    assert "of seed 0" in said and "a lower --learning-rate" in said
    last = checkpoint.last(only_run(tmp_path))
    assert last is not None
    assert str(last) in said
    assert all(
        np.isfinite(t.numpy()).all() for t in checkpoint.load(only_run(tmp_path)).tensors.values()
    )


def test_help_shows_what_people_use_and_where_the_rest_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        train.main(["--task", "pointmaze-demo", "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    # Options open a line, after its frame; their texts name others.
    shown = re.findall(r"^\W?\W?(--[a-z][a-z-]+)", out, re.MULTILINE)
    assert 10 <= len(set(shown)) <= 15
    assert "--help-all lists every option" in " ".join(out.split())
    assert "--eta" in out and "--trajectory-eta" in out and "--lambda-flow" not in out


def test_help_says_the_task_of_its_defaults_where_none_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = "Defaults shown are those of antmaze-large-diverse"
    for words, shown in (["--help"], True), (["--help", "--dataset", "my.npz"], False):
        with pytest.raises(SystemExit):
            train.main(words)
        assert (said in " ".join(capsys.readouterr().out.split())) == shown


def test_help_all_shows_the_settings_of_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        train.main(["--task", "pointmaze-demo", "--help-all"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    for option in (
        "--eta",
        "--k",
        "--lambda-flow",
        "--u-mode",
        "--goal",
        "--collect",
        "--resume",
        "--engine",
        "--backend",
    ):
        assert option in out
    assert "0.02" in out
