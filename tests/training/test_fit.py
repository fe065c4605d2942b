"""gtp_fast.fit: the same run as the command line, on data and environments of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fake_environments
import gymnasium
import h5py
import numpy as np
import pytest
import sets
import torch
from native_cases import needs_native
from train_runs import only_run

import gtp_fast
from gtp_fast import cli, evaluate, report, tasks, train
from gtp_fast.errors import UserError
from gtp_fast.evaluation.vector import flatten
from gtp_fast.policy import evaluation
from gtp_fast.policy.restore import restore
from gtp_fast.runs import checkpoint
from gtp_fast.system import nested

SMALL: dict[str, Any] = {
    "steps": 20, "width": 16, "k": 2, "batch_size": 8, "episodes": 2, "log_every": 5,
    "device": "cpu", "processes": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTP_FAST_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    np.savez(tmp_path / "my-robot.npz", **sets.flat(steps=40, width=3))
    return tmp_path / "my-robot.npz"


def words(options: dict[str, Any]) -> list[str]:
    """Return keywords as a command line."""
    given = []
    for name, value in options.items():
        each = value if isinstance(value, tuple) else (value,)
        given += [f"--{name.replace('_', '-')}", *map(str, each)]
    return given


def pendulum(width: int = 3) -> Any:
    """Return arrays of Pendulum's sizes, actions in its box of [-2, 2]."""
    arrays = sets.flat(steps=40, width=width)
    arrays["actions"] = 2.0 * arrays["actions"][:, :1]
    arrays["observations"] = np.cos(arrays["observations"])
    return arrays


def test_keywords_and_the_command_line_train_to_the_same_bits(
    dataset: Path, tmp_path: Path
) -> None:
    run = gtp_fast.fit(dataset, env="none", output=tmp_path / "a", seeds=(0, 3), eta=0.5, **SMALL)
    line = words(SMALL | {"dataset": dataset, "env": "none", "seeds": (0, 3), "eta": 0.5})
    assert cli.run(train.main, [*line, "--output", str(tmp_path / "b")]) == 0
    other = checkpoint.load(only_run(tmp_path / "b"))
    for name, tensor in checkpoint.load(run.path).tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name
    assert run.path.name.startswith("my-robot-gtp-")


def test_a_file_of_ones_own_is_evaluated_where_env_says(tmp_path: Path) -> None:
    np.savez(tmp_path / "swing.npz", **pendulum())
    run = gtp_fast.fit(tmp_path / "swing.npz", env="Pendulum-v1", output=tmp_path / "runs", **SMALL)
    # No references belong to it, so there is a return and no score.
    assert set(run.summary["last"]) == {"return", "length"}
    assert run.summary["environment"] == "Pendulum-v1"
    policy = run.policy()
    action = policy.act(np.zeros(3, np.float32))
    assert policy.low.tolist() == [-2.0] and policy.high.tolist() == [2.0] and action.shape == (1,)
    evaluation = run.evaluate(episodes=3, seed=5)
    assert evaluation.returns.shape == (1, 3) and (evaluation.returns < 0.0).all()
    assert len(list((run.path / "evaluations").iterdir())) == 1
    assert {"step", "seed", "flow_loss", "evaluation_return"} <= set(run.metrics)


def test_a_run_folder_keeps_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "swing.npz", **pendulum())
    run = gtp_fast.fit(
        tmp_path / "swing.npz", env="Pendulum-v1", task="swing-up", output=tmp_path, **SMALL
    )

    def forget(name: str) -> Any:
        raise AssertionError(f"{name} was looked up")

    monkeypatch.setattr(tasks.names, "find", forget)
    monkeypatch.setattr(tasks, "find", forget)
    assert cli.run(evaluate.main, [str(run), "--episodes", "2", "--processes", "0"]) == 0
    assert cli.run(report.main, [str(run)]) == 0
    assert "swing-up: of the return, for want of references" in capsys.readouterr().out
    gtp_fast.fit(resume=run)


def test_a_live_environment_plays_the_same_episodes(tmp_path: Path) -> None:
    spec = fake_environments.spec(flat=True)
    arrays = sets.flat(steps=40, width=2)
    np.savez(tmp_path / "x.npz", **arrays)
    live = fake_environments.make(spec)
    run = gtp_fast.fit(tmp_path / "x.npz", env=live, output=tmp_path, seeds=(0, 4), **SMALL)
    one = run.evaluate(episodes=5)
    _, many = evaluation.evaluate(evaluation.Options(run=str(run), episodes=5), spec)
    assert np.array_equal(one.returns, many.returns) and one.seeds == (0, 4)
    live.reset(seed=0)  # It is still open.


