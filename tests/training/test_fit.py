"""gtp_fast.fit on data and in environments of one's own."""

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
from fit_cases import SMALL, robot
from train_runs import only_run

import gtp_fast
from gtp_fast import cli, evaluate, report, tasks
from gtp_fast.errors import UserError
from gtp_fast.evaluation.vector import flatten
from gtp_fast.policy import evaluation
from gtp_fast.policy.restore import restore
from gtp_fast.runs import checkpoint
from gtp_fast.system import nested


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return robot(tmp_path)


def pendulum(width: int = 3) -> Any:
    """Return arrays of Pendulum's sizes, actions in its box of [-2, 2]."""
    arrays = sets.flat(steps=40, width=width)
    arrays["actions"] = 2.0 * arrays["actions"][:, :1]
    arrays["observations"] = np.cos(arrays["observations"])
    return arrays


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
