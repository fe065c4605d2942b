"""GTP, Algorithm 1 of the paper: double-Q critic, advantage weights, consistency and flow losses,
moving averages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.agents.double_q import DoubleQ
from gtp_fast.agents.learner import Learner
from gtp_fast.agents.settings import ANY, AgentConfig, Ranges, check
from gtp_fast.candidates import Score
from gtp_fast.networks import FlowMapNetwork, Parameters, initialise
from gtp_fast.random import Stream
from gtp_fast.reference import FoldedPolicy

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch, TransitionTable


@dataclass(frozen=True)
class GTPConfig(AgentConfig):
    """Settings of GTP."""

    eta: tuple[float, ...] = (1.0,)
    """Strength of value guidance: w = exp(eta max(0, A) / std A). 0 clones the data. One value, or
    one per seed.
    """
    lambda_flow: tuple[float, ...] = (1.0,)
    """Weight of the flow loss beside the consistency loss. One value, or one per seed."""
    k: int = 5
    """Steps of the sampler, in training and acting (the paper: 5, or 2 for its fast variant)."""
    precondition: Literal["edm", "cm", "none"] = "edm"
    """Preconditioning of the map: edm, cm or none."""
    sigma_data: float = 0.5
    """Assumed standard deviation of actions in the preconditioning."""
    t_min: float = 0.002
    """Smallest time of the grid."""
    t_max: float = 80.0
    """Largest time T, the scale of the initial noise."""
    u_mode: Literal["adjacent", "uniform"] = "adjacent"
    """Law of the intermediate time u: adjacent (the node below t) or uniform (any node from tau to
    t).
    """
    first_nodes: int = 10
    """Intervals of the time grid in the first stage; they double from stage to stage."""
    last_nodes: int | None = None
    """Intervals in the last stage; by default ema_rate x updates, kept within 10 and 1280."""
    value_samples: int = 1
    """Policy actions averaged for V(s)."""
    weight_maximum: float | None = 100.0
    """Largest weight w; None for the paper's strict, unclamped form."""


def ranges(config: GTPConfig) -> Ranges:
    """Return the range of each setting of GTP's own."""
    return {
        "eta": ANY,
        "lambda_flow": ANY,
        "k": (1, 64),
        "sigma_data": (1e-6, math.inf),
        "t_min": (1e-6, config.t_max),
        "t_max": (1e-6, 1e6),
        "first_nodes": (1, 1e6),
        "last_nodes": (1, 1e6),
        "value_samples": (1, 1024),
        "weight_maximum": (1, math.inf),
    }


