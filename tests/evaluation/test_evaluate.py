"""Evaluation: whole episodes, counted once each, the same however they are run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import fake_environments
import gymnasium
import numpy as np
import pytest
import torch
from fake_policies import KEYS, Linear, equal, play
from fake_runs import make_run
from torch import Tensor

from gtp_fast import cli, evaluate
from gtp_fast.errors import UserError
from gtp_fast.evaluation.episodes import ROWS
from gtp_fast.evaluation.evaluator import Evaluator
from gtp_fast.evaluation.record import joined
from gtp_fast.evaluation.vector import LocalSlots, make
from gtp_fast.policy import results
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream
from gtp_fast.runs import checkpoint


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


def test_the_deviation_over_seeds_is_that_of_a_sample() -> None:
    lines = results.grid([3, 4], {"return": ([1.0, 3.0], 2), "length": ([5.0, 5.0], 1)})
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert (rows["mean"], rows["std"]) == (["2.00", "5.0"], ["1.41", "0.0"])
    assert len(results.grid([3], {"return": ([1.0], 2)})) == 2
