"""What GTP's settings are where none is given: by task, by length of the run, by preset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_runs import make_run

from gtp_fast import agents, cli, tasks, train
from gtp_fast.agents import task_settings
from gtp_fast.agents.gtp import GTPConfig
from gtp_fast.errors import UserError
from gtp_fast.policy import restore
from gtp_fast.training import config

MAZE = "antmaze-umaze"


def settings(name: str = MAZE, *given: Any) -> GTPConfig:
    found: GTPConfig = agents.defaults("gtp", tasks.find(name), *given)[1]
    return found


def test_short_runs_learn_fast() -> None:
    for short in (settings(MAZE, 200_000), settings(MAZE, task_settings.SHORT - 1)):
        assert short.cosine_decay and short.learning_rate > GTPConfig().learning_rate


def test_long_runs_have_the_papers_rates() -> None:
    long, maze = settings(MAZE, task_settings.SHORT), tasks.find(MAZE)
    assert long.learning_rate == GTPConfig().learning_rate and not long.cosine_decay
    assert settings(MAZE) == settings(MAZE, maze.updates)


@pytest.mark.parametrize("steps", [1000, task_settings.SHORT, 2_000_000])
def test_no_length_trains_a_critic_that_was_not_asked_for(steps: int) -> None:
    words = ["--task", MAZE, "--steps", str(steps)]
    assert config.parse(words).agent.advantage_start is None
    assert config.parse([*words, "--advantage-start", "900"]).agent.advantage_start == 900
    assert config.parse([*words, "--preset", "paper"]).agent.advantage_start == 0


@pytest.mark.parametrize(
    ("given", "acts"),
    [
        (["--steps", "1000"], "euler"),
        (["--steps", "1000", "--eta", "0"], "euler"),
        (["--steps", "1000", "--act-by", "map"], "map"),
        (["--steps", str(task_settings.SHORT)], "map"),
        (["--steps", "1000", "--preset", "paper"], "map"),
        # Q reaches the map alone, flow acts by --solver, and without its loss no flow is trained.
        (["--steps", "1000", "--objective", "linear-q"], "map"),
        (["--steps", "1000", "--objective", "flow"], "map"),
        (["--steps", "1000", "--lambda-flow", "0"], "map"),
        (["--steps", "1000", "--k", "1"], "map"),
        (["--steps", "1000", "--task", "pointmaze-demo"], "map"),
    ],
)
def test_short_runs_act_by_their_flow(given: list[str], acts: str) -> None:
    assert config.parse(["--task", MAZE, *given]).agent.act_by == acts


def test_runs_of_any_length_are_guided_by_episodes() -> None:
    for steps in (1000, task_settings.SHORT):
        found = settings(MAZE, steps)
        assert found.trajectory_eta > 0 and found.t_law == "lognormal" and found.noise_scale < 1


@pytest.mark.parametrize("steps", [1000, task_settings.SHORT])
def test_the_preset_paper_is_what_the_config_says_without_the_clamp(steps: int) -> None:
    plain = GTPConfig(discount=tasks.find(MAZE).discount, weight_maximum=None)
    assert settings(MAZE, steps, "paper") == plain
    assert (plain.trajectory_eta, plain.advantage_start, plain.t_law) == (0.0, 0, "uniform")
    assert plain.noise_scale == 1.0


@pytest.mark.parametrize("preset", ["auto", "paper"])
def test_a_tasks_own_row_goes_before_the_length_of_the_run(preset: str) -> None:
    demo = settings("pointmaze-demo", 1000, preset)
    assert (demo.trajectory_eta, demo.advantage_start, demo.noise_scale) == (0.0, 0, 1.0)
    assert (demo.width, demo.t_law, demo.t_max) == (64, "uniform", 20.0)


def test_a_tasks_entry_goes_before_its_familys() -> None:
    for name, candidates in (("pointmaze-demo", 1), ("pointmaze-large", 50)):
        assert (
            task_settings.of("diffusion-ql", tasks.find(name))["num_candidates"].value == candidates
        )


def test_a_run_shorter_than_its_tasks_start_of_guidance_is_guided_at_once() -> None:
    task = tasks.find("cube-single-play-singletask-v0")
    for steps, start in ((50, 0), (5_000, 0), (5_001, 5_000), (1_000_000, 5_000)):
        assert task_settings.of("gtp", task, steps)["advantage_start"].value == start


def test_a_default_says_that_it_goes_by_the_length_only_where_it_does() -> None:
    task = tasks.find(MAZE)
    short, long = (task_settings.of("gtp", task, steps) for steps in (1000, task_settings.SHORT))
    for name, found in short.items():
        by_length = found != long.get(name)
        assert ("by the length of the run" in found.source) == by_length, name
        assert found.source.startswith("ours") and "docs/guidance.md" in found.source
    paper = {one.source for one in task_settings.of("gtp", task, 1000, "paper").values()}
    assert paper == {"the paper's (--preset paper), no clamp in eq. 14"}


def test_other_agents_are_the_same_at_any_length() -> None:
    for name in ("diffusion-ql", "iql"):
        assert (
            agents.defaults(name, tasks.find(MAZE), 1000, "paper")[1]
            == (agents.defaults(name, tasks.find(MAZE))[1])
        )


def test_the_command_takes_length_and_preset_before_the_defaults_of_the_rest() -> None:
    task = ["--task", MAZE]
    assert config.parse([*task, "--steps", "1000"]).agent == settings(MAZE, 1000)
    assert config.parse([*task, "--steps=1000"]).agent == settings(MAZE, 1000)
    assert config.parse(task).agent == settings(MAZE)
    paper = config.parse([*task, "--steps", "1000", "--preset", "paper"])
    assert paper.agent == settings(MAZE, 1000, "paper") and paper.run.preset == "paper"
    own = config.parse([*task, "--steps", "1000", "--trajectory-eta", "0.5"]).agent
    assert own == replace(settings(MAZE, 1000), trajectory_eta=0.5)


def test_a_length_or_preset_that_is_none_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for option in ("--steps", "--preset"):
        assert cli.run(train.main, ["--task", MAZE, option, "many"]) == 2
        said = capsys.readouterr().err.splitlines()
        assert said[-1].startswith("gtp_fast: ") and option in said[-1]


def test_help_shows_the_defaults_of_length_and_preset(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for more in (["--steps", "1000"], ["--preset", "paper"]):
        with pytest.raises(SystemExit):
            train.main(["--task", MAZE, *more, "--help-all"])
        said.append(" ".join(capsys.readouterr().out.split()))
    assert "default: lognormal" in said[0] and "default: lognormal" not in said[1]


def test_a_run_folder_from_before_these_settings_builds_the_agent_that_it_was(
    tmp_path: Path,
) -> None:
    agent = restore.restore(make_run(tmp_path / "run").path).agent
    assert agent.config == GTPConfig(eta=(1.0,), k=3, width=16, depth=2)
    assert agent.acting().noise_scale == 1.0
    assert agent.acting_policy().initial_scale == agent.folded().initial_scale


def test_the_mean_of_iql_goes_through_tanh_unless_its_run_is_from_before() -> None:
    young = agents.defaults("iql", tasks.find(MAZE))[1]
    made = agents.build("iql", replace(young, width=8), 3, 2, (0,))
    before = {name: value for name, value in made.settings.items() if name != "squash"}
    assert young.squash and made.folded().squash
    assert agents.build("iql", made.settings, 3, 2, (0,)).folded().squash
    assert not agents.build("iql", before, 3, 2, (0,)).folded().squash


@pytest.mark.parametrize("steps", ["100_000", "+100000", "100000"])
def test_a_length_is_read_as_the_command_reads_numbers(steps: str) -> None:
    command = config.parse(["--task", "hopper-medium", "--steps", steps])
    assert command.run.steps == 100_000 and command.agent.advantage_start is None


def test_the_mean_of_candidates_needs_no_critic_to_be_asked_for() -> None:
    words = ["--task", "hopper-medium", "--eta", "0", "--candidate-rule", "mean"]
    assert config.parse([*words, "--num-candidates", "4"]).agent.num_candidates == 4
    with pytest.raises(UserError, match="softmax, argmax, mean"):
        restore.check_acting(None, None, None, candidate_rule="maen")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("act_by", "map, euler"),
        ("value_by", "samples, network"),
        ("advantage_scale", "std, mad"),
        ("consistency_weight", "none, gap, nodes"),
        ("u_mode", "adjacent, uniform"),
    ],
)
def test_a_word_that_a_setting_does_not_know_is_refused_from_python_too(
    name: str, known: str
) -> None:
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} 'x' .*: choose {known}"):
        agents.build("gtp", {name: "x", "width": 8, "depth": 1}, 3, 2, (0,))