class GTP(Agent):
    """Generative Trajectory Policy; the state is two learners and nothing else."""

    Config = GTPConfig
    loss_names = ("critic_loss", "consistency_loss", "flow_loss")
    metric_names = (
        *loss_names,
        "q",
        "advantage_std",
        "weight",
        "weight_max",
        "actor_gradient",
        "critic_gradient",
    )

    config: GTPConfig

    def __init__(
        self,
        config: GTPConfig,
        observation_dim: int,
        action_dim: int,
        seeds: Sequence[int],
        *rest: Any,
    ):
        check(config, ranges(config))
        super().__init__(config, observation_dim, action_dim, seeds, *rest)
        count, c = len(self.seeds), config
        self.network = FlowMapNetwork(
            observation_dim, action_dim, c.width, c.depth, self.ops.mlp, self.ops.embed
        )
        actor = Parameters(count, self.network.shapes(), self.device, self.dtype)
        initialise(actor, self.keys, (0,))
        self.actor, self.critic = Learner(actor, count), DoubleQ(self)
        self.eta = self.per_seed(c.eta, "eta")
        self.lambda_flow = self.per_seed(c.lambda_flow, "lambda-flow")
        self.rate = self.per_seed(c.learning_rate, "learning-rate")
        self.clones = not any(c.eta)
        self.chain = self.ops.sampler(self.folded("ema"))
        self.prepare(1)

    def learners(self) -> dict[str, Learner]:
        """Return actor and critic."""
        return {"actor": self.actor, "critic": self.critic.learner}

    def score(self, seed: int | None = None) -> Score | None:
        """Return the target critic's score; None for behaviour cloning, which trains no critic."""
        return None if self.clones else self.critic.score(seed)

    def folded(self, weights: str = "ema", k: int | None = None) -> FoldedPolicy:
        """Return the K-step policy of every seed with its constants folded."""
        c = self.config
        views = self.actor.average_views if weights == "ema" else self.actor.views
        times = reference.sampling_times(k or c.k, c.t_min, c.t_max, torch.float64)
        return self.network.fold(
            views, times, kind=c.precondition, sigma_data=c.sigma_data, t_min=c.t_min
        )

    def prepare(self, total_updates: int) -> None:
        """Fix the length of the run, which decides the schedule of N."""
        super().prepare(total_updates)
        c = self.config
        self.last_nodes = c.last_nodes or reference.schedule_ceiling(total_updates, c.ema_rate)
        self.first_nodes = min(c.first_nodes, self.last_nodes)
        self.nodes = torch.ones(self.last_nodes + 1, device=self.device, dtype=self.dtype)
        self.node_count = torch.zeros((), device=self.device, dtype=torch.int64)
        self.num_nodes = 0

    def advance(self, step: int) -> None:
        """Rewrite the time grid when a stage of the schedule begins; the first `num_nodes` of
        `nodes` are in use.
        """
        count = reference.schedule(step, self.total_updates, self.first_nodes, self.last_nodes)
        if count != self.num_nodes:
            nodes = reference.karras_nodes(count, self.config.t_min, self.config.t_max, self.dtype)
            self.nodes[:count] = nodes.to(self.device)
            self.node_count.fill_(count)
            self.num_nodes = count

    def steady(self, step: int) -> int:
        """Return how many updates are left of the stage that this one belongs to."""
        return reference.stage_left(step, self.total_updates, self.first_nodes, self.last_nodes)

    def update(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Do one iteration of Algorithm 1: critic, weights, actor, moving averages."""
        if isinstance(step, int):
            self.advance(step)
        batch = self.batch(table, step)
        if self.clones:
            # With eta = 0 every weight is 1 whatever the critic says, so it is not trained.
            zero = torch.zeros(len(self.seeds), device=self.device, dtype=self.dtype)
            w = torch.ones_like(batch.reward)
            critic_metrics = [zero, zero, zero, zero + 1, zero + 1, zero]
        else:
            w, critic_metrics = self._critic_step(batch, step)
        critic_loss, q, spread, mean, largest, critic_gradient = critic_metrics
        consistency, flow, gradient = self._actor_step(batch, w, step)
        return torch.stack(
            (
                critic_loss,
                consistency,
                flow,
                q,
                spread,
                mean,
                largest,
                gradient,
                critic_gradient,
            )
        )

    def _policy_actions(self, batch: Batch, step: int | Tensor) -> tuple[Tensor, Tensor]:
        """Sample pi at s' for the TD target and at s for V(s), both chains in one call: [S, m B, A]
        each.
        """
        c, width = self.config, self.action_dim
        backups = max(1, c.max_q_backup)
        states = torch.cat(
            (
                batch.next_observation.repeat(1, backups, 1),
                batch.observation.repeat(1, c.value_samples, 1),
            ),
            1,
        )
        split = backups * c.batch_size
        noise = torch.cat(
            (
                self.ops.normals(self.keys, step, Stream.TARGET, split, width, self.dtype),
                self.ops.normals(
                    self.keys, step, Stream.VALUE, states.shape[1] - split, width, self.dtype
                ),
            ),
            1,
        )
        self.chain.load(self.folded("ema"))
        actions = self.chain.sample(states, noise)
        return actions[:, :split], actions[:, split:]

    def _critic_step(self, batch: Batch, step: int | Tensor) -> tuple[Tensor, list[Tensor]]:
        """Step the twin critics (eq. 16), then weigh the batch by advantage (eq. 14): w [S, B]."""
        c, b = self.config, self.config.batch_size
        next_action, value_action = self._policy_actions(batch, step)
        loss, gradient = self.critic.learn(batch, next_action, step)
        with torch.no_grad():
            actions = torch.cat((batch.action, value_action), 1)
            values = self.critic.values(batch.observation, actions)
            w, q, spread, mean, largest = self.ops.weigh(values, self.eta, b, c.weight_maximum)
        return w, [loss, q, spread, mean, largest, gradient]

    def _actor_step(
        self, batch: Batch, w: Tensor, step: int | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Step the actor on the weighted consistency loss plus lambda times the flow loss (eq.
        17-19).
        """
        c, network = self.config, self.network
        p = self.ops.perturb(
            batch.action,
            self.nodes,
            self.node_count,
            self.keys,
            step,
            u_mode=c.u_mode,
            kind=c.precondition,
            sigma_data=c.sigma_data,
            t_min=c.t_min,
        )
        with torch.no_grad():
            teacher = network(
                self.actor.average_views, p.teacher_x, p.teacher_levels, batch.observation
            )
        student = network(self.actor.views, p.student_x, p.student_levels, batch.observation)
        consistency, flow = self.ops.loss(student, teacher, batch.action, p, w)
        loss = consistency + self.lambda_flow * flow
        gradient = self.actor.update(
            loss, step + 1, self.rate * self.decay(step), c.ema_rate, c.max_gradient_norm
        )
        return consistency.detach(), flow.detach(), gradient
