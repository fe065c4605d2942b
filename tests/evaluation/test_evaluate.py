"""Evaluation: whole episodes, counted once each, the same however they are run."""

from __future__ import annotations

from dataclasses import replace

import fake_environments
import numpy as np
import pytest
import torch
from fake_policies import KEYS, Linear, equal, play
from torch import Tensor

from gtp_fast.errors import UserError
from gtp_fast.evaluation.episodes import ROWS
from gtp_fast.evaluation.evaluator import Evaluator
from gtp_fast.evaluation.record import joined
from gtp_fast.evaluation.vector import LocalSlots, make
from gtp_fast.policy import results
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream


def by_hand(
    seed: int, training_seed: int, episode: int, policy: Linear, limit: int = 30
) -> tuple[float, int, float]:
    """Play one episode alone, as the protocol defines it."""
    environment = make(fake_environments.spec(limit))
    start = np.random.SeedSequence((seed, episode)).generate_state(1)[0] >> 1
    observation, _ = environment.reset(seed=int(start))
    key = philox.key_tensor([(seed << 32) + training_seed])
    total, success = 0.0, 0.0
    for step in range(1000):
        states, noise = torch.zeros(1, ROWS, 3), torch.zeros(1, ROWS, 2)
        row = episode % ROWS
        whole = np.concatenate([observation[key] for key in KEYS])
        states[0, row] = torch.from_numpy(whole.astype(np.float32))
        noise[0, row] = philox.normals(key, step, Stream.ACT, torch.tensor([episode]), 2)[0, 0]
        action = policy.sample(states, noise)[0, row].numpy()
        observation, reward, terminated, truncated, info = environment.step(3 * action + 1)
        total += float(reward)
        success = max(success, float(info["success"]))
        if terminated or truncated:
            break
    return total, step + 1, success


def test_every_episode_is_the_one_that_the_protocol_defines() -> None:
    evaluation = play((3, 5), 20, seed=11)
    assert evaluation.returns.shape == (2, 20)
    for policy, training_seed in enumerate((3, 5)):
        for episode in (0, 7, 16, 19):
            total, length, success = by_hand(11, training_seed, episode, Linear(2).only(policy))
            assert evaluation.returns[policy, episode] == total
            assert evaluation.lengths[policy, episode] == length
            assert evaluation.successes[policy, episode] == success


def test_noise_goes_on_in_an_episode_longer_than_what_is_drawn_at_once() -> None:
    evaluation = play(episodes=3, environments=2, seed=11, settings={"limit": 140})
    assert evaluation.lengths.max() == 140
    for episode in range(3):
        total, length, _ = by_hand(11, 3, episode, Linear(1), limit=140)
        assert (evaluation.returns[0, episode], evaluation.lengths[0, episode]) == (total, length)


def test_a_policy_that_gives_no_number_is_named_and_a_diverged_one_rests() -> None:
    def spoil(policies: Linear) -> Linear:
        policies.observation[1, 0, 1] = np.nan
        return policies

    options = {"processes": 0, "environments": 2}
    with Evaluator(fake_environments.spec(), KEYS, (3, 5), 2, **options) as evaluator:
        whole = evaluator.evaluate(Linear(2))
        with pytest.raises(UserError, match="seed 5 gives actions that are not finite"):
            evaluator.evaluate(spoil(Linear(2)))
        with pytest.raises(UserError, match="seed 5 gives actions that are not finite"):
            evaluator.evaluate(spoil(Linear(2)), diverged=[3])
        rested = evaluator.evaluate(spoil(Linear(2)), diverged=[5])
        still = Linear(2)
        still.observation[1], still.noise[1] = 0.0, 0.0
        assert equal(rested, evaluator.evaluate(still))
    assert np.array_equal(rested.returns[0], whole.returns[0])


def test_short_and_long_episodes_both_occur_and_count_once() -> None:
    lengths = play(episodes=60, environments=4).lengths
    assert lengths.min() < 10
    assert (lengths == 30).sum() > 10
    # In-flight counting of "the first 60 to end" would drop long ones: nothing may depend on it.
    assert np.array_equal(lengths, play(episodes=60, environments=60).lengths)


@pytest.mark.parametrize(
    "options", [{"environments": 1}, {"environments": 20}, {"environments": 3}]
)
def test_the_number_of_environments_changes_nothing(options: dict[str, int]) -> None:
    assert equal(play((3, 5)), play((3, 5), **options))


def test_more_episodes_begin_with_the_same_ones() -> None:
    assert np.array_equal(play(episodes=9).returns, play(episodes=20).returns[:, :9])


def test_a_policy_among_others_scores_as_it_does_alone() -> None:
    together = play((3, 5))
    alone = play((5,), sampler=Linear(2).only(1))
    assert np.array_equal(together.returns[1], alone.returns[0])


