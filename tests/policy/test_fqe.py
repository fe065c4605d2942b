"""A run judged by its dataset: fitted Q evaluation of a known problem, and the command."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from agent_cases import TINY, build, make_table, synthetic_table
from fake_runs import SETTINGS, make_run
from torch import Tensor

from gtp_fast import cli, evaluate
from gtp_fast.agents.fqe import FQE, FQEConfig
from gtp_fast.agents.setup import Setup
from gtp_fast.policy import off_policy
from gtp_fast.policy.evaluation import Options
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream
from gtp_fast.runs import checkpoint

# States 0 and 1, actions + and -: + leads to the other state, - stays, and - in state 1 ends it.
REWARD = torch.tensor([[1.0, -0.5], [2.0, 0.3]], dtype=torch.float64)
FOLLOWING, ENDS = torch.tensor([[1, 0], [0, 1]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
DISCOUNT, SIGMA, ROWS, LENGTH = 0.8, 0.2, 4096, 8
PLUS = (0.75, 0.25)
"""Probability of + under the policy of each seed."""


class Coin:
    """Policies that act 0.5 with their own probability, else -0.5."""

    draws = 1

    def __init__(self, *plus: float) -> None:
        self.quantile = torch.special.ndtri(torch.tensor(plus))[:, None, None]

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        assert observation.shape[:2] == noise.shape[:2]
        return torch.where(noise < self.quantile, 0.5, -0.5).to(observation.dtype)


def problem() -> tuple[Any, Tensor, Tensor]:
    """Return a table of the problem, and state and action [ROWS] of its rows; + has 0.3."""
    noise = philox.normals(philox.key_tensor([1]), 0, Stream.COLLECT, ROWS, 3)[0]
    state, action = (noise[:, 0] < 0).long(), (noise[:, 1] > float(torch.special.ndtri(
        torch.tensor(0.3)))).long()  # fmt: skip
    reward = REWARD[state, action].float() + SIGMA * noise[:, 2]
    eye, acted = torch.eye(2), 0.5 - action[:, None].float()
    mask = 1.0 - ENDS[state, action]
    table = make_table(eye[state], acted, reward, eye[FOLLOWING[state, action]], mask, LENGTH)
    return table, state, action


def exact(plus: float, first: Tensor, counts: Tensor) -> tuple[float, float]:
    """Return V from the first states, and the standard deviation of its best estimate.

    V = sum d(s, a) R(s, a) with d the discounted visits, so that means of n(s, a) rewards leave an
    error of variance sigma^2 sum d^2 / n; 16 drawn actions in each first state add Var Q / 16 n.
    """
    policy = torch.tensor([plus, 1 - plus], dtype=torch.float64)
    step = torch.zeros(4, 4, dtype=torch.float64)
    for s in range(2):
        for a in range(2):
            step[2 * s + a, 2 * FOLLOWING[s, a] : 2 * FOLLOWING[s, a] + 2] = policy * (
                1 - ENDS[s, a]
            )
    start = torch.cat([(first == s).double().mean() * policy for s in range(2)])
    inverse = torch.linalg.inv(torch.eye(4, dtype=torch.float64) - DISCOUNT * step)
    visits, q = start @ inverse, (inverse @ REWARD.flatten()).view(2, 2)
    spread = (policy * q.square()).sum(1) - (policy * q).sum(1).square()
    variance = SIGMA**2 * (visits.square() / counts).sum()
    variance += spread[first].mean() / (off_policy.ACTIONS * len(first))
    return float(visits @ REWARD.flatten()), math.sqrt(float(variance))


@pytest.mark.parametrize(("shift", "scale", "num_actions"), [(0.0, 1.0, 1), (4.0, 2.0, 2)])
def test_fqe_finds_the_values_of_a_known_problem(
    shift: float, scale: float, num_actions: int
) -> None:
    table, state, action = problem()
    counts = torch.bincount(2 * state + action, minlength=4)
    config = FQEConfig(
        width=32, depth=2, batch_size=256, discount=DISCOUNT, num_actions=num_actions,
        critic_learning_rate=(3e-3,),
    )  # fmt: skip
    fqe = FQE(config, Setup(2, 1, (3, 8)), Coin(*PLUS), shift, scale)
    off_policy.fit(fqe, table, 1500)
    found = off_policy.initial_value(fqe, table)
    for value, plus in zip(found, PLUS, strict=True):
        wanted, deviation = exact(plus, state[::LENGTH], counts)
        assert deviation < 0.025
        assert abs(value - wanted) < 4 * deviation, (value, wanted, deviation)


class Echo:
    """A policy that acts the first two numbers of its state."""

    draws = 1

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        assert noise.shape == (*observation.shape[:2], 2)
        return observation[..., :2] + 0.0 * noise


def test_every_action_and_value_belongs_to_its_own_state() -> None:
    fqe = FQE(FQEConfig(width=8, depth=2), Setup(3, 2, (5, 6)), Echo(), shift=1.0, scale=2.0)
    states = philox.normals(philox.key_tensor([1, 2]), 0, Stream.COLLECT, 7, 3)
    actions = fqe.actions(states, 4, Stream.ACT, 0)
    assert torch.equal(actions, states[:, None, :, :2].expand(-1, 4, -1, -1))
    # Another action in one place moves the value of that place alone.
    changed = actions.clone()
    changed[1, 2, 3] += 1.0
    moved = fqe.values(states, changed) != fqe.values(states, actions)
    assert moved.nonzero().tolist() == [[1, 2, 3]]


def test_an_update_reports_error_and_q_in_the_units_of_the_rewards() -> None:
    config = FQEConfig(width=8, depth=2, batch_size=16, discount=0.9)
    fqe, table = FQE(config, Setup(3, 2, (5, 6)), Echo(), 1.0, 2.0), synthetic_table()
    batch = fqe.batch(table, 0)
    # Before its first step the critic is its own target.
    q = fqe.values(batch.observation, batch.action[:, None])[:, 0]
    following = batch.next_observation
    target = (
        batch.reward + 0.9 * batch.mask * fqe.values(following, following[:, None, :, :2])[:, 0]
    )
    error, mean, _ = fqe.update(table, 0)
    torch.testing.assert_close(error, (q - target).square().mean(1))
    torch.testing.assert_close(mean, q.mean(1))


def test_critics_start_from_the_datas_returns_and_have_keys_of_their_own() -> None:
    zeros = torch.zeros(4, 3)
    reward, mask = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 0.0, 1.0, 0.0])
    table = make_table(zeros, zeros[:, :2], reward, zeros, mask, length=2)
    subject: Any = SimpleNamespace(
        agent=build(replace(TINY, discount=0.5), (0, 9)), acting=SimpleNamespace(sampler=Echo()),
        saved=SimpleNamespace(config={"task": "hopper-medium"}),
    )  # fmt: skip
    fqe, own = off_policy.critics(subject, table, 7)
    # Returns to go of 2, 2 and 5, 4; episodes begin with the first of each.
    assert own == 3.5 and fqe.shift == 3.25 and fqe.config.discount == 0.5
    assert fqe.scale == pytest.approx(math.sqrt((1.25**2 * 2 + 1.75**2 + 0.75**2) / 4))
    assert fqe.seeds == tuple(2**63 + (7 << 32) + seed for seed in (0, 9))


def test_a_policy_is_evaluated_as_it_is_alone() -> None:
    table, config = synthetic_table(), FQEConfig(width=8, depth=2, batch_size=16)

    def values(seeds: tuple[int, ...], *plus: float) -> Tensor:
        fqe = FQE(config, Setup(3, 2, seeds, backend="reference", dtype=torch.float64), Coin(*plus))
        off_policy.fit(fqe, table, 20, "reference")
        return torch.tensor(off_policy.initial_value(fqe, table))

    together, alone = values((5, 6, 7), 0.1, 0.5, 0.9), values((6,), 0.5)
    torch.testing.assert_close(together[1:2], alone, rtol=1e-8, atol=1e-11)
    assert len(set(together.tolist())) == 3


@pytest.mark.parametrize(("rows", "states"), [(9, 9), (10, 10), (20, 10), (21, 7)])
def test_the_states_of_a_large_table_are_spread_evenly(
    rows: int, states: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(off_policy, "STATES", 10)
    fqe = FQE(FQEConfig(width=8, depth=2), Setup(3, 2, (5,)), Echo())
    assert off_policy.likeness_in(fqe, synthetic_table(rows))[1] == states


def test_states_of_every_part_draw_noise_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(off_policy, "_CHUNK", 4)
    fqe = FQE(FQEConfig(width=8, depth=2), Setup(3, 2, (5,)), Coin(0.5))
    first, second = (actions for _, actions in off_policy._drawn(fqe, torch.zeros(8, 3)))
    assert first.shape == second.shape and not torch.equal(first, second)


def test_the_error_of_a_fit_is_that_of_its_last_tenth() -> None:
    config, table = FQEConfig(width=8, depth=2, batch_size=16), synthetic_table()

    def critics() -> FQE:
        return FQE(config, Setup(3, 2, (5,), backend="reference", dtype=torch.float64), Echo())

    alone = critics()
    alone.prepare(20)
    errors = [float(alone.update(table, step)[0]) for step in range(20)]
    found = off_policy.fit(critics(), table, 20, "reference")
    assert found == pytest.approx([sum(errors[18:]) / 2], rel=1e-6)


# --- the command ---------------------------------------------------------------------------------


def judged_run(folder: Path, **changes: Any) -> Path:
    """Make a run of two seeds and its dataset of 20 episodes in an .npz."""
    random, count = np.random.default_rng(0), 200
    np.savez(
        folder / "set.npz",
        observations=random.standard_normal((count, 3)).astype(np.float32),
        actions=random.uniform(-1, 1, (count, 2)).astype(np.float32),
        rewards=np.ones(count),
        terminals=np.zeros(count, bool),
        timeouts=np.arange(count) % 10 == 9,
        next_observations=random.standard_normal((count, 3)).astype(np.float32),
    )
    plain = {"dataset": str(folder / "set.npz"), "rules": {"goal": "none"}, "observation_keys": []}
    return make_run(folder / "run", **(plain | changes)).path


def command(run: Path, *options: str) -> int:
    return cli.run(evaluate.main, [str(run), "--fqe", "--fqe-steps", "30", *options])


def test_the_command_judges_a_run_without_an_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = judged_run(tmp_path)
    assert command(run) == 0
    said = capsys.readouterr().out
    for fact in ("set.npz, without an environment", "30 updates, width 16", "training has seen"):
        assert fact in said
    (path,) = (run / "evaluations").iterdir()
    assert path.name == "fqe-step_000000060-ema-k3-n1-z1-seed0-30updates.json"
    written = json.loads(path.read_text())
    means = written["means"]
    assert {len(values) for values in means.values()} == {2}
    # One a step for ever is worth 1 / (1 - 0.99), whatever is done: shift and data's return say so.
    assert means["data_return"] == pytest.approx([100.0] * 2, rel=1e-5)
    assert means["fqe_value"] == pytest.approx([100.0] * 2, abs=1.0)
    # Two of 20 episodes of ten states.
    assert written["held_out"] == {"share": 0.1, "states": 20, "seen_in_training": True}
    assert all(0.0 <= value <= 1.0 for value in means["coverage"])
    assert f"{means['energy_score'][1]:.4f}" in said
    assert command(run) == 0
    assert json.loads(path.read_text()) == written
    # A checkpoint that is named itself need not be the run's last one.
    assert command(checkpoint.find(run)) == 0
    assert "gtp, step_000000060 checkpoint (update 60)" in capsys.readouterr().out
    assert json.loads(path.read_text())["checkpoint"] == "step_000000060"
    assert command(run, "--seed", "1") == 0
    other = json.loads((path.parent / path.name.replace("-seed0-", "-seed1-")).read_text())
    assert other["means"]["energy_score"] != means["energy_score"]


def test_the_error_is_in_the_units_of_the_rewards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(off_policy, "fit", lambda *_: [4.0, 9.0])
    record = off_policy.evaluate(Options(str(judged_run(tmp_path)), fqe=True))
    assert record["means"]["fqe_error"] == [2.0, 3.0]
    assert (record["actions"], record["radius"]) == (16, 0.1)


@pytest.mark.parametrize(
    ("agent", "settings"),
    [("bc", {"width": 8, "depth": 2}), ("gtp", SETTINGS | {"num_candidates": 3})],
)
def test_agents_without_a_critic_and_with_candidates_are_judged_too(
    tmp_path: Path, agent: str, settings: dict[str, Any]
) -> None:
    assert command(judged_run(tmp_path, agent=agent, agent_settings=settings)) == 0


@pytest.mark.parametrize(
    ("changes", "options", "complaint"),
    [
        ({}, ["--fqe-steps", "0"], "--fqe-steps 0 is too few"),
        ({}, ["--env", "Some-v0"], "--fqe plays no episodes: leave --env out."),
        ({}, ["--video", "v", "--episodes", "3"], "leave --episodes and --video out."),
        ({}, ["--environments", "4"], "--fqe plays no episodes: leave --environments out."),
        (
            {},
            ["--processes", "0", "--video-episodes", "2"],
            "leave --processes and --video-episodes out.",
        ),
        ({"dataset": "missing.npz"}, [], "missing.npz"),
    ],
)
def test_bad_options_are_one_sentence_and_exit_code_two(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    options: list[str],
    complaint: str,
) -> None:
    run = judged_run(tmp_path, **changes)
    assert cli.run(evaluate.main, [str(run), "--fqe", *options]) == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]
