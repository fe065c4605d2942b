"""The policy of a flow map: K jumps folded for a sampler, its flow by Euler steps, one jump."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.agents.gtp import objectives
from gtp_fast.agents.gtp.config import GTPConfig
from gtp_fast.networks import FlowMapNetwork
from gtp_fast.networks.learner import Learner
from gtp_fast.reference import FoldedPolicy

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch


@functools.cache
def _times(k: int, t_min: float, t_max: float) -> tuple[float, ...]:
    return tuple(reference.sampling_times(k, t_min, t_max, torch.float64).tolist())


class FlowMapAgent(Agent):
    """An agent whose actor is a flow map phi(s, a_t, t, tau)."""

    config: GTPConfig
    network: FlowMapNetwork
    actor: Learner

    def folded(self, weights: str = "ema", k: int | None = None) -> FoldedPolicy:
        """Return the K-step policy of every seed with its constants folded."""
        return self._folded(weights, k, objectives.sampler_plan(self.config))

    def euler_policy(self) -> FoldedPolicy | None:
        """Return K Euler steps of phi(., t, t); None for objective flow, which acts by them."""
        if self.config.objective == "flow":
            return None
        return self._folded(self.acting_weights, None, reference.euler_plan)

    def _folded(
        self, weights: str, k: int | None, plan: Callable[[Tensor], reference.Plan]
    ) -> FoldedPolicy:
        c = self.config
        views = self.actor.average_views if weights == "ema" else self.actor.views
        return self.network.fold(
            views,
            _times(k or c.k, c.t_min, c.t_max),
            kind=c.precondition,
            sigma_data=c.sigma_data,
            t_min=c.t_min,
            plan=plan,
        )

    def step_levels(self) -> Tensor:
        """Return the time levels of the sampler's steps [K, 2]: of each step's t and tau."""
        c = self.config
        plan = reference.map_plan(reference.sampling_times(c.k, c.t_min, c.t_max, torch.float64))
        levels = [reference.noise_level(t, c.t_min) for t in (plan.t, plan.told)]
        return torch.stack(levels, -1).to(self.device, self.dtype)

    def clean(
        self,
        views: Mapping[str, Tensor],
        a_t: Tensor,
        t: Tensor,
        tau: Tensor,
        batch: Batch,
        network: FlowMapNetwork | None = None,
    ) -> Tensor:
        """Return phi(s, a_t, t, tau) [S, B, A] of a set of weights; a_t [S, B, A], times [S, B]."""
        c = self.config
        skip, out, c_in = reference.precondition(t, c.precondition, c.sigma_data, c.t_min)
        levels = torch.stack([reference.noise_level(r, c.t_min) for r in (t, tau)], -1)
        output = (network or self.network)(views, c_in[..., None] * a_t, levels, batch.observation)
        return reference.clean_action(a_t, output, skip, out)
