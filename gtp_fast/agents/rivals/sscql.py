"""SSCQL, single-step completion Q-learning (Koirala, Fleming 2025).

One network learns the flow's velocity and its completion to an action in one step, guided by the
critic. Order of an update: the TD target and the actor's losses are computed, then the actor takes
its step and its average moves (5e-4), then the critic takes its step and the target critic moves
(0.005). Both averages move towards the updated parameters. The authors' move towards those before
the step, one update behind ours. TD targets use the averages before the update.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.agents.double_q import DoubleQ
from gtp_fast.agents.rivals.flows import clip_actions, unit_times
from gtp_fast.agents.settings import ANY, NormedConfig, check
from gtp_fast.agents.setup import Setup
from gtp_fast.networks.actor import ActorNetwork
from gtp_fast.networks.learner import Learner
from gtp_fast.networks.parameters import Parameters, initialise
from gtp_fast.ops.candidates import Score
from gtp_fast.reference import FoldedPolicy, Plan, philox
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch, TransitionTable

FEATURES = 128
_CLOCKS = ("t", "d")


@dataclass(frozen=True)
class SSCQLConfig(NormedConfig):
    """Settings of SSCQL."""

    alpha_flow: tuple[float, ...] = (1.0,)
    """Weight of the flow loss (alpha1). One value, or one per seed."""
    alpha_completion: tuple[float, ...] = (1.0,)
    """Weight of the completion loss (alpha2). One value, or one per seed."""
    normalise_q: bool = True
    """Divide the critic's term by mean |Q|."""
    q_aggregate: reference.Aggregate = "min"
    """How the twins become one value in TD targets: mean or min."""
    batch_size: int = 1024
    """Transitions per update and seed."""
    width: int = 512
    """Units of each hidden layer, in actor and critic."""
    depth: int = 4
    """Hidden layers of actor and critic."""
    ema_rate: float = 5e-4
    """Rate of the actor's moving average, which acts and serves the TD targets."""


