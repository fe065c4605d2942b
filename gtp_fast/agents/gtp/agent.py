"""GTP, Algorithm 1 of the paper: double-Q critic, advantage weights, consistency and flow losses,
moving averages.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.double_q import DoubleQ
from gtp_fast.agents.gtp import objectives
from gtp_fast.agents.gtp.config import GTPConfig, ranges
from gtp_fast.agents.gtp.flow_map import FlowMapAgent
from gtp_fast.agents.settings import check
from gtp_fast.agents.setup import Setup
from gtp_fast.agents.trajectories import favoured
from gtp_fast.errors import UserError
from gtp_fast.networks import FlowMapNetwork
from gtp_fast.networks.learner import Learner
from gtp_fast.networks.parameters import Parameters, initialise
from gtp_fast.ops.candidates import Score
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch, TransitionTable

__all__ = ["GTP", "GTPConfig"]


FACTS = ("q", "advantage_std", "weight", "weight_max", "actor_gradient", "critic_gradient")


class GTP(FlowMapAgent):
    """Generative Trajectory Policy; the state is two learners and nothing else."""

    Config = GTPConfig

    config: GTPConfig

    def __init__(self, config: GTPConfig, setup: Setup):
        check(config, ranges(config))
        config = objectives.resolved(config)
        super().__init__(config, setup)
        self._choose_objective()
        count, c = len(self.seeds), config
        self.network = FlowMapNetwork(
            setup.observation_dim, setup.action_dim, c.width, c.depth, self.ops.mlp, self.ops.embed
        )
        actor = Parameters(count, self.network.shapes(), self.device, self.dtype)
        initialise(actor, self.keys, (0,))
        self.actor, self.critic = Learner(actor, count), DoubleQ(self)
        self.actor.limit = max(self.loss_limits.values(), default=math.inf)
        self.full_eta = self.per_seed(c.eta, "eta")
        self.lambda_flow = self.per_seed(c.lambda_flow, "lambda-flow")
        self.lambda_q = self.per_seed(c.lambda_q, "lambda-q")
        self.rate = self.per_seed(c.learning_rate, "learning-rate")
        linear = c.objective == "linear-q"
        if linear:
            self.full_eta.zero_()
        self.eta = self.full_eta.clone()
        strengths = c.lambda_q if linear else c.eta
        self.guided = any(strengths)
        if self.guided and c.trajectory_eta and not all(strengths):
            raise UserError(
                f"--{'lambda-q' if linear else 'eta'} 0 clones, and --trajectory-eta guides all "
                "seeds alike: give the clones a run of their own, or --trajectory-eta 0."
            )
        self.clones = not self.guided or (c.advantage_start is None and not linear)
        self.times = reference.sampling_times(c.k, c.t_min, c.t_max, self.dtype).to(self.device)
        self.chain = self.ops.chain(self.folded("ema"))
        self.whole: Callable[..., Tensor] | None = None
        self.prepare(1)

    def _choose_objective(self) -> None:
        """Take the objective, and own up where it has no fused form."""
        c = self.config
        reason = objectives.unfused(c)
        if self.backend == "fused" and (reason or c.objective == "linear-q"):
            reason = reason or "the sampler's gradient in --objective linear-q has no fused form"
            raise UserError(f"--backend fused cannot be had: {reason}; use --backend auto.")
        if reason and self.backend == "auto":
            plain = dict.fromkeys(("perturb", "loss"), ("reference", reason))
            self.ops = replace(self.ops, choices=self.ops.choices | plain)
        self.fuses = c.objective == "gtp" and not reason
        self.objective = objectives.find(c)
        self.loss_names = ("critic_loss", *objectives.term_names(c))
        self.metric_names = (*self.loss_names, *FACTS)
        self.loss_limits = objectives.limits(c)

    def drawn_from(self, table: TransitionTable) -> TransitionTable:
        """Return the table with better episodes favoured, unless nothing is to guide."""
        c = self.config
        if c.trajectory_eta == 0.0 or not self.guided:
            return table
        return favoured(table, c.trajectory_eta, c.trajectory_maximum, c.trajectory_least_share)

    def learners(self) -> dict[str, Learner]:
        """Return actor and critic."""
        return {"actor": self.actor, "critic": self.critic.learner}

    def score(self, seed: int | None = None) -> Score | None:
        """Return the target critic's score; None for behaviour cloning, which trains no critic."""
        return None if self.clones else self.critic.score(seed)

    def prepare(self, total_updates: int) -> None:
        """Fix the length of the run, which decides the schedule of N."""
        super().prepare(total_updates)
        c = self.config
        self.last_nodes = c.last_nodes or reference.schedule_ceiling(total_updates, c.ema_rate)
        self.first_nodes = min(c.first_nodes, self.last_nodes)
        self.nodes = torch.ones(self.last_nodes + 1, device=self.device, dtype=self.dtype)
        self.cdf = (
            None if c.t_law == "uniform" else torch.full_like(self.nodes, 2**32, dtype=torch.int64)
        )
        self.node_count = torch.zeros((), device=self.device, dtype=torch.int64)
        self.num_nodes = 0
        self.weighs: bool | None = None
        self.whole = self.ops.whole(self)

    def advance(self, step: int, table: TransitionTable) -> None:
        """Rewrite the time grid when a stage of the schedule begins, of which the first
        `num_nodes` entries of `nodes` and of `cdf`, the law of t over them, are in use; let eta act
        from its first update on.
        """
        c, weighs = self.config, step >= self._start
        if weighs != self.weighs:
            self.eta.copy_(self.full_eta * weighs)
            self.weighs = weighs
        count = reference.schedule(step, self.total_updates, self.first_nodes, self.last_nodes)
        if count != self.num_nodes:
            nodes = reference.karras_nodes(count, c.t_min, c.t_max, self.dtype)
            self.nodes[:count] = nodes.to(self.device)
            if self.cdf is not None:
                cdf = reference.lognormal_cdf(count, c.t_min, c.t_max)
                self.cdf[:count] = cdf.to(self.device)
            self.node_count.fill_(count)
            self.num_nodes = count

    def steady(self, step: int) -> int:
        """Return how many updates are left of the stage that this one belongs to."""
        left = reference.stage_left(step, self.total_updates, self.first_nodes, self.last_nodes)
        return min(left, self._start - step) if step < self._start else left

    @property
    def _start(self) -> int:
        return self.config.advantage_start or 0

    def update(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Do one iteration of Algorithm 1: critic, weights, actor, moving averages."""
        if isinstance(step, int):
            self.advance(step, table)
        if self.whole is not None:
            return self.whole(table, step)
        batch = self.batch(table, step)
        if self.clones:
            # Every weight is 1 whatever the critic says, so it is not trained.
            zero = torch.zeros(len(self.seeds), device=self.device, dtype=self.dtype)
            w = torch.ones_like(batch.reward)
            critic_metrics = [zero, zero, zero, zero + 1, zero + 1, zero]
        else:
            w, critic_metrics = self._critic_step(batch, step)
        critic_loss, q, spread, mean, largest, critic_gradient = critic_metrics
        *losses, gradient = self._actor_step(batch, w, step)
        return torch.stack(
            (critic_loss, *losses, q, spread, mean, largest, gradient, critic_gradient)
        )

    def _policy_actions(self, batch: Batch, step: int | Tensor) -> tuple[Tensor, Tensor]:
        """Sample pi at s' for the TD target and at s for V(s), both chains in one call: [S, m B, A]
        each.
        """
        c = self.config
        backups = max(1, c.max_q_backup)
        states = torch.cat(
            [batch.next_observation] * backups + [batch.observation] * c.value_samples, 1
        )
        split = backups * c.batch_size
        policy = self.folded("ema")
        draws = self.chain.draws
        noise = torch.cat(
            (
                self.chain_noise(step, Stream.TARGET, split, draws),
                self.chain_noise(step, Stream.VALUE, states.shape[1] - split, draws),
            ),
            -2,
        )
        self.chain.load(policy)
        actions = self.chain.sample(states, noise)
        return actions[:, :split], actions[:, split:]

    def _critic_step(self, batch: Batch, step: int | Tensor) -> tuple[Tensor, list[Tensor]]:
        """Step the twin critics (eq. 16), then weigh the batch by advantage (eq. 14): w [S, B]."""
        next_action, value_action = self._policy_actions(batch, step)
        loss, gradient = self.critic.learn(batch, next_action, step)
        w, q, spread, mean, largest = self._weigh(batch, value_action)
        return w, [loss, q, spread, mean, largest, gradient]

    def _weigh(self, batch: Batch, value_action: Tensor) -> tuple[Tensor, ...]:
        """Return w [S, B] (eq. 14) and its four statistics; V(s) from value_action [S, m B, A]."""
        with torch.no_grad():
            actions = torch.cat((batch.action, value_action), 1)
            values = self.critic.values(batch.observation, actions)
            rows = batch.action.shape[1]
            return self.ops.weigh(values, self.eta, rows, self.config.weight_maximum)

    def weights_of(self, table: TransitionTable, index: Tensor, draw: int) -> Tensor | None:
        """Return w [S, n] of rows `index` [S, n], taken for one batch, whose std(A) enters; 1
        where nothing guides.
        """
        batch = table.batch(*(field.to(self.dtype) for field in table.gather(index)))
        if self.clones:
            return torch.ones_like(batch.reward)
        chain = self.ops.chain(self.folded("ema"))
        states = batch.observation.repeat(1, self.config.value_samples, 1)
        noise = self.chain_noise(draw, Stream.HEALTH_VALUE, states.shape[1], chain.draws)
        return self._weigh(batch, chain.sample(states, noise))[0]

    def _actor_step(self, batch: Batch, w: Tensor, step: int | Tensor) -> list[Tensor]:
        """Step the actor on its objective, for GTP eq. 19; return its terms and the gradient norm,
        each [S].
        """
        c = self.config
        terms = self.objective(self, batch, w, step)
        shares = [self.lambda_flow * x if k == "flow_loss" else x for k, x in terms.items()]
        gradient = self.actor.update(
            functools.reduce(torch.add, shares), step + 1, self.decayed(self.rate, step),
            c.ema_rate, c.max_gradient_norm,
        )  # fmt: skip
        return [*(term.detach() for term in terms.values()), gradient]
