"""Consistency-AC (Ding, Jin, arXiv 2309.16984).

"Consistency models as a rich and efficient policy class for reinforcement learning". Deviations
from the authors' code: the schedule of N runs over the whole training, theirs restarts at every
evaluation (each 50,000 updates); those of diffusion_ql.py in initial weights, checkpoints and
learning rates. As in their code the network reads the raw time, its input is not scaled, the loss
is always multiplied by 100 / (t_2 - t_1), and one of 50 candidates acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.rivals.chain import ChainActorCritic, ChainConfig
from gtp_fast.agents.settings import check_times
from gtp_fast.agents.setup import Setup
from gtp_fast.errors import UserError
from gtp_fast.reference import Plan, philox
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch, TransitionTable


@dataclass(frozen=True)
class ConsistencyACConfig(ChainConfig):
    """Settings of Consistency-AC."""

    k: int = 2
    """Steps of the sampler (the authors: 2, and 5 on two tasks)."""
    sigma_data: float = 0.5
    """Assumed standard deviation of actions in the preconditioning."""
    t_min: float = 0.002
    """Smallest time of the grid, where the model is the identity."""
    t_max: float = 80.0
    """Largest time T, the scale of the initial noise."""
    t_last: float = 2.0
    """Time of the sampler's last evaluation."""
    first_nodes: int = 2
    """Nodes of the time grid at the first update."""
    last_nodes: int = 150
    """Nodes of the time grid at the end of the run."""

    def check_new(self) -> None:
        """Raise UserError for settings that a new run may not have."""
        super().check_new()
        check_times(self.t_min, self.t_max)
        if not self.t_min <= self.t_last <= self.t_max:
            raise UserError(
                f"--t-last {self.t_last:g} must lie within --t-min {self.t_min:g} and --t-max "
                f"{self.t_max:g}."
            )


class ConsistencyAC(ChainActorCritic):
    """A consistency model of the data's actions, guided towards larger Q."""

    Config = ConsistencyACConfig
    ranges = {  # noqa: RUF012
        "k": (1, 64),
        "sigma_data": (1e-6, 1e6),
        "t_min": (1e-6, 1e6),
        "t_max": (1e-6, 1e6),
        "t_last": (1e-6, 1e6),
        "first_nodes": (2, 1e6),
        "last_nodes": (2, 1e6),
    }

    config: ConsistencyACConfig

    def __init__(self, config: ConsistencyACConfig, setup: Setup):
        if config.first_nodes > config.last_nodes:
            raise UserError(
                f"--first-nodes {config.first_nodes} is more than --last-nodes "
                f"{config.last_nodes}: the grid of times only grows."
            )
        super().__init__(config, setup)

    def sampler_plan(self, k: int | None) -> Plan:
        """Return the sampler: jumps to the clean action, noise to the next time in between."""
        c, k = self.config, k or self.config.k
        times = torch.linspace(c.t_max, c.t_last, k, dtype=torch.float64, device="cpu")
        skip, out, _ = reference.precondition(times, "cm", c.sigma_data, c.t_min)
        again = (times[1:].square() - c.t_min**2).clamp(min=0.0).sqrt()
        plan = Plan.of(
            times,
            initial_scale=c.t_max,
            skip=skip,
            out=out,
            spread=torch.cat((again, again.new_zeros(1))),
        )
        return plan.to(self.actor.parameters.flat)

    def prepare(self, total_updates: int) -> None:
        """Fix the length of the run, which decides when the grid grows."""
        super().prepare(total_updates)
        self.nodes = torch.ones(self.config.last_nodes, device=self.device, dtype=self.dtype)
        self.node_count = torch.zeros((), device=self.device, dtype=torch.int64)
        self.num_nodes = 0

    def advance(self, step: int, table: TransitionTable) -> None:
        """Rewrite the time grid when it grows; the first `num_nodes` of `nodes` are in use."""
        c = self.config
        count = reference.consistency_nodes(step, self.total_updates, c.first_nodes, c.last_nodes)
        if count != self.num_nodes:
            nodes = reference.karras_nodes(count, c.t_min, c.t_max, self.dtype)
            self.nodes[:count] = nodes.to(self.device)
            self.node_count.fill_(count)
            self.num_nodes = count

    def updates_per_advance(self, step: int) -> int:
        """Return how many updates share this grid, at most 64."""
        c = self.config

        def nodes(at: int) -> int:
            return reference.consistency_nodes(at, self.total_updates, c.first_nodes, c.last_nodes)

        now = nodes(step)
        return next(count for count in (64, 32, 16, 8, 4, 2, 1) if nodes(step + count - 1) == now)

    def cloning_loss(self, batch: Batch, step: int | Tensor) -> Tensor:
        """Return the loss of the actor against its average at the node below: [S]."""
        c = self.config
        word = philox.words(self.keys, step, Stream.CLONE_TIME, c.batch_size, 1)[0][..., 0]
        i = philox.multiply_high(word, self.node_count - 1)
        below, above = self.nodes[i], self.nodes[i + 1]
        z = self.chain_noise(step, Stream.CLONE_NOISE, c.batch_size)
        student, teacher = (
            self._clean(views, batch, batch.action + t[..., None] * z, t)
            for views, t in ((self.actor.views, above), (self.actor.average_views, below))
        )
        return reference.neighbour_loss(student, teacher, above, below)

    def _clean(self, views: dict[str, Tensor], batch: Batch, x: Tensor, t: Tensor) -> Tensor:
        """Return g(x, t) = c_skip x + c_out F: [S, B, A]."""
        c = self.config
        skip, out, _ = reference.precondition(t, "cm", c.sigma_data, c.t_min)
        return reference.clean_action(x, self.network(views, x, t, batch.observation), skip, out)