def test_the_seed_decides_everything() -> None:
    assert equal(play(seed=4), play(seed=4))
    assert not np.array_equal(play(seed=4).returns, play(seed=5).returns)


def test_an_evaluator_can_be_used_again_and_starts_afresh() -> None:
    with Evaluator(fake_environments.spec(), KEYS, (3,), 20, processes=0) as evaluator:
        first = evaluator.evaluate(Linear(1))
        assert equal(first, evaluator.evaluate(Linear(1)))


def test_the_action_box_is_the_environments_unless_given() -> None:
    # The environment asserts that actions lie in its own box, which is neither [-1, 1] nor centred.
    assert not np.array_equal(play().returns, play(low=(-1.0, -1.0), high=(1.0, 1.0)).returns)


def test_success_is_nan_where_the_environment_does_not_tell() -> None:
    evaluation = play(settings={"tells_success": False, "flat": True}, sampler=Flat())
    assert np.isnan(evaluation.successes).all()
    assert "success_rate" not in evaluation.means()


def test_a_success_that_is_not_reported_is_a_failure_where_others_are() -> None:
    told, silent = (
        play((3, 5), settings={"limit": 4, "tells_failure": tells}) for tells in (True, False)
    )
    assert 0.0 < told.successes.mean() < 1.0 and equal(told, silent)
    nothing = replace(told, successes=np.full_like(told.successes, np.nan))
    whole = joined([told, nothing])
    assert whole.successes.tolist() == [*told.successes.tolist(), *np.zeros((2, 20)).tolist()]
    assert whole.means()["success_rate"] == [*told.successes.mean(1), 0.0, 0.0]


class Flat:
    """A policy of the flat observation."""

    draws = 1

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        assert observation.shape[2] == 2
        return torch.tanh(observation - noise)


class Noisy(Linear):
    """A policy that takes three draws of noise, each for itself."""

    draws = 3

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        assert noise.shape[1:3] == (3, ROWS)
        assert not torch.equal(noise[:, 0], noise[:, 1])
        one: Tensor = super().sample(observation, noise[:, 0] - 0.5 * noise[:, 1] * noise[:, 2])
        return one


def test_noise_of_every_step_is_an_episodes_own() -> None:
    few, many = (play(episodes=18, sampler=Noisy(1), environments=n) for n in (2, 9))
    assert equal(few, many)
    assert not equal(few, play(episodes=18))


def test_a_slot_that_rests_yields_nothing() -> None:
    slots = LocalSlots(fake_environments.spec(limit=1), 2, KEYS)
    first = slots.reset([1, None], np.ones(2, bool)).copy()
    moment = slots.step(np.zeros((2, 2), np.float32))
    assert moment.ended.tolist() == [True, False]
    assert moment.reward[1] == 0.0 and np.isnan(moment.success[1])
    assert np.array_equal(moment.observation[1], first[1])
    slots.close()


@pytest.mark.parametrize("error", [RuntimeError("the window is gone"), SystemExit(0)])
def test_an_environment_that_cannot_be_closed_leaves_none_open(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slots, closed = LocalSlots(fake_environments.spec(), 3, KEYS), []

    def fails() -> None:
        closed.append("fails")
        raise error

    for environment, close in zip(
        slots._env.envs, (lambda: closed.append(0), fails, lambda: closed.append(2)), strict=True
    ):
        monkeypatch.setattr(environment, "close", close)
    slots.close()
    slots.close()
    assert sorted(map(str, closed)) == ["0", "2", "fails"]
    assert capsys.readouterr().err.count("failed when it was closed") == 1


def test_progress_counts_finished_episodes() -> None:
    told: list[tuple[int, int]] = []
    play((3, 5), 6, environments=2, progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (12, 12)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    told.clear()
    options = {"processes": 0, "progress": lambda done, of: told.append((done, of))}
    with Evaluator(fake_environments.spec(), KEYS, (3,), 6, **options) as evaluator:
        evaluator.evaluate(Linear(1), episodes=2)
    assert told[-1] == (2, 2)


def test_a_bad_protocol_is_refused() -> None:
    with pytest.raises(UserError, match="--episodes must be at least 1, not 0"):
        Evaluator(fake_environments.spec(), KEYS, (0,), 0)


def test_the_deviation_over_seeds_is_that_of_a_sample() -> None:
    lines = results.grid([3, 4], {"return": ([1.0, 3.0], 2), "length": ([5.0, 5.0], 1)})
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert (rows["mean"], rows["std"]) == (["2.00", "5.0"], ["1.41", "0.0"])
    assert len(results.grid([3], {"return": ([1.0], 2)})) == 2
