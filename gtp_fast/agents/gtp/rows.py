"""What the objectives compute on: a batch with its times, its noise and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.agents.gtp.state import GTPState
    from gtp_fast.data.table import Batch


class Rows:
    """A batch with its weights w, times and noise, and phi on them."""

    def __init__(self, state: GTPState, batch: Batch, w: Tensor, step: int | Tensor):
        c = self.config = state.config
        self.state, self.batch, self.w = state, batch, w.detach()
        n_t, n_u, n_tau = reference.draw_times(
            state.keys, step, c.batch_size, state.node_count, c.u_mode, state.cdf
        )
        if c.objective == "consistency":
            # The drawn tau is uniform below t, which is the uniform law of u when tau is 0.
            n_u = n_tau if c.u_mode == "uniform" else n_u
            n_tau = torch.zeros_like(n_tau)
        z = state.ops.normals(
            state.keys, step, Stream.NOISE, c.batch_size, state.action_dim, state.dtype
        )
        self.p = reference.perturb_at(
            batch.action, z, state.nodes, n_t, n_u, n_tau,
            kind=c.precondition, sigma_data=c.sigma_data, t_min=c.t_min,
        )  # fmt: skip
        self.jump_weight = reference.consistency_weight(
            self.p.t, self.p.u, state.node_count, c.consistency_weight
        )
        n_middle = (n_t + n_tau) // 2
        self.middle = torch.where(n_middle > 0, state.nodes[n_middle], 0.0)
        self.start = torch.zeros_like(batch.action)
        self.target_views = state.actor.average_views if c.teacher == "ema" else state.actor.views

    def offset(self, views: Mapping[str, Tensor]) -> reference.Offset:
        """Return phi - a of a set of weights as a function of displacement, t and s."""
        a, z = self.batch.action, self.p.z

        def apply(delta: Tensor, t: Tensor, s: Tensor) -> Tensor:
            return self.state.clean(views, a + t[..., None] * z + delta, t, s, self.batch) - a

        return apply

    def student(self) -> tuple[Tensor, Tensor]:
        """Return phi - a of the actor at (t, tau) and at (t, t), in one pass."""
        p, states = self.p, self.batch.observation
        output = self.state.network(self.state.actor.views, p.student_x, p.student_levels, states)
        first, second = (
            reference.clean_action(p.a_t, part, p.skip_t, p.out_t) - self.batch.action
            for part in output.chunk(2, 1)
        )
        return first, second

    def mean(self, residual: Tensor) -> Tensor:
        """Return the weighted mean over the batch of a jump's residual distance: [S]."""
        weight = self.w * self.jump_weight
        return (weight * reference.distance(residual, self.config.huber)).mean(-1)

    def flow(self, d: Tensor) -> Tensor:
        """Return the flow loss (eq. 18) of phi - a at (t, t): [S]."""
        c = self.config
        weight = self.w * reference.flow_weight(self.p.t, c.flow_weight, c.sigma_data)
        return (weight * d.square().sum(-1)).mean(-1)
