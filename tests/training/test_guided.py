"""What an option asks of a run's guidance: brought about and said, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gtp_fast.errors import UserError
from gtp_fast.studies.sweeps import plan
from gtp_fast.training import config

SHORT = ["--task", "hopper-medium", "--steps", "1000"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--eta", "2", "--advantage-start", "None"], "--eta does nothing in a run without"),
        (["--value-samples", "4", "--advantage-start", "None"], "--value-samples does nothing"),
        (
            ["--trajectory-eta", "0", "--trajectory-maximum", "5"],
            "--trajectory-maximum does nothing with --trajectory-eta 0",
        ),
        (["--objective", "linear-q", "--eta", "2"], "--eta does nothing with --objective linear-q"),
        (["--preset", "paper", "--trajectory-piece", "25"], "--trajectory-piece does nothing"),
        (["--advantage-start", "1000"], "lies behind the last of 1,000 updates"),
        (["--agent", "bc", "--preset", "paper"], "--preset paper is gtp's alone"),
    ],
)
def test_guidance_that_would_never_act_is_refused(given: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        config.parse([*SHORT, *given])


@pytest.mark.parametrize(
    "given",
    [
        ["--eta", "2"],
        ["--eta=0.5"],
        ["--eta", "0", "1", "--seeds", "0", "1", "--trajectory-eta", "0"],
        ["--value-samples", "4"],
        ["--critic-ema-rate", "0.02"],
    ],
)
def test_what_is_asked_of_the_critic_brings_one(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert config.parse([*SHORT, *given]).agent.advantage_start == 0
    assert f"{given[0].split('=')[0]} asks for weights by advantage" in capsys.readouterr().err
    assert config.parse([*SHORT, "--eta", "0"]).agent.advantage_start is None


@pytest.mark.parametrize(
    "option",
    [
        "--value-by=network",
        "--advantage-scale=mad",
        "--weight-maximum=3",
        "--critic-ema-rate=0.02",
        "--trajectory-eta=2",
        "--trajectory-piece=25",
    ],
)
@pytest.mark.parametrize("more", [[], ["--advantage-start", "0"]])
def test_what_is_asked_of_guidance_that_eta_0_leaves_out_is_refused(
    option: str, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=f"{option.split('=')[0]} does nothing with --eta 0"):
        config.parse([*SHORT, "--eta", "0", option, *more])
    assert "so a critic learns" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--lambda-q 1", "--lambda-q does nothing with --objective gtp: leave it out, or take --"),
        ("--objective consistency --lambda-q 1", "nothing with --objective consistency"),
        ("--solver heun", "take --objective solver or flow"),
        ("--objective flow --solver-steps 9", "take --objective solver."),
        ("--objective flow --u-mode uniform", "--u-mode does nothing with --objective flow"),
        ("--objective shortcut --u-mode uniform", "--u-mode does nothing"),
        ("--objective flow --huber", "--huber does nothing"),
        ("--first-nodes 9 --last-nodes 8", "--first-nodes 9 is more than --last-nodes 8"),
        ("--agent iql --max-q-backup 10", "--max-q-backup does nothing in iql"),
        ("--agent diffusion-ql --eta 0 --max-q-backup 3", "--max-q-backup does nothing with"),
        ("--agent consistency-ac --eta 0 --critic-learning-rate 1", "trains no critic"),
    ],
)
def test_an_option_that_the_run_does_not_read_is_refused(words: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        config.parse([*SHORT, *words.split()])


@pytest.mark.parametrize(
    "words",
    ["--objective linear-q --lambda-q 1", "--objective flow --solver heun", "--first-nodes 20",
     "--objective flow --solver-steps 3 --u-mode adjacent", "--lambda-q 0.01",
     "--agent diffusion-ql --eta 0 --max-q-backup 0", "--first-nodes 9",
     "--objective solver --solver heun --solver-steps 2 --u-mode uniform --huber",
     "--first-nodes 600 --last-nodes 600", "--agent diffusion-ql --max-q-backup 3",
     "--advantage-start 999"],
)  # fmt: skip
def test_an_option_that_the_run_reads_is_taken(words: str) -> None:
    config.parse([*SHORT, *words.split()])


def test_a_clone_may_say_that_no_episode_guides_it_either() -> None:
    assert config.parse([*SHORT, "--eta", "0", "--trajectory-eta", "0"]).agent.eta == (0.0,)


@pytest.mark.parametrize("rule", ["argmax", "mean"])
def test_a_rule_for_one_candidate_is_refused(rule: str) -> None:
    words = [*SHORT, "--candidate-rule", rule]
    with pytest.raises(UserError, match=f"--candidate-rule {rule} has one candidate"):
        config.parse(words)
    given = [*words, "--num-candidates", "4", "--advantage-start", "0"]
    assert config.parse(given).agent.candidate_rule == rule
    theirs = ["--agent", "diffusion-ql", "--candidate-rule", "argmax"]
    assert config.parse([*SHORT, *theirs]).agent.num_candidates == 50


def test_candidates_of_a_run_without_a_critic_are_refused_with_what_brings_one() -> None:
    words = [*SHORT, "--num-candidates", "2"]
    with pytest.raises(UserError, match="this run trains none: add --advantage-start 0, leave it"):
        config.parse(words)
    for more in (["--advantage-start", "0"], ["--eta", "2"], ["--candidate-rule", "mean"]):
        assert config.parse([*words, *more]).agent.num_candidates == 2


def test_a_default_eta_that_is_given_changes_no_run_and_says_what_it_lacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = config.parse(SHORT).agent
    assert "note" not in capsys.readouterr().err
    assert config.parse([*SHORT, "--eta", "1"]).agent == plain
    assert "note: --eta 1 is the default and has no effect" in capsys.readouterr().err
    assert config.parse([*SHORT, "--eta", "1", "--advantage-start", "0"]).agent.eta == (1.0,)
    assert "has no effect" not in capsys.readouterr().err


CLONES = "note: --trajectory-eta 0 without a critic guides by nothing, so this run clones the data"


@pytest.mark.parametrize(
    ("given", "clones"),
    [
        (["--trajectory-eta", "0"], True),
        (["--task", "pointmaze-demo", "--advantage-start", "None"], True),
        ([], False),
        (["--trajectory-eta", "0", "--advantage-start", "0"], False),
        (["--trajectory-eta", "0", "--value-samples", "4"], False),
        (["--trajectory-eta", "0", "--eta", "0"], False),
        (["--trajectory-eta", "0", "--objective", "linear-q"], False),
        (["--trajectory-eta", "0", "--preset", "paper"], False),
    ],
)
def test_a_run_that_nothing_guides_says_that_it_clones(
    given: list[str], clones: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    config.parse([*SHORT, *given])
    said = capsys.readouterr().err
    assert (CLONES in said) == clones
    assert not clones or "add --advantage-start 0 for the paper's weights." in said


def test_a_first_stage_longer_than_the_last_is_lowered_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config.parse([*SHORT, "--first-nodes", "20"])
    assert "--first-nodes 20 is lowered to the 10 of the last stage" in capsys.readouterr().err
    config.parse([*SHORT, "--first-nodes", "20", "--last-nodes", "30"])
    assert not capsys.readouterr().err


def test_runs_of_a_sweep_share_options_that_not_all_of_them_read(tmp_path: Path) -> None:
    texts = [
        "base: {task: hopper-medium}\ngrid: {objective: [gtp, flow], u_mode: [adjacent, uniform]}",
        "base: {task: hopper-medium, lambda_q: 0.1}\ngrid: {objective: [gtp, linear-q]}",
        "base: {task: hopper-medium, agent: diffusion-ql, max_q_backup: 10}\ngrid: {eta: [0, 1]}",
    ]
    for text, runs in zip(texts, (4, 2, 2), strict=True):
        (tmp_path / "sweep.yaml").write_text(text)
        assert len(plan.read(tmp_path / "sweep.yaml")) == runs
