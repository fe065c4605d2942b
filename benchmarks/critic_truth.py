"""python -m benchmarks.critic_truth RUN: does the critic rank actions as the simulator does?

At states of the data two actions are compared, the data's and one that the policy draws. The critic
says min Q(s, a) - min Q(s, a'); the simulator says how far the discounted returns differ when the
policy goes on after the one and after the other. Rollouts have noise of their own, so a correlation
is small even for a good critic; one that stays at 0 over many states says that it knows nothing of
single actions, whatever its twins agree on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

import gtp_fast
from gtp_fast import cli
from gtp_fast.errors import UserError
from gtp_fast.evaluation import vector
from gtp_fast.policy import restore
from gtp_fast.policy.policy import Policy
from gtp_fast.studies.markdown import table as markdown

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """Which critic is judged, and how closely."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of a task in MuJoCo's Hopper, HalfCheetah or Walker2d."""
    checkpoint: str = "last"
    """last, best, or the path of a checkpoint."""
    states: int = 400
    """States of the data, drawn by chance."""
    horizon: int = 100
    """Steps of a rollout, the first one included."""


def main(argv: Sequence[str]) -> int:
    """Print how the critic's advantages go with the simulator's; return the exit code."""
    print(judged(cli.parse(Options, argv, "python -m benchmarks.critic_truth", __doc__)))
    return 0


def judged(options: Options) -> str:
    """Return the table of correlations for the run's first seed."""
    if min(options.states - 2, options.horizon) < 1:
        raise UserError("--states must be at least 3 and --horizon at least 1.")
    agent, saved = restore.restore(options.run, options.checkpoint)
    score = agent.raw_score(0)
    if score is None:
        raise UserError(f"{options.run} has no critic: name a run that trained one.")
    spec = restore.environment_of(saved.config, options.run)
    if spec is None:
        raise UserError(f"{options.run} has no environment to roll out in: name another run.")
    table = restore.table_of(saved.config)
    rows = torch.from_numpy(np.random.default_rng(0).choice(len(table), options.states))
    observation = agent.raw(table.all().observation[rows].float())
    action = table.all().action[rows].float()
    drawn = gtp_fast.load(
        options.run, checkpoint=options.checkpoint, noise_scale=1.0, num_candidates=1
    )
    policy = gtp_fast.load(options.run, checkpoint=options.checkpoint)
    other = drawn.act(observation, seed=0)
    said = [
        score(observation[None], each[None])[0].detach().double().numpy()
        for each in (action, other)
    ]
    true = [
        returns(
            spec,
            observation.double().numpy(),
            each.double().numpy(),
            policy,
            options.horizon,
            agent.config.discount,
        )
        for each in (action, other)
    ]
    return report(said, true, options)


def returns(
    spec: EnvSpec,
    states: Floats,
    actions: Floats,
    policy: Policy,
    horizon: int,
    discount: float,
) -> Floats:
    """Return the discounted returns [N] of actions [N, A] at states [N, O], then of the policy.

    UserError where the environment's state cannot be told from an observation.
    """
    environments = [vector.make(spec).unwrapped for _ in states]
    for environment, state in zip(environments, states, strict=True):
        _put(environment, state, spec.id)
    total, alive, observations = np.zeros(len(states)), np.ones(len(states), bool), states.copy()
    for step in range(horizon):
        for i in np.flatnonzero(alive):
            seen, reward, ended, *_ = environments[i].step(actions[i])
            observations[i], alive[i] = seen, not ended
            total[i] += discount**step * float(reward)
        actions = np.asarray(policy.act(observations, seed=0, step=step + 1), np.float64)
    for environment in environments:
        environment.close()
    return total


def _put(environment: Any, state: Floats, name: str) -> None:
    """Put a locomotion environment into the state that an observation shows."""
    environment.reset(seed=0)
    positions, velocities = (
        (environment.model.nq, environment.model.nv) if hasattr(environment, "model") else (0, 0)
    )
    if len(state) != positions + velocities - 1:
        raise UserError(
            f"{name} does not show its whole state: name a run in Hopper, HalfCheetah or Walker2d."
        )
    # The place along the track is left out of observations and of rewards.
    environment.set_state(np.concatenate(([0.0], state[: positions - 1])), state[positions - 1 :])


def report(said: Sequence[Floats], true: Sequence[Floats], options: Options) -> str:
    """Return the table of what the critic says and what is true, of both actions."""
    advantage, difference = said[0] - said[1], true[0] - true[1]
    ranks = [x.argsort().argsort().astype(float) for x in (advantage, difference)]
    lines = [
        ["values of the data's actions", _correlation(said[0], true[0])],
        ["advantages over the policy's", _correlation(advantage, difference)],
        ["the same, by ranks", _correlation(*ranks)],
    ]
    return (
        markdown(["critic and simulator", "correlation"], lines, aligned=False)
        + f"\n\n{options.states} states, rollouts of {options.horizon} steps; by chance alone a "
        f"correlation is below {2 / np.sqrt(options.states):.2f} in 95 of 100 tries. Standard "
        f"deviation of the advantages: {advantage.std():.3g} by the critic, {difference.std():.3g} "
        "in the simulator."
    )


def _correlation(one: Floats, other: Floats) -> str:
    return f"{np.corrcoef(one, other)[0, 1]:.2f}"


if __name__ == "__main__":
    sys.exit(cli.run(main))
