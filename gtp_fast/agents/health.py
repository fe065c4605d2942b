"""Figures of an agent on a table: they show whether guidance and policy work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.agents.acting import ActBy
    from gtp_fast.agents.base import Agent
    from gtp_fast.data.table import TransitionTable
    from gtp_fast.reference import FoldedPolicy

Figures = dict[str, list[float]]
ROWS = 1024
"""Rows of the table that every figure is taken on."""
SAMPLES = 16
"""Actions whose mean stands for E[a|s]."""
_LARGEST = torch.finfo(torch.float32).max


def figures(agent: Agent, table: TransitionTable, step: int | None = None) -> Figures:
    """Return every figure of the agent, one value a seed; its parameters stay as they are.

    `weight_*`: of agents that weigh their rows. `map_*`, `euler_error`: of flow maps.
    `action_std_*`: of all agents. step: the update whose guidance weighs, as in
    `Agent.weights_of`. The rows are the same at every call.
    """
    index = rows(agent, table)
    with torch.no_grad():
        found = weight_figures(agent, table, index, step) | action_figures(agent, table, index)
    return found | action_spread(agent, table)


def rows(agent: Agent, table: TransitionTable) -> Tensor:
    """Return the indices [S, ROWS] of the rows that figures are taken on."""
    return agent.ops.integers(agent.keys, 0, Stream.HEALTH_ROWS, ROWS, len(table))


def weight_figures(
    agent: Agent, table: TransitionTable, index: Tensor, step: int | None = None
) -> Figures:
    """Return effective share, repeatability and order of the weights of rows `index` [S, n].

    `weight_ess`: effective sample size of w as a share of the rows. `weight_correlation`: between
    two draws of w with different policy actions for V(s). `weight_quartile_1..4`: mean of w times
    how often the row is drawn (1 if all alike), by the quartile of the episode's score, by which
    whole episodes guide, lowest first; nan for an empty quartile.
    """
    drawn = [agent.weights_of(table, index, draw, step) for draw in range(2)]
    if drawn[0] is None or drawn[1] is None:
        return {}
    # The paper's unclamped weights may be infinite, where neither figure is defined.
    w, again = (one.double().clamp(max=_LARGEST) for one in drawn if one is not None)
    quartile = reference.quartiles(table.episode_scores())[table.episode[index].long()]
    means = reference.quartile_means(w * _frequency(table, index), quartile)
    return {
        "weight_ess": reference.effective_share(w).tolist(),
        "weight_correlation": reference.correlation(w, again).tolist(),
        **{f"weight_quartile_{i}": mean.tolist() for i, mean in enumerate(means, 1)},
    }


def _frequency(table: TransitionTable, index: Tensor) -> Tensor | float:
    """Return how often rows `index` are drawn, relative to drawing all rows alike."""
    if table.lots is None:
        return 1.0
    return len(table) * reference.alias_shares(table.lots)[index]


def action_figures(agent: Agent, table: TransitionTable, index: Tensor) -> Figures:
    """Return the error of the mean action at rows `index` [S, n], by map and by flow.

    `map_error`, `euler_error`: mean squared distance, per action number, between the data's action
    and the mean of SAMPLES actions, by the K-step map and by K Euler steps of phi(., t, t);
    `map_std`: standard deviation of the map's actions at one state. Both start from the same noise.
    """
    euler = agent.euler_policy(agent.acting_weights)
    if euler is None:
        return {}
    batch = table.gather(index)
    states = batch.observation.to(agent.dtype).repeat(1, SAMPLES, 1)
    drawn = {}
    for name, policy in (("map", agent.folded(agent.acting_weights)), ("euler", euler)):
        drawn[name] = _samples(agent, policy, states)
    return {
        **{
            f"{name}_error": reference.mean_action_error(samples, batch.action).tolist()
            for name, samples in drawn.items()
        },
        "map_std": reference.action_deviation(drawn["map"]).tolist(),
    }


def held_out_figures(agent: Agent, table: TransitionTable, held: TransitionTable) -> Figures:
    """Return the error of the mean action on rows of both tables.

    `trained_error`: on rows that are trained on; `held_out_error`: on those that are not. Squared
    and per action number, of SAMPLES actions by the map or the steps that act, with all of their
    noise and none chosen among candidates.
    """
    policy, found = agent.acting_policy(noise_scale=1.0), {}
    for name, one in (("trained_error", table), ("held_out_error", held)):
        batch = one.gather(rows(agent, one))
        states = agent.raw(batch.observation.to(agent.dtype)).repeat(1, SAMPLES, 1)
        actions = _samples(agent, policy, states)
        found[name] = reference.mean_action_error(actions, batch.action).tolist()
    return found


def _samples(agent: Agent, policy: FoldedPolicy, states: Tensor) -> Tensor:
    """Return actions [S, SAMPLES, n, A] at states [S, SAMPLES n, O], always by the same noise."""
    sampler = agent.ops.sampler(policy)
    noise = agent.chain_noise(0, Stream.HEALTH_ACTION, states.shape[1], sampler.draws)
    count = states.shape[1] // SAMPLES
    return sampler.sample(states, noise).view(len(states), SAMPLES, count, -1)


def action_spread(agent: Agent, table: TransitionTable, count: int = 256) -> Figures:
    """Return the standard deviation of `count` actions at the table's first state.

    `action_std_k_steps`: by all K steps; `action_std_one_jump`: by one, where K may be chosen.
    """
    first = agent.raw(table.rows[0, : agent.observation_dim].to(agent.dtype))
    state = first.expand(len(agent.seeds), 1, -1)
    states, spread = state.expand(-1, count, -1), {}
    for name, k in (("one_jump", 1), ("k_steps", None))[not agent.k_is_free :]:
        # Only jumps can collapse in one step: one Euler step is a mean by its nature.
        by: ActBy | None = None if agent.act_by is None else "map"
        policy = agent.acting(None, k, num_candidates=1, noise_scale=1.0, act_by=by).sampler
        samples = policy.sample(states, agent.chain_noise(0, Stream.ACT, count, policy.draws))
        deviation = reference.action_deviation(samples[:, :, None])
        spread[f"action_std_{name}"] = deviation.tolist()
    return spread