class CompletionNetwork(ActorNetwork):
    """h(s, x, t, d): an MLP on [x, features of (t, d), s].

    The features are the sum of two MLPs of two layers, on one learnable Fourier map of t and of d.
    """

    @property
    def edges(self) -> tuple[int, int]:
        """Indices among the inputs at which the action ends and the observation begins."""
        return self.action_dim, self.action_dim + FEATURES

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all parameters, in the order of the flat buffer."""
        shapes: dict[str, tuple[int, ...]] = {"fourier": (FEATURES // 2,)}
        for clock in _CLOCKS:
            for layer in (0, 1):
                shapes[f"{clock}.{layer}.weight"] = (FEATURES, FEATURES)
                shapes[f"{clock}.{layer}.bias"] = (FEATURES,)
        return shapes | super().shapes()

    def features(self, views: Mapping[str, Tensor], t: Tensor) -> Tensor:
        """Return the features of (t, d) [S, B, 2]: [S, B, FEATURES]."""
        of_t, of_d = (self._of_clock(views, clock, t[..., i]) for i, clock in enumerate(_CLOCKS))
        return of_t + of_d

    def _of_clock(self, views: Mapping[str, Tensor], clock: str, time: Tensor) -> Tensor:
        """Return a clock's part of the features at times [S, B]: [S, B, FEATURES]."""
        h = reference.fourier(time, views["fourier"])
        weights, biases = (
            [views[f"{clock}.{layer}.{kind}"] for layer in (0, 1)] for kind in ("weight", "bias")
        )
        return self.form(h, weights, biases, self.activation)

    def velocity_and_jump(
        self, views: Mapping[str, Tensor], x: Tensor, t: Tensor, observation: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return h(s, x, t, 0) and h(s, x, t, 1 - t), [S, B, A] each, in one pass.

        x: [S, B, A]; t: [S, B]; observation: [S, B, O]. Both share the features of t, and all rows
        those of d = 0.
        """
        of_t = self._of_clock(views, "t", t)
        of_d = self._of_clock(views, "d", torch.cat((torch.zeros_like(t[:, :1]), 1.0 - t), 1))
        features = torch.cat((of_t + of_d[:, :1], of_t + of_d[:, 1:]), 1)
        output = self.of_features(views, x, features, observation)
        velocity, jump = output.chunk(2, 1)
        return velocity, jump


class SSCQL(Agent):
    """Single-step completion Q-learning; the state is two learners.

    As in the authors' code actor and critic take their gradients at the same parameters, before any
    step. Deviations from it: two Adams of one rate instead of one Adam (the same without gradient
    clipping); the critic's loss is the sum of the twins' instead of their mean (a factor without
    effect on Adam); time features are computed once for both rows of an update. AntMaze settings
    are ours, since the authors publish none.
    """

    Config = SSCQLConfig
    k_is_free = False
    layer_norms = True
    loss_names = ("critic_loss", "flow_loss", "completion_loss", "guidance_loss")
    metric_names = (*loss_names, "q", "actor_gradient", "critic_gradient")

    config: SSCQLConfig

    def __init__(self, config: SSCQLConfig, setup: Setup):
        check(config, {"alpha_flow": ANY, "alpha_completion": ANY})
        super().__init__(config, setup)
        c, count = config, len(self.seeds)
        self.network = CompletionNetwork(
            setup.observation_dim, setup.action_dim, c.width, c.depth, self.ops.mlp, clock="none",
            affine=self.ops.affine,
        )  # fmt: skip
        parameters = Parameters(count, self.network.shapes(), self.device, self.dtype)
        initialise(parameters, self.keys, (0,), law="fan_avg")
        frequencies = philox.normals(self.keys, 0, Stream.FOURIER, 1, FEATURES // 2, self.dtype)
        parameters.views["fourier"].data.copy_(0.2 * frequencies[:, 0])
        self.actor = Learner(parameters, count)
        self.critic = DoubleQ(self, activation="gelu", aggregate=c.q_aggregate, law="fan_avg")
        self.alpha_flow = self.per_seed(c.alpha_flow, "alpha-flow")
        self.alpha_completion = self.per_seed(c.alpha_completion, "alpha-completion")
        self.rate = self.per_seed(c.learning_rate, "learning-rate")
        self.plan = Plan.of(torch.tensor([[0.0, 1.0]], device="cpu"), keep=1.0).to(parameters.flat)
        self.sampler = self.ops.chain(self.folded())
        self.prepare(1)

    def learners(self) -> dict[str, Learner]:
        """Return actor and critic."""
        return {"actor": self.actor, "critic": self.critic.learner}

    def score(self, seed: int | None = None) -> Score:
        """Return the target critic's score."""
        return self.critic.score(seed)

    def folded(self, weights: str = "ema", k: int | None = None) -> FoldedPolicy:
        """Return the policy z + h(s, z, 0, 1) of every seed; k is 1."""
        self.check_k(k, 1)
        views = self.actor.average_views if weights == "ema" else self.actor.views
        return self.network.fold(views, self.plan)

    def update(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Do one iteration: the losses of actor and critic, then their steps."""
        c = self.config
        batch = clip_actions(self.batch(table, step))
        target = self.critic.td_target(batch, self._next_actions(batch, step))
        flow, completion, guidance, q = self._actor_losses(batch, step)
        loss = self.alpha_flow * flow + self.alpha_completion * completion + guidance
        rate = self.decayed(self.rate, step)
        gradient = self.actor.update(loss, step + 1, rate, c.ema_rate, c.max_gradient_norm)
        critic_loss, critic_gradient = self.critic.step(batch, target, step)
        losses = [part.detach() for part in (critic_loss, flow, completion, guidance)]
        return torch.stack((*losses, q, gradient, critic_gradient))

    def _next_actions(self, batch: Batch, step: int | Tensor) -> Tensor:
        """Sample the average actor at s': [S, m B, A]."""
        copies = max(1, self.config.max_q_backup)
        z = self.chain_noise(step, Stream.TARGET, copies * self.config.batch_size)
        self.sampler.load(self.folded())
        return self.sampler.sample(batch.next_observation.repeat(1, copies, 1), z)

    def _actor_losses(self, batch: Batch, step: int | Tensor) -> tuple[Tensor, ...]:
        """Return flow loss, completion loss, critic's term and mean Q of completed actions: [S]."""
        a, rows = batch.action, self.config.batch_size
        z = self.chain_noise(step, Stream.FLOW_NOISE, rows)
        # The square puts most of the mass near noise.
        t = unit_times(self, step, rows).square()
        x_t = reference.bridge(z, a, t)
        velocity, jump = self.network.velocity_and_jump(self.actor.views, x_t, t, batch.observation)
        completed = reference.completion(x_t, jump, t)
        values = self.critic.policy_values(batch.observation, completed.clamp(-1.0, 1.0))
        return (
            reference.velocity_loss(velocity, z, a),
            reference.completion_loss(completed, a),
            reference.policy_value_loss(values, self.config.normalise_q),
            values.detach().mean((0, 2)),
        )
