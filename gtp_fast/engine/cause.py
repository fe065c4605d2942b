"""What first broke its bounds in the update at which a seed diverged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch

from gtp_fast.agents.base import Agent
from gtp_fast.data.table import TransitionTable
from gtp_fast.reference.philox import Stream

Part = Literal["critic", "weights", "actor"]

# In the order of an update: V steps (IQL) and makes the target of Q, the critic steps, its new
# values make the weights, the actor steps.
_CRITIC = ("value_loss", "value", "critic_loss")
_VALUES = ("q", "value", "advantage_std")
_WEIGHTS = ("weight", "weight_max")
_GRADIENT = "critic_gradient"
_SAID = {
    "q": "the critic's Q", "value": "the critic's V", "advantage_std": "the critic's advantage",
    "weight": "a weight w", "weight_max": "a weight w", "critic_gradient": "the critic's gradient",
    "actor_gradient": "the actor's gradient", "flow_gradient": "the flow's gradient",
}  # fmt: skip
_ROWS = 64
_SQUARED = float(torch.finfo(torch.float32).max) ** 0.5
"""A value beyond it makes a squared loss infinite."""


class Cause(NamedTuple):
    """The first quantity beyond its bounds."""

    term: str
    """What a message calls it."""
    part: Part
    stepped: bool
    """Whether a step of that update caused it: then a rate may be at fault even at update 0."""


def broken(bad: Sequence[str], sums: Mapping[str, float]) -> tuple[str, ...]:
    """Return the names of what is beyond its bounds, in the order of an update.

    bad: losses that were beyond their bounds in that update. sums: every other metric, summed since
    the last row of the table. A diverged seed no longer changes, so a sum that is not finite became
    so at the divergence; a value is beyond its bounds already where its square is not finite.
    """
    bounds = dict.fromkeys(_VALUES, _SQUARED)
    found = [name for name, x in sums.items() if not abs(x) < bounds.get(name, math.inf)]
    # A critic whose gradient breaks takes no step, so that no loss of the actor follows from it.
    order = (*_CRITIC, *_VALUES, *_WEIGHTS, *bad) if bad else (_GRADIENT, *_VALUES, *_WEIGHTS)
    return tuple(dict.fromkeys(x for x in (*order, *found) if x in bad or x in found))


def first(agent: Agent, table: TransitionTable, index: int, names: Sequence[str]) -> Cause:
    """Return the cause for seed number `index`; names: as `broken` returns them.

    It runs the policy, so it belongs to a seed that has diverged and to no update.
    """
    name = names[0] if names else "a loss or gradient"
    of_critic = name in (*_CRITIC, _GRADIENT, *_VALUES)
    if (of_critic or name in _WEIGHTS) and not _acts(agent, table, index):
        return Cause("an action of the policy", "actor", stepped=False)
    part: Part = "critic" if of_critic else "weights" if name in _WEIGHTS else "actor"
    return Cause(_SAID.get(name, name), part, stepped=name in (*_VALUES, *_WEIGHTS))


def _acts(agent: Agent, table: TransitionTable, index: int) -> bool:
    """Return whether the actions that training draws at the table's first rows are finite."""
    states = table.rows[:_ROWS, : agent.observation_dim].to(agent.dtype)
    with torch.no_grad():
        policy = agent.ops.sampler(agent.folded(agent.acting_weights))
        noise = agent.chain_noise(0, Stream.ACT, len(states), policy.draws)
        actions = policy.sample(states.expand(len(agent.seeds), -1, -1).contiguous(), noise)
    return bool(actions[index].isfinite().all())
