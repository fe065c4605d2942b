"""python -m benchmarks.critic_truth RUN: does the critic rank actions as the simulator does?

At states of the data two actions are compared: the data's, and one that the policy draws with all
of its noise. The critic says min Q(s, a) - min Q(s, a'). The simulator says how far the discounted
returns differ when the policy goes on, as it acts, after the one and after the other. Rollouts have
noise of their own; two of each action say how much, and so how well a perfect critic would do. The
quarter of the states from which the rollouts return least is judged by itself too: falls of the
robot are among them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import gymnasium
import numpy as np
import torch
import tyro
from numpy.typing import NDArray

import gtp_fast
from gtp_fast import cli
from gtp_fast.errors import UserError
from gtp_fast.evaluation import vector
from gtp_fast.policy import restore
from gtp_fast.policy.policy import Policy
from gtp_fast.studies.markdown import table as markdown

Floats = NDArray[np.float64]
NAMES = {
    "Q": "values of the data's actions",
    "A": "advantages over the policy's",
    "A by ranks": "the same, by ranks",
    "A, least return": "advantages, where the return is least",
    "A by ranks, least return": "the same, by ranks",
}
"""Figure -> its row of the table."""


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
    return report(*compared(options), options)


def compared(options: Options) -> tuple[list[Floats], list[list[Floats]]]:
    """Return Q of the data's actions and of the policy's, and two rollouts' returns of both.

    Arrays are [states]. Raises UserError for a run without a critic or an environment to roll out
    in, and where the data have too few states that are shown whole.
    """
    if min(options.states - 2, options.horizon) < 1:
        raise UserError("--states must be at least 3 and --horizon at least 1.")
    agent, saved = restore.restore(options.run, options.checkpoint)
    score = agent.raw_score(0)
    if score is None:
        raise UserError(f"{options.run} has no critic: name a run that trained one.")
    spec = restore.environment_of(saved.config, options.run)
    if spec is None:
        raise UserError(f"{options.run} has no environment to roll out in: name another run.")
    everything = restore.table_of(saved.config).all()
    observation = agent.raw(everything.observation.float())
    # Hopper and Walker2d show velocities up to 10, so a row with a 10 hides its state.
    shown = torch.nonzero((observation.abs() != 10).all(-1))[:, 0]
    if len(shown) < options.states:
        raise UserError(f"--states is {options.states}, the data have {len(shown)} whole ones.")
    rows = shown[np.random.default_rng(0).choice(len(shown), options.states, replace=False)]
    observation, action = observation[rows], everything.action[rows].float()
    # Weights compare with what the map draws, whatever acts.
    map_of = {} if agent.act_by is None else {"act_by": "map"}
    load = functools.partial(gtp_fast.load, options.run, checkpoint=options.checkpoint)
    drawn, policy = load(noise_scale=1.0, num_candidates=1, **map_of), load()
    actions = [action, drawn.act(observation, seed=0)]
    said = [score(observation[None], each[None])[0].detach().double().numpy() for each in actions]
    states, rest = observation.double().numpy(), (policy, options.horizon, agent.config.discount)
    environments = [vector.make(spec) for _ in rows]
    true = [
        [returns(environments, states, a.double().numpy(), *rest, seed) for a in actions]
        for seed in (0, 1)
    ]
    for environment in environments:
        environment.close()
    return said, true


def returns(
    environments: Sequence[gymnasium.Env[Any, Any]],
    states: Floats,
    actions: Floats,
    policy: Policy,
    horizon: int,
    discount: float,
    seed: int,
) -> Floats:
    """Return the discounted returns [N] of actions [N, A] at states [N, O], then of the policy.

    environments: one for each state. seed: of the policy's noise. UserError where the environment's
    state cannot be told from an observation.
    """
    # Without the time limit, which a rollout from the middle of an episode does not know.
    bare: list[Any] = [environment.unwrapped for environment in environments]
    for environment, state in zip(bare, states, strict=True):
        _put(environment, state)
    total, alive, observations = np.zeros(len(states)), np.ones(len(states), bool), states.copy()
    for step in range(horizon):
        for i in np.flatnonzero(alive):
            seen, reward, ended, *_ = bare[i].step(actions[i])
            observations[i], alive[i] = seen, not ended
            total[i] += discount**step * float(reward)
        actions = np.asarray(policy.act(observations, seed=seed, step=step + 1), np.float64)
    return total


def _put(environment: Any, state: Floats) -> None:
    """Put a locomotion environment into the state that an observation shows."""
    environment.reset(seed=0)
    positions, velocities = (
        (environment.model.nq, environment.model.nv) if hasattr(environment, "model") else (0, 0)
    )
    if len(state) != positions + velocities - 1:
        raise UserError(
            f"{vector.name_of(environment)} does not show its whole state: name a run in Hopper, "
            "HalfCheetah or Walker2d."
        )
    # The place along the track is left out of observations and of rewards.
    environment.set_state(np.concatenate(([0.0], state[: positions - 1])), state[positions - 1 :])


def correlations(
    said: Sequence[Floats], true: Sequence[Sequence[Floats]]
) -> dict[str, tuple[float, float, float]]:
    """Return figure -> correlation of the critic, of two rollouts and of a perfect critic.

    said, true: as `compared` returns them. nan where two rollouts contradict each other.
    """
    advantages = _advantages(said, true)
    # Of both actions, so that the choice of states says nothing about their difference.
    least = np.mean(true, (0, 1)).argsort()[: max(3, len(said[0]) // 4)]
    found = {"Q": _correlations(said[0], *(rollout[0] for rollout in true))}
    for place, figures in (
        ("", advantages),
        (", least return", [x[least] for x in advantages]),
    ):
        ranks = [x.argsort().argsort().astype(float) for x in figures]
        found[f"A{place}"] = _correlations(*figures)
        found[f"A by ranks{place}"] = _correlations(*ranks)
    return found


def report(said: Sequence[Floats], true: Sequence[Sequence[Floats]], options: Options) -> str:
    """Return the table of what the critic says and what two rollouts find."""
    lines = [
        [NAMES[name], *("-" if np.isnan(x) else f"{x:.2f}" for x in figures)]
        for name, figures in correlations(said, true).items()
    ]
    deviations = [f"{x.std():.3g}" for x in _advantages(said, true)[:2]]
    return (
        markdown(
            ["correlation", "critic", "two rollouts", "a perfect critic"], lines, aligned=False
        )
        + f"\n\n{options.states} states, rollouts of {options.horizon} steps. A perfect critic, "
        "which knows the mean of all rollouts, correlates with one of them by the root of what two "
        f"of them do. Standard deviation of the advantages: {deviations[0]} by the critic, "
        f"{deviations[1]} by a rollout."
    )


def _advantages(said: Sequence[Floats], true: Sequence[Sequence[Floats]]) -> list[Floats]:
    """Return those of the critic and of each rollout."""
    return [said[0] - said[1], *(rollout[0] - rollout[1] for rollout in true)]


def _correlations(critic: Floats, one: Floats, other: Floats) -> tuple[float, float, float]:
    """Return the critic's correlation with a rollout, that of two, and the best possible."""
    found, own = (float(np.corrcoef(x, one)[0, 1]) for x in (critic, other))
    return found, own, float(np.sqrt(own)) if own > 0 else float("nan")


if __name__ == "__main__":
    sys.exit(cli.run(main))
