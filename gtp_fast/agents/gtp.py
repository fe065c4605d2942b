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
from gtp_fast.agents.base import Agent, Learner
from gtp_fast.errors import UserError
from gtp_fast.networks import FlowMapNetwork, Parameters, TwinCritic, initialise
from gtp_fast.random import Stream
from gtp_fast.reference import FoldedPolicy

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch, TransitionTable


@dataclass(frozen=True)
class GTPConfig:
    """Settings of GTP; where the paper gives no value the default is ours or that of its nearest
    source.
    """

    eta: tuple[float, ...] = (1.0,)
    """Strength of value guidance: w = exp(eta max(0, A) / std A). 0 clones the data. One value, or
    one per seed.
    """
    lambda_flow: tuple[float, ...] = (1.0,)
    """Weight of the flow loss beside the consistency loss. One value, or one per seed."""
    k: int = 5
    """Steps of the sampler, in training and acting (the paper: 5, or 2 for its fast variant)."""
    discount: float = 0.99
    """Discount gamma of the TD target."""
    batch_size: int = 256
    """Transitions per update and seed."""
    learning_rate: tuple[float, ...] = (3e-4,)
    """Adam's rate for the actor. One value, or one per seed."""
    critic_learning_rate: tuple[float, ...] = (3e-4,)
    """Adam's rate for the critic. One value, or one per seed."""
    cosine_decay: bool = False
    """Let both learning rates fall to zero along a cosine over the run."""
    width: int = 256
    """Units of each hidden layer, in actor and critic."""
    depth: int = 3
    """Hidden layers of actor and critic."""
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
    ema_rate: float = 0.005
    """Rate at which the target actor follows the actor."""
    critic_ema_rate: float = 0.005
    """Rate at which the target critic follows the critic."""
    value_samples: int = 1
    """Policy actions averaged for V(s)."""
    max_q_backup: int = 0
    """Next actions whose best value backs up (10 in Diffusion-QL's antmaze); 0 for one plain
    sample.
    """
    weight_maximum: float | None = 100.0
    """Largest weight w; None for the paper's strict, unclamped form."""
    max_gradient_norm: float | None = None
    """Clip of each network's gradient norm, per seed; None for no clipping."""


