"""Support sets: the actions that a policy draws once for every state of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast.reference import FoldedPolicy
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.agents.base import Agent
    from gtp_fast.data.table import TransitionTable
    from gtp_fast.ops.sampling import Sampler

LARGEST = 2 << 30
"""Bytes that the sets of one policy may take for each seed."""
_PASS = 1 << 16
"""Actions drawn in one pass, for each seed."""


class SupportSets:
    """M actions of every seed for each of a table's N states, [S, N, M A] once they are drawn.

    stream: of their noise, whose rows are those of the table. following: for s' instead of s.
    """

    def __init__(self, agent: Agent, stream: Stream, size: int, following: bool):
        self.agent, self.stream, self.size, self.following = agent, stream, size, following
        self.actions: Tensor | None = None
        self.drawn_at: int | None = None

    def forget(self) -> None:
        """Count as not drawn."""
        self.drawn_at = None

    def fits(self, table: TransitionTable) -> bool:
        """Return whether the sets of a table stay below `LARGEST` bytes."""
        agent = self.agent
        return len(table) * self.size * agent.action_dim * agent.dtype.itemsize <= LARGEST

    def draw(self, chain: Sampler, policy: FoldedPolicy, table: TransitionTable, step: int) -> None:
        """Draw them all by a policy, with the noise of `step`; those of that step are kept."""
        if self.drawn_at == step:
            return
        agent, (M, A) = self.agent, (self.size, self.agent.action_dim)
        noise = agent.ops.normals(agent.keys, step, self.stream, len(table), M * A, agent.dtype)
        # A recorded update reads the memory that it was recorded with.
        self.actions = noise if self.actions is None else self.actions.copy_(noise)
        chain.load(policy)
        whole = table.all()
        states = whole.next_observation if self.following else whole.observation
        part = max(1, _PASS // M)
        for rows, state in zip(
            torch.split(self.actions, part, 1), torch.split(states, part), strict=True
        ):
            state = state.to(agent.dtype).repeat_interleave(M, 0).expand(len(rows), -1, -1)
            rows.copy_(chain.sample(state, rows.reshape(len(rows), -1, A)).reshape(rows.shape))
        self.drawn_at = step

    def of(self, index: Tensor) -> Tensor:
        """Return the actions [S, M B, A] of rows `index` [S, B]: one of each, then the next."""
        assert self.actions is not None
        seeds = torch.arange(len(index), device=index.device)[:, None]
        drawn = self.actions[seeds, index].view(*index.shape, self.size, -1)
        return drawn.transpose(1, 2).flatten(1, 2)
