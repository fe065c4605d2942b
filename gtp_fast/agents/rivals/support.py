"""Support sets: the actions of a policy for each state that a dataset holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast.networks.parameters import Parameters
from gtp_fast.reference import FoldedPolicy
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.agents.base import Agent
    from gtp_fast.data.table import TransitionTable
    from gtp_fast.ops.sampling import Sampler

LARGEST = 2 << 30
"""Largest size of a policy's support sets in bytes, for each seed."""
_PASS = 1 << 16
"""Actions drawn in one pass, for each seed."""


class SupportPolicy:
    """A policy with fixed weights, and its support sets: M actions for each state.

    `draw` draws the sets of all N states of a table, [S, N, M A], which `sets` then reads. Without
    it `sets` draws those of the batch. fold: makes the policy of the weights; stream: of the noise,
    its rows are those of the table; next_states: the sets belong to s' instead of s.
    """

    def __init__(
        self,
        agent: Agent,
        weights: Parameters,
        fold: Callable[[Mapping[str, Tensor]], FoldedPolicy],
        stream: Stream,
        next_states: bool,
    ):
        self.agent, self.weights, self.fold = agent, weights, fold
        self.stream, self.next_states = stream, next_states
        self.actions: Tensor | None = None
        self.drawn_at: int | None = None

    def forget(self) -> None:
        """Drop the sets of the table."""
        self.drawn_at = None

    def pays(self, table: TransitionTable, updates: float) -> bool:
        """Return whether to `draw` the sets of a table that serve so many updates."""
        agent, c = self.agent, self.agent.config
        size = len(table) * c.support * agent.action_dim * agent.dtype.itemsize
        fewer: bool = updates * c.batch_size >= len(table) and size <= LARGEST
        return c.support_sets == "kept" or (c.support_sets == "auto" and fewer)

    def draw(self, sampler: Sampler, table: TransitionTable, step: int) -> None:
        """Draw the sets of all states with the noise of `step`, once for each step."""
        if self.drawn_at == step:
            return
        agent, (M, A) = self.agent, (self.agent.config.support, self.agent.action_dim)
        noise = agent.ops.normals(agent.keys, step, self.stream, len(table), M * A, agent.dtype)
        # In place: a captured update reads the memory that it was captured with.
        self.actions = noise if self.actions is None else self.actions.copy_(noise)
        sampler.load(self.fold(self.weights.views))
        rows = table.all()
        states = rows.next_observation if self.next_states else rows.observation
        size = max(1, _PASS // M)
        for actions, state in zip(
            torch.split(self.actions, size, 1), torch.split(states, size), strict=True
        ):
            state = state.to(agent.dtype).repeat_interleave(M, 0).expand(len(actions), -1, -1)
            drawn = sampler.sample(state, actions.reshape(len(actions), -1, A))
            actions.copy_(drawn.reshape(actions.shape))
        self.drawn_at = step

    def sets(
        self, sampler: Sampler, observation: Tensor, table: TransitionTable, step: int | Tensor
    ) -> Tensor:
        """Return a batch's actions [S, M B, A]: one of each state, then the next."""
        agent, c = self.agent, self.agent.config
        if self.drawn_at is None:
            z = agent.chain_noise(step, self.stream, c.support * c.batch_size)
            sampler.load(self.fold(self.weights.views))
            return sampler.sample(observation.repeat(1, c.support, 1), z)
        assert self.actions is not None
        index = agent.ops.integers(agent.keys, step, Stream.BATCH, c.batch_size, len(table))
        seeds = torch.arange(len(index), device=index.device)[:, None]
        drawn = self.actions[seeds, index].view(*index.shape, c.support, -1)
        return drawn.transpose(1, 2).flatten(1, 2)