def check(config: GTPConfig) -> None:
    """Raise UserError naming the first setting that is out of range."""
    ranges: dict[str, tuple[float, float]] = {
        "eta": (0, math.inf),
        "lambda_flow": (0, math.inf),
        "k": (1, 64),
        "discount": (0, 1),
        "batch_size": (1, math.inf),
        "learning_rate": (0, math.inf),
        "critic_learning_rate": (0, math.inf),
        "width": (1, 4096),
        "depth": (1, 8),
        "sigma_data": (1e-6, math.inf),
        "t_min": (1e-6, config.t_max),
        "t_max": (1e-6, 1e6),
        "first_nodes": (1, 1e6),
        "last_nodes": (1, 1e6),
        "ema_rate": (0, 1),
        "critic_ema_rate": (0, 1),
        "value_samples": (1, 1024),
        "max_q_backup": (0, 1024),
        "weight_maximum": (1, math.inf),
        "max_gradient_norm": (1e-9, math.inf),
    }
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not low <= number <= high:
                raise UserError(
                    f"--{name.replace('_', '-')} {number:g} is out of range: {low:g} to {high:g}."
                )


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
        check(config)
        super().__init__(config, observation_dim, action_dim, seeds, *rest)
        count, c = len(self.seeds), config
        self.network = FlowMapNetwork(observation_dim, action_dim, c.width, c.depth, self.ops.mish)
        self.critic_network = TwinCritic(
            observation_dim, action_dim, c.width, c.depth, self.ops.mish
        )
        actor = Parameters(count, self.network.shapes(), self.device, self.dtype)
        critic = Parameters(2 * count, self.critic_network.shapes, self.device, self.dtype)
        initialise(actor, self.keys, (0,))
        initialise(critic, self.keys, (1, 2))
        self.actor, self.critic = Learner(actor, count), Learner(critic, count)
        self.eta = self.per_seed(c.eta, "eta")
        self.lambda_flow = self.per_seed(c.lambda_flow, "lambda-flow")
        self.rate = self.per_seed(c.learning_rate, "learning-rate")
        self.critic_rate = self.per_seed(c.critic_learning_rate, "critic-learning-rate")
        self.clones = not any(c.eta)
        self.chain = self.ops.sampler(self.folded("ema"))
        self.prepare(1)

    def learners(self) -> dict[str, Learner]:
        """Return actor and critic."""
        return {"actor": self.actor, "critic": self.critic}

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
        c = self.config
        self.total_updates = total_updates
        self.last_nodes = c.last_nodes or reference.schedule_ceiling(total_updates, c.ema_rate)
        self.first_nodes = min(c.first_nodes, self.last_nodes)
        self.num_nodes = 0

    def _grid(self, step: int) -> tuple[Tensor, int]:
        """Return the time nodes of this step; the table is made anew only when a stage of the
        schedule begins.
        """
        count = reference.schedule(step, self.total_updates, self.first_nodes, self.last_nodes)
        if count != self.num_nodes:
            nodes = reference.karras_nodes(count, self.config.t_min, self.config.t_max, self.dtype)
            self.nodes, self.num_nodes = nodes.to(self.device), count
        return self.nodes, count

    def _decay(self, step: int) -> float:
        """Return what remains of the learning rates at this step."""
        return (
            0.5 * (1.0 + math.cos(math.pi * step / self.total_updates))
            if self.config.cosine_decay
            else 1.0
        )

    def update(self, table: TransitionTable, step: int) -> Tensor:
        """Do one iteration of Algorithm 1: critic, weights, actor, moving averages."""
        c = self.config
        rows = self.ops.integers(self.keys, step, Stream.BATCH, c.batch_size, len(table))
        batch = table.gather(rows)
        batch = type(batch)(*(field.to(self.dtype) for field in batch))
        if self.clones:
            # With eta = 0 every weight is 1 whatever the critic says, so it is not trained.
            zero = torch.zeros(len(self.seeds), device=self.device, dtype=self.dtype)
            w, critic_metrics = torch.ones_like(batch.reward), [zero] * 4
        else:
            w, critic_metrics = self._critic_step(batch, step)
        critic_loss, q, spread, critic_gradient = critic_metrics
        consistency, flow, gradient = self._actor_step(batch, w, step)
        return torch.stack(
            (
                critic_loss,
                consistency,
                flow,
                q,
                spread,
                w.mean(1),
                w.amax(1),
                gradient,
                critic_gradient,
            )
        )

    def _policy_actions(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
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

    def _critic_step(self, batch: Batch, step: int) -> tuple[Tensor, list[Tensor]]:
        """Step the twin critics (eq. 16), then weigh the batch by advantage (eq. 14): w [S, B]."""
        c, b = self.config, self.config.batch_size
        critic = self.critic_network
        next_action, value_action = self._policy_actions(batch, step)
        with torch.no_grad():
            backups = max(1, c.max_q_backup)
            states = batch.next_observation.repeat(1, backups, 1)
            values = critic(self.critic.average_views, states, next_action)
            values = values.reshape(2, -1, backups, b).amax(2)
            target = reference.td_target(batch.reward, batch.mask, values, c.discount)
        loss = reference.double_q_loss(
            critic(self.critic.views, batch.observation, batch.action), target
        )
        gradient = self.critic.update(
            loss,
            step + 1,
            self.critic_rate * self._decay(step),
            c.critic_ema_rate,
            c.max_gradient_norm,
        )
        with torch.no_grad():
            states = batch.observation.repeat(1, 1 + c.value_samples, 1)
            q = critic(self.critic.views, states, torch.cat((batch.action, value_action), 1)).amin(
                0
            )
            advantage = q[:, :b] - q[:, b:].reshape(-1, c.value_samples, b).mean(1)
            w = reference.advantage_weights(advantage, self.eta, maximum=c.weight_maximum)
            spread = advantage.std(1, correction=0)
        return w, [loss.detach(), q[:, :b].mean(1), spread, gradient]

    def _actor_step(self, batch: Batch, w: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Step the actor on the weighted consistency loss plus lambda times the flow loss (eq.
        17-19).
        """
        c, network = self.config, self.network
        nodes, count = self._grid(step)
        p = self.ops.perturb(
            batch.action,
            nodes,
            count,
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
        states = batch.observation.repeat(1, 2, 1)
        student = network(self.actor.views, p.student_x, p.student_levels, states)
        consistency, flow = self.ops.loss(student, teacher, batch.action, p, w)
        loss = consistency + self.lambda_flow * flow
        gradient = self.actor.update(
            loss, step + 1, self.rate * self._decay(step), c.ema_rate, c.max_gradient_norm
        )
        return consistency.detach(), flow.detach(), gradient
