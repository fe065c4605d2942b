"""The critic against the simulator: returns from a state, correlations, what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from fake_runs import make_run

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import gtp_fast
from benchmarks import critic_truth
from gtp_fast.errors import UserError

OPTIONS = critic_truth.Options("run", states=4, horizon=2)


class Rests:
    """A policy whose action is always 0."""

    def act(self, observation: np.ndarray, seed: int, step: int) -> np.ndarray:
        return np.zeros((len(observation), 6), np.float32)


def test_returns_start_at_the_states_with_the_actions() -> None:
    pytest.importorskip("mujoco")
    with gymnasium.make("HalfCheetah-v5") as made:
        environment = made.unwrapped
        environment.reset(seed=1)
        states, actions, expected = [], np.random.default_rng(0).uniform(-1, 1, (3, 6)), []
        for action in actions:
            states.append(environment._get_obs())
            rewards = [environment.step(a)[1] for a in (action, np.zeros(6))]
            expected.append(rewards[0] + 0.5 * rewards[1])
    environments = [gymnasium.make("HalfCheetah-v5") for _ in states]
    found = critic_truth.returns(environments, np.array(states), actions, Rests(), 2, 0.5, 0)
    # The simulator's solver starts from the last step's forces, which an observation lacks.
    assert found == pytest.approx(expected, rel=1e-3)


def test_an_environment_that_hides_its_state_is_refused() -> None:
    states, actions = np.zeros((1, 4)), np.zeros((1, 1))
    with pytest.raises(UserError, match="does not show its whole state: name a run in Hopper"):
        critic_truth.returns([gymnasium.make("CartPole-v1")], states, actions, Rests(), 1, 0.9, 0)


def test_correlations_are_those_of_advantages_and_of_values() -> None:
    said = np.array([1.0, 2.0, 3.0, 5.0]), np.zeros(4)
    first = np.array([1.0, 2.0, 3.0, 5.0]), np.array([2.0, 4.0, 6.0, 109.0])
    second = np.array([5.0, 3.0, 2.0, 1.0]), np.array([6.0, 5.0, 5.0, 105.0])
    lines = critic_truth.report(said, (first, second), OPTIONS).splitlines()
    assert lines[2:7] == [
        "| values of the data's actions | 1.00 | -0.94 | - |",
        "| advantages over the policy's | -0.89 | 1.00 | 1.00 |",
        "| the same, by ranks | -1.00 | 1.00 | 1.00 |",
        "| advantages, where the return is least | -1.00 | 1.00 | 1.00 |",
        "| the same, by ranks | -1.00 | 1.00 | 1.00 |",
    ]
    assert "deviation of the advantages: 1.48 by the critic, 44.2 by a rollout" in lines[-1]


def test_states_are_chosen_by_the_returns_of_both_actions() -> None:
    said = np.array([5.0, 2.0, 0.0, 1.0]), np.zeros(4)
    # The policy's action returns much where the data's does not: that state is not a poor one.
    true = np.array([1.0, 2.0, 3.0, 5.0]), np.array([0.0, 0.0, 100.0, 0.0])
    lines = critic_truth.report(said, (true, true), OPTIONS).splitlines()
    assert lines[6] == "| the same, by ranks | -1.00 | 1.00 | 1.00 |"


def test_a_run_is_judged_at_states_that_are_shown_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mujoco")
    environment = gymnasium.spec("HalfCheetah-v5").to_json()
    run = make_run(
        tmp_path / "run", observation_dim=17, action_dim=6, action_low=[-1.0] * 6,
        action_high=[1.0] * 6, observation_keys=[], evaluation={"environment": environment},
    )  # fmt: skip
    observation = 0.1 * torch.randn(8, 17, generator=torch.Generator().manual_seed(0))
    observation[:4, 12] = 10.0
    rows = SimpleNamespace(observation=observation, action=torch.zeros(8, 6))
    table = SimpleNamespace(all=lambda: rows)
    monkeypatch.setattr(critic_truth.restore, "table_of", lambda config: table)
    seen, loaded = [], []
    returns, load = critic_truth.returns, gtp_fast.load

    def loading(*given: object, **options: object) -> object:
        loaded.append(options)
        return load(*given, **options)

    monkeypatch.setattr(gtp_fast, "load", loading)

    def watched(environments: object, states: np.ndarray, *rest: object) -> np.ndarray:
        seen.append((states, rest[0], rest[-1]))
        return returns(environments, states, *rest)

    monkeypatch.setattr(critic_truth, "returns", watched)
    page = critic_truth.judged(critic_truth.Options(str(run.path), states=4, horizon=2))
    assert "4 states, rollouts of 2 steps" in page and "nan" not in page
    # Compared with what the map draws with all noise; followed as the policy acts.
    assert (loaded[0]["noise_scale"], loaded[0]["act_by"]) == (1.0, "map")
    assert list(loaded[1]) == ["checkpoint"]
    assert [seed for *_, seed in seen] == [0, 0, 1, 1]
    assert all((np.abs(states) < 10).all() for states, *_ in seen)
    assert not seen[0][1].any() and seen[1][1].any()
    with pytest.raises(UserError, match="--states is 5, the data have 4 whole ones"):
        critic_truth.judged(critic_truth.Options(str(run.path), states=5))


def test_a_run_without_environment_and_too_few_states_are_one_sentence(tmp_path: Path) -> None:
    run = str(make_run(tmp_path / "run").path)
    with pytest.raises(UserError, match="has no environment to roll out in"):
        critic_truth.judged(critic_truth.Options(run))
    with pytest.raises(UserError, match="--states must be at least 3"):
        critic_truth.judged(critic_truth.Options(run, states=2))
    clone = str(make_run(tmp_path / "clone", agent="bc", agent_settings={}).path)
    with pytest.raises(UserError, match="has no critic: name a run that trained one"):
        critic_truth.judged(critic_truth.Options(clone))