class Broken(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose rewards are no numbers."""

    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(action)
        return observation, float("nan"), *rest


def test_a_broken_environment_costs_no_update(tmp_path: Path) -> None:
    spec = fake_environments.spec(flat=True)
    np.savez(tmp_path / "x.npz", **sets.flat(steps=40, width=2))
    options = SMALL | {"checkpoint_every": 20, "evaluate_every": 10}
    broken = Broken(fake_environments.make(spec))
    with pytest.raises(UserError, match="a reward that is not finite"):
        gtp_fast.fit(tmp_path / "x.npz", env=broken, output=tmp_path / "runs", **options)
    run = only_run(tmp_path / "runs")
    assert checkpoint.load(run).step == 10
    done = gtp_fast.fit(resume=run, env=fake_environments.make(spec))
    assert done.summary["updates"] == 20


def test_an_unknown_option_is_a_sentence(dataset: Path) -> None:
    with pytest.raises(UserError, match="Unknown option 'setps': did you mean steps"):
        gtp_fast.fit(dataset, setps=5)
    with pytest.raises(UserError, match="Say what to train on"):
        gtp_fast.fit(steps=5)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("steps", "20", "an integer or None"), ("steps", 20.5, "an integer or None"),
     ("batch_size", "64", "an integer"), ("batch_size", True, "an integer"),
     ("seeds", (0, "1"), "an integer"), ("seeds", "0", "an integer"),
     ("seeds", (0, 1.5), "an integer"), ("seeds", (0, True), "an integer"),
     ("eta", "1", "a number"),
     ("discount", None, "a number"), ("log_every", None, "an integer"), ("output", 3, "text"),
     ("tensorboard", "no", "True or False"), ("cut_at_goal", 1, "True or False"),
     ("action_low", "x", "a number"), ("preset", "papr", "one of auto, paper"),
     ("terminals", "states", "one of auto, terminal_state, trajectory_end")],
)  # fmt: skip
def test_a_value_of_another_kind_is_a_sentence(
    dataset: Path, tmp_path: Path, option: str, value: Any, said: str
) -> None:
    given = {"output": tmp_path / "runs", "env": "none", **SMALL} | {option: value}
    with pytest.raises(UserError) as caught:
        gtp_fast.fit(dataset, **given)
    wrong = value[1] if isinstance(value, tuple) else value
    option = option.replace("_", "-")
    assert str(caught.value) == f"--{option} must be {said}, not {wrong!r}."
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("value", [1.0, (1.0,), (1.0, 2.0, 3.0)])
def test_a_point_has_two_numbers(dataset: Path, tmp_path: Path, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        gtp_fast.fit(dataset, output=tmp_path, env="none", evaluation_goal=value, **SMALL)
    assert str(caught.value) == f"--evaluation-goal must be 2 values, not {value!r}."


def test_numbers_that_are_whole_stand_for_integers(dataset: Path, tmp_path: Path) -> None:
    floats = {"steps": 2e1, "batch_size": torch.tensor(8.0), "seeds": torch.arange(2), "eta": 1}
    floats |= {"learning_rate": np.array(1e-3), "lambda_flow": torch.tensor(0.5)}
    given = SMALL | floats | {"env": "none", "output": tmp_path, "device": torch.device("cpu")}
    config = gtp_fast.fit(dataset, **given).run.config()
    assert (config["steps"], config["agent_settings"]["batch_size"]) == (20, 8)
    assert isinstance(config["steps"], int) and config["seeds"] == [0, 1]
    own = config["agent_settings"]
    assert own["learning_rate"] == [1e-3] and own["lambda_flow"] == [0.5]


def test_a_logger_may_be_one_word(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--logger must be one of tensorboard, wandb"):
        gtp_fast.fit(dataset, env="none", output=tmp_path, logger="wandbb", **SMALL)
    run = gtp_fast.fit(dataset, env="none", output=tmp_path, **SMALL)
    with pytest.raises(UserError, match="--logger must be one of tensorboard, wandb"):
        gtp_fast.fit(resume=run, logger="wandbb")


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_is_a_whole_number_that_files_hold(seed: object) -> None:
    with pytest.raises(UserError, match=rf"--seeds must be whole numbers .* not {seed!r}\."):
        gtp_fast.fit(task="hopper-medium", dataset="absent.npz", seeds=(0, seed))


def test_normalised_observations_are_folded_into_the_policy(tmp_path: Path) -> None:
    arrays = pendulum()
    arrays["observations"] = 50.0 + 10.0 * arrays["observations"]
    np.savez(tmp_path / "swing.npz", **arrays)
    run = gtp_fast.fit(
        tmp_path / "swing.npz", env="Pendulum-v1", normalise_observations=True, output=tmp_path,
        advantage_start=0, preset="paper", num_candidates=4, **SMALL,
    )  # fmt: skip
    mean, scale = (np.array(run.run.config()[f"observation_{x}"]) for x in ("mean", "scale"))
    seen = arrays["observations"][: len(arrays["observations"]) - 1]
    assert np.allclose(mean, seen.mean(0), atol=2.0) and (scale > 1.0).all()
    agent, _ = restore(run.path)
    raw = torch.from_numpy(seen[:4].astype(np.float32))[None]
    standard = (raw - agent.standard[0]) / agent.standard[1]
    noise = torch.randn(1, 4, 1, generator=torch.Generator().manual_seed(0))
    acts = agent.ops.sampler(agent.acting_policy(noise_scale=1.0)).sample(raw, noise)
    learnt = agent.ops.sampler(agent.folded(agent.acting_weights)).sample(standard, noise)
    assert torch.allclose(acts, learnt, atol=1e-5)
    score, own = agent.raw_score(), agent.score()
    assert score is not None and own is not None
    assert torch.equal(score(raw, acts), own(standard, acts))


def test_lists_with_commas_are_several_values(dataset: Path, tmp_path: Path) -> None:
    line = words(SMALL | {"dataset": dataset, "env": "none", "output": tmp_path / "runs"})
    assert cli.run(train.main, [*line, "--seeds", "0,1,2"]) == 0
    assert json.loads((only_run(tmp_path / "runs") / "environment.json").read_text())
    assert checkpoint.load(only_run(tmp_path / "runs")).config["seeds"] == [0, 1, 2]


@needs_native
@pytest.mark.filterwarnings("ignore:the sampler runs through PyTorch")
def test_sizes_that_are_left_to_pytorch_are_told_wherever_the_engine_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "wide.npz", **sets.flat(steps=8, width=16385))
    line = SMALL | {"dataset": tmp_path / "wide.npz", "env": "none", "width": 2, "steps": 2}
    assert cli.run(train.main, words(line | {"output": tmp_path / "runs"})) == 0
    run, reason = only_run(tmp_path / "runs"), "observation_dim must be 1..16384, not 16385"
    environment, summary = (
        json.loads((run / f"{name}.json").read_text()) for name in ("environment", "summary")
    )
    shown = capsys.readouterr().out
    for told in (shown, environment["backend"], summary["operations"]):
        assert f"reference: sampler ({reason})" in told
    assert summary["engine"] == f"eager (no GPU; not fused: {reason})"
    assert f"engine      {summary['engine']}\n" in shown


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hopper", "hopper has several datasets; choose one of hopper-medium"),
        ("Hopper-v5", "Hopper-v5 is an environment, not a task: give --dataset X --env Hopper-v5"),
        ("pen-human-v1", "--dataset D4RL/pen/human-v2 takes the set from Minari"),
    ],
)
def test_names_that_are_no_task_get_the_mend(name: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        tasks.find(name)
    assert said in str(caught.value)


def test_a_dataset_that_misses_a_task_by_a_letter_is_refused(dataset: Path) -> None:
    with pytest.raises(UserError, match="did you mean hopper-medium"):
        gtp_fast.fit(dataset, task="hoper-medium", **SMALL)


def test_without_an_environment_the_data_judge(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = dict(np.load(dataset))
    arrays["observations"] = 5.0 + 3.0 * arrays["observations"]
    run = gtp_fast.fit(arrays, output=tmp_path / "runs", normalise_observations=True, **SMALL)
    said = capsys.readouterr().out
    assert "evaluation  none (the dataset brings no environment; --env names one)" in said
    assert "FQE value" in said and "energy score" in said
    (kept,) = (run.path / "evaluations").iterdir()
    means = json.loads(kept.read_text())["means"]
    assert np.isfinite(means["fqe_value"]).all()
    # The same data as they are, not standardised and back.
    again = run.fqe(arrays, fqe_steps=SMALL["steps"])["means"]
    for name in ("fqe_value", "fqe_error", "energy_score"):
        assert again[name] == pytest.approx(means[name], rel=1e-4), name
    quiet = gtp_fast.fit(arrays, env="none", output=tmp_path / "quiet", **SMALL)
    assert not (quiet.path / "evaluations").exists()


def test_nested_observations_have_one_name_each() -> None:
    arm = {"joint": np.ones((2, 3)), "hand": np.zeros((2, 1))}
    observation = {"arm": arm, "goal": np.ones((2, 2))}
    assert list(nested.flat(observation)) == ["arm/joint", "arm/hand", "goal"]
    joined = flatten(observation, ("goal", "arm/hand"))
    assert joined.tolist() == [[1.0, 1.0, 0.0]] * 2


def test_demonstrations_train_like_other_files(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    with h5py.File(tmp_path / "demos.hdf5", "w") as file:
        for number in range(3):
            demo = file.create_group(f"data/demo_{number}")
            demo["obs/joints"] = draw.normal(size=(8, 3))
            demo["obs/object"] = draw.normal(size=(8, 2))
            demo["actions"] = draw.uniform(-1, 1, (8, 2))
            demo["rewards"] = np.eye(8)[7]
            demo["dones"] = np.eye(8)[7]
    run = gtp_fast.fit(tmp_path / "demos.hdf5", env="none", output=tmp_path, **SMALL)
    config = run.run.config()
    assert config["observation_keys"] == ["joints", "object"] and config["observation_dim"] == 5
    gtp_fast.fit(resume=run)


@pytest.mark.parametrize("options", [{}, {"reward": "cql"}, {"clip_actions": True}])
def test_an_option_of_the_data_leaves_a_flat_maze_file_its_other_rules(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    # The second step of an episode of four reaches its goal.
    arrays = sets.flat(steps=40) | {"rewards": np.tile([0.0, 1.0, 0.0, 0.0], 10)}
    np.savez(tmp_path / "ant.npz", **arrays)
    more = {"task": "antmaze-umaze", "agent": "bc", "env": "none", "output": tmp_path}
    small = {key: value for key, value in SMALL.items() if key != "k"}
    run = gtp_fast.fit(tmp_path / "ant.npz", **more, **small, **options)
    expected = {"goal": "none", "cut_at_goal": False, "reward": "minus_one", "clip_actions": False}
    kept = run.run.config()["rules"]
    assert {name: kept[name] for name in expected} == expected | options
    whole = gtp_fast.data.load_table("antmaze-umaze", tmp_path / "ant.npz")
    assert gtp_fast.data.load_table("antmaze-umaze", tmp_path / "ant.npz", options).rows.shape == (
        whole.rows.shape
    )


def test_a_goal_rule_that_a_flat_file_cannot_serve_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "ant.npz", **sets.flat(steps=40))
    with pytest.raises(UserError, match=r"lacks the goal of each step.*load it with goal=none"):
        gtp_fast.fit(tmp_path / "ant.npz", task="antmaze-umaze", goal="concat", env="none", **SMALL)


def test_another_environment_may_be_named_for_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "swing.npz", **pendulum())
    box = {"action_low": -2.0, "action_high": 2.0}
    run = gtp_fast.fit(tmp_path / "swing.npz", env="none", output=tmp_path, **box, **SMALL)
    with pytest.raises(UserError, match="names no environment to evaluate in"):
        run.evaluate()
    with pytest.raises(UserError, match="--env must be text or None, not <"):
        run.evaluate(env=gymnasium.make("Pendulum-v1"))
    assert run.evaluate(episodes=2, env="gymnasium:Pendulum-v1").returns.shape == (1, 2)
    gtp_fast.fit(resume=run, env="Pendulum-v1")
    gtp_fast.fit(resume=run, env="none")
    with pytest.raises(UserError, match="does not fit MountainCarContinuous-v0"):
        gtp_fast.fit(resume=run, env="MountainCarContinuous-v0")
