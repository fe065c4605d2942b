"""GTP, Algorithm 1 of the paper, as an agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.gtp import update, update_native, update_triton
from gtp_fast.agents.gtp.config import GTPConfig
from gtp_fast.agents.gtp.state import GTPState
from gtp_fast.agents.trajectories import favoured
from gtp_fast.data.table import Batch
from gtp_fast.ops import critics
from gtp_fast.ops.candidates import Score
from gtp_fast.reference import FoldedPolicy, Totals
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.data.table import TransitionTable

__all__ = ["GTP", "GTPConfig"]

FORMS: dict[str, Any] = {"native": update_native, "triton": update_triton}


class GTP(GTPState):
    """Generative Trajectory Policy: a flow map as the actor, guided by episodes or by weights.

    Whole episodes guide by how often their rows are drawn, weights by the advantages of a double-Q
    critic, which is trained where they are asked for.
    """

    do: Callable[[TransitionTable, int | Tensor], Tensor] | None
    """The update in the form that was chosen, made before the first of a run."""

    def prepare(self, total_updates: int) -> None:
        """Fix the length of the run, which decides the schedule of N."""
        super().prepare(total_updates)
        # It reads the time grid at its address, which is another one from now on.
        self.do = None

    def advance(self, step: int, table: TransitionTable) -> None:
        """Make the update before the first one; see `GTPState.advance`."""
        super().advance(step, table)
        if self.do is None:
            fused = FORMS.get(self.ops.forms["mlp"].name)
            self.do = fused.build(self) if fused and fused.serves(self) else update.build(self)
            together = self.setup.launches.critics_together and not self.clones
            if together and not isinstance(self.do, update_triton.TritonUpdate):
                raise critics.refused("it is a part of Triton's update, which does not serve here")
        if isinstance(self.do, update_triton.TritonUpdate):
            self.do.refresh()

    def update(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Do one iteration of Algorithm 1: critic, weights, actor, moving averages."""
        if isinstance(step, int):
            self.advance(step, table)
        assert self.do is not None, "advance comes before an update"
        return self.do(table, step)

    def update_into(self, totals: Totals, table: TransitionTable, step: Tensor) -> None:
        """Do an update as in `Agent.update_into`, in one launch fewer where a step can account."""
        if isinstance(self.do, update_triton.TritonUpdate) and self.setup.launches.step_accounts:
            self.do(table, step, totals)
        else:
            super().update_into(totals, table, step)

    def drawn_from(self, table: TransitionTable) -> TransitionTable:
        """Return the table with better episodes favoured, unless nothing is to guide."""
        c = self.config
        if c.trajectory_eta == 0.0 or not self.guided:
            return table
        return favoured(
            table, c.trajectory_eta, c.trajectory_maximum, c.trajectory_least_share,
            c.trajectory_piece, c.discount,
        )  # fmt: skip

    def score(self, seed: int | None = None) -> Score | None:
        """Return the target critic's score; None for behaviour cloning, which trains no critic."""
        return None if self.clones else self.critic.score(seed)

    def weights_of(
        self, table: TransitionTable, index: Tensor, draw: int, step: int | None = None
    ) -> Tensor | None:
        """Return w [S, n] of rows `index` [S, n] as one batch (std(A) is theirs); 1 for clones."""
        if step is not None:
            # Where other processes train, or none has yet, eta is that of no update.
            super().advance(step, table)
        batch = Batch(*(field.to(self.dtype) for field in table.gather(index)))
        if self.clones:
            return torch.ones_like(batch.reward)
        if self.value is not None:
            return self.weigh(batch, None)[0]
        chain = self.ops.chain(self.folded("ema"))
        states = batch.observation.repeat(1, self.config.value_samples, 1)
        noise = self.chain_noise(draw, Stream.HEALTH_VALUE, states.shape[1], chain.draws)
        return self.weigh(batch, chain.sample(states, noise))[0]

    def euler_policy(self, weights: str = "ema", k: int | None = None) -> FoldedPolicy | None:
        """Return K Euler steps of phi(., t, t) over `reference.flow_times`.

        None for objective flow, which acts by its own solver.
        """
        if self.act_by is None:
            return None
        c = self.config
        times = reference.flow_times(k or c.k, c.sigma_data, c.t_min, c.t_max, torch.float64)
        return self.folded(weights, k, reference.euler_plan, tuple(times.tolist()))
