"""The rows that the losses of one update are made of: times, noise, weights, and phi at will."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.agents.gtp import GTP
    from gtp_fast.data.table import Batch


class Rows:
    """The rows of one update: times, noise, weights, and phi of any weights at any place."""

    def __init__(self, agent: GTP, batch: Batch, w: Tensor, step: int | Tensor):
        c = self.config = agent.config
        self.agent, self.batch, self.w = agent, batch, w.detach()
        n_t, n_u, n_tau = reference.draw_times(
            agent.keys, step, c.batch_size, agent.node_count, c.u_mode, agent.cdf
        )
        if c.objective == "consistency":
            # The drawn tau is uniform below t, which is the uniform law of u when tau is 0.
            n_u = n_tau if c.u_mode == "uniform" else n_u
            n_tau = torch.zeros_like(n_tau)
        z = agent.ops.normals(
            agent.keys, step, Stream.NOISE, c.batch_size, agent.action_dim, agent.dtype
        )
        self.p = reference.perturb_at(
            batch.action, z, agent.nodes, n_t, n_u, n_tau,
            kind=c.precondition, sigma_data=c.sigma_data, t_min=c.t_min,
        )  # fmt: skip
        n_middle = (n_t + n_tau) // 2
        self.middle = torch.where(n_middle > 0, agent.nodes[n_middle], 0.0)
        self.start = torch.zeros_like(batch.action)
        self.target_views = agent.actor.average_views if c.teacher == "ema" else agent.actor.views

    def offset(self, views: Mapping[str, Tensor]) -> reference.Offset:
        """Return phi - a of a set of weights as a function of displacement, t and s."""
        a, z = self.batch.action, self.p.z

        def apply(delta: Tensor, t: Tensor, s: Tensor) -> Tensor:
            return self.agent.clean(views, a + t[..., None] * z + delta, t, s, self.batch) - a

        return apply

    def student(self) -> tuple[Tensor, Tensor]:
        """Return phi - a of the actor at (t, tau) and at (t, t), in one pass."""
        p, states = self.p, self.batch.observation
        output = self.agent.network(self.agent.actor.views, p.student_x, p.student_levels, states)
        first, second = (
            reference.clean_action(p.a_t, part, p.skip_t, p.out_t) - self.batch.action
            for part in output.chunk(2, 1)
        )
        return first, second

    def mean(self, residual: Tensor) -> Tensor:
        """Return the w-weighted mean over the batch of a residual's distance: [S]."""
        return (self.w * reference.distance(residual, self.config.huber)).mean(-1)

    def flow(self, d: Tensor) -> Tensor:
        """Return the flow loss (eq. 18) of phi - a at (t, t): [S]."""
        c = self.config
        weight = self.w * reference.flow_weight(self.p.t, c.flow_weight, c.sigma_data)
        return (weight * d.square().sum(-1)).mean(-1)
