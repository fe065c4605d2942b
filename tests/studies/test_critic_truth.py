"""The critic against the simulator: returns from a state, correlations, what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from fake_runs import make_run

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import critic_truth
from gtp_fast.errors import UserError

OPTIONS = critic_truth.Options("run", states=4, horizon=2)


class Rests:
    """A policy whose action is always 0."""

    def act(self, observation: np.ndarray, seed: int, step: int) -> np.ndarray:
        return np.zeros((len(observation), 6), np.float32)


def test_returns_start_at_the_states_with_the_actions() -> None:
    pytest.importorskip("mujoco")
    spec = gymnasium.spec("HalfCheetah-v5")
    with gymnasium.make(spec) as made:
        environment = made.unwrapped
        environment.reset(seed=1)
        states, actions, expected = [], np.random.default_rng(0).uniform(-1, 1, (3, 6)), []
        for action in actions:
            states.append(environment._get_obs())
            rewards = [environment.step(a)[1] for a in (action, np.zeros(6))]
            expected.append(rewards[0] + 0.5 * rewards[1])
    found = critic_truth.returns(spec, np.array(states), actions, Rests(), 2, 0.5)
    # The simulator's solver starts from the last step's forces, which an observation lacks.
    assert found == pytest.approx(expected, rel=1e-3)


def test_an_environment_that_hides_its_state_is_refused() -> None:
    states, actions = np.zeros((1, 4)), np.zeros((1, 1))
    with pytest.raises(UserError, match="does not show its whole state: name a run in Hopper"):
        critic_truth.returns(gymnasium.spec("CartPole-v1"), states, actions, Rests(), 1, 0.9)


def test_correlations_are_those_of_advantages_and_of_values() -> None:
    said = np.array([1.0, 2.0, 3.0, 5.0]), np.zeros(4)
    true = np.array([1.0, 2.0, 3.0, 5.0]), np.array([2.0, 4.0, 6.0, 109.0])
    lines = critic_truth.report(said, true, OPTIONS).splitlines()
    assert lines[2:5] == [
        "| values of the data's actions | 1.00 |",
        "| advantages over the policy's | -0.89 |",
        "| the same, by ranks | -1.00 |",
    ]
    assert "below 1.00 in 95 of 100 tries" in lines[-1]


def test_a_run_without_environment_and_too_few_states_are_one_sentence(tmp_path: Path) -> None:
    run = str(make_run(tmp_path / "run").path)
    with pytest.raises(UserError, match="has no environment to roll out in"):
        critic_truth.judged(critic_truth.Options(run))
    with pytest.raises(UserError, match="--states must be at least 3"):
        critic_truth.judged(critic_truth.Options(run, states=2))
    clone = str(make_run(tmp_path / "clone", agent="bc", agent_settings={}).path)
    with pytest.raises(UserError, match="has no critic: name a run that trained one"):
        critic_truth.judged(critic_truth.Options(clone))
