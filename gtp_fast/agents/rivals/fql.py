"""FQL, flow Q-learning (Park, Li, Levine 2025).

A flow clones the data; a one-step policy is distilled from it and guided by the critic. Order of an
update: all losses are computed, then flow, policy and critic take their steps, then the target
critic moves (0.005), towards the updated critic. The authors' target critic moves towards the
critic before its step, one update behind ours. TD targets use the one-step policy before its step,
as there; the flow has no moving average, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.agents.double_q import DoubleQ
from gtp_fast.agents.rivals.flows import clip_actions, euler_plan, unit_times
from gtp_fast.agents.settings import ANY, NormedConfig, check
from gtp_fast.agents.setup import Setup
from gtp_fast.networks.actor import ActorNetwork
from gtp_fast.networks.learner import Learner
from gtp_fast.networks.parameters import Parameters, initialise
from gtp_fast.ops.candidates import Score
from gtp_fast.reference import FoldedPolicy, Plan
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch, TransitionTable


@dataclass(frozen=True)
class FQLConfig(NormedConfig):
    """Settings of FQL."""

    alpha: tuple[float, ...] = (10.0,)
    """Weight of the distillation loss: how close the policy keeps to the data. One value, or one
    per seed.
    """
    normalise_q: bool = False
    """Divide the critic's term by mean |Q| (off in the paper's D4RL runs)."""
    q_aggregate: reference.Aggregate = "mean"
    """How the twins become one value in TD targets: mean or min."""
    flow_steps: int = 10
    """Euler steps of the flow that the one-step policy is distilled from."""
    width: int = 512
    """Units of each hidden layer, in all networks."""
    depth: int = 4
    """Hidden layers of all networks."""
    ema_rate: float = 1.0
    """Rate at which the policy that acts follows the trained one; 1: they are the same, as in the
    paper.
    """


class FQL(Agent):
    """Flow Q-learning; the state is three learners: the flow, the one-step actor, the critic.

    As in the authors' code all three take their gradients at the same parameters, before any step.
    Deviations from it: three Adams of one rate instead of one Adam (the same without gradient
    clipping, the default in both); the critic's loss is the sum of the twins' instead of their mean
    (a factor without effect on Adam); uniform draws have 24 bits. The Gym settings are ours, since
    the authors publish none.
    """

    Config = FQLConfig
    k_is_free = False
    layer_norms = True
    loss_names = ("critic_loss", "flow_loss", "distillation_loss", "guidance_loss")
    metric_names = (*loss_names, "q", "flow_gradient", "actor_gradient", "critic_gradient")

    config: FQLConfig

    def __init__(self, config: FQLConfig, setup: Setup):
        check(config, {"alpha": ANY, "flow_steps": (1, 64), "width": (1, 4096)})
        super().__init__(config, setup)
        c, sizes = (
            config,
            (setup.observation_dim, setup.action_dim, config.width, config.depth, self.ops.mlp),
        )
        self.velocity = ActorNetwork(
            *sizes, clock="scalar", activation="gelu", affine=self.ops.affine
        )
        self.one_step = ActorNetwork(*sizes, clock="none", activation="gelu")
        self.flow, self.actor = (
            self._learner(network, number)
            for number, network in ((3, self.velocity), (0, self.one_step))
        )
        self.critic = DoubleQ(self, activation="gelu", aggregate=c.q_aggregate, law="fan_avg")
        self.alpha = self.per_seed(c.alpha, "alpha")
        self.rate = self.per_seed(c.learning_rate, "learning-rate")
        like = self.actor.parameters.flat
        self.plan = Plan.of(torch.ones(1, device="cpu")).to(like)
        self.flow_plan = euler_plan(like, c.flow_steps)
        self.sampler = self.ops.chain(self.folded())
        self.flow_sampler = self.ops.chain(self.folded_flow())
        self.prepare(1)

    def _learner(self, network: ActorNetwork, number: int) -> Learner:
        parameters = Parameters(len(self.seeds), network.shapes(), self.device, self.dtype)
        initialise(parameters, self.keys, (number,), law="fan_avg")
        return Learner(parameters, len(self.seeds))

    def learners(self) -> dict[str, Learner]:
        """Return flow, one-step actor and critic."""
        return {"flow": self.flow, "actor": self.actor, "critic": self.critic.learner}

    def score(self, seed: int | None = None) -> Score:
        """Return the target critic's score."""
        return self.critic.score(seed)

    def folded(self, weights: str = "ema", k: int | None = None) -> FoldedPolicy:
        """Return the one-step policy mu(s, z) of every seed; k can only be 1."""
        self.check_k(k, 1)
        views = self.actor.average_views if weights == "ema" else self.actor.views
        return self.one_step.fold(views, self.plan)

    def folded_flow(self) -> FoldedPolicy:
        """Return the flow that clones the data, by `flow_steps` Euler steps."""
        return self.velocity.fold(self.flow.views, self.flow_plan)

    def update(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Do one iteration: the losses of flow, policy and critic, then their steps."""
        batch = clip_actions(self.batch(table, step))
        target = self.critic.td_target(batch, self._next_actions(batch, step))
        flow_loss = self._flow_loss(batch, step)
        distillation, guidance, q = self._policy_losses(batch, step)
        gradients = [
            self._step(learner, loss, step)
            for learner, loss in (
                (self.flow, flow_loss),
                (self.actor, self.alpha * distillation + guidance),
            )
        ]
        critic_loss, critic_gradient = self.critic.step(batch, target, step)
        losses = [loss.detach() for loss in (critic_loss, flow_loss, distillation, guidance)]
        return torch.stack((*losses, q, *gradients, critic_gradient))

    def _step(self, learner: Learner, loss: Tensor, step: int | Tensor) -> Tensor:
        c = self.config
        rate = self.decayed(self.rate, step)
        return learner.update(loss, step + 1, rate, c.ema_rate, c.max_gradient_norm)

    def _next_actions(self, batch: Batch, step: int | Tensor) -> Tensor:
        """Sample mu at s': [S, m B, A]."""
        copies = max(1, self.config.max_q_backup)
        z = self.chain_noise(step, Stream.TARGET, copies * self.config.batch_size)
        self.sampler.load(self.folded())
        return self.sampler.sample(batch.next_observation.repeat(1, copies, 1), z)

    def _flow_loss(self, batch: Batch, step: int | Tensor) -> Tensor:
        """Return the loss of the flow that clones the data (the paper's eq. 6): [S]."""
        z = self.chain_noise(step, Stream.FLOW_NOISE, self.config.batch_size)
        t = unit_times(self, step, self.config.batch_size)
        a = batch.action
        velocity = self.velocity(self.flow.views, reference.bridge(z, a, t), t, batch.observation)
        return reference.velocity_loss(velocity, z, a)

    def _policy_losses(self, batch: Batch, step: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return distillation loss, critic's term and mean Q of mu(s, z) (eq. 8): [S]."""
        z = self.chain_noise(step, Stream.ONE_STEP, self.config.batch_size)
        self.flow_sampler.load(self.folded_flow())
        cloned = self.flow_sampler.sample(batch.observation, z)
        action = self.one_step(self.actor.views, z, None, batch.observation)
        values = self.critic.policy_values(batch.observation, action.clamp(-1.0, 1.0))
        return (
            reference.distillation_loss(action, cloned),
            reference.policy_value_loss(values, self.config.normalise_q),
            values.detach().mean((0, 2)),
        )
