"""Fitted Q evaluation of frozen policies: one critic a seed learns Q of that seed's policy.

Le, Voloshin, Yue, ICML 2019, with a target network and one action a' drawn for each next state at
every update. The network learns (Q - shift) / scale: with shift and scale those of the data's own
returns it starts near the answer. It bootstraps over time limits, as training does, so V is the
value of an episode that only a terminal ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.agents.settings import AgentConfig, check
from gtp_fast.agents.setup import Setup
from gtp_fast.networks import mlp
from gtp_fast.networks.learner import Learner
from gtp_fast.networks.parameters import Parameters, initialise, mlp_shapes
from gtp_fast.ops.sampling import Sampler
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.data.table import TransitionTable


@dataclass(frozen=True)
class FQEConfig(AgentConfig):
    """Settings of fitted Q evaluation."""

    cosine_decay: bool = True
    """Let the learning rate fall to zero along a cosine over the run."""
    critic_ema_rate: float = 0.05
    """Rate at which the target critic follows. What is missing of V shrinks by about
    exp(-rate (1 - discount)) an update: in 20,000 updates to 5e-5 at discount 0.99.
    """
    num_actions: int = 1
    """Actions of the policy in each next state."""


class FQE(Agent):
    """The critics of frozen policies, one a seed.

    sampler: draws the policies' actions, those of all seeds; shift, scale: Q is shift + scale f(s,
    a) for the network f.
    """

    Config = FQEConfig
    loss_names = ("td_loss",)
    metric_names = (*loss_names, "q", "critic_gradient")

    config: FQEConfig

    def __init__(
        self,
        config: FQEConfig,
        setup: Setup,
        sampler: Sampler,
        shift: float = 0.0,
        scale: float = 1.0,
    ):
        check(config, {"num_actions": (1, 1024)})
        super().__init__(config, setup)
        self.sampler, self.shift, self.scale = sampler, shift, scale
        sizes = setup.observation_dim + setup.action_dim, config.width, config.depth, 1
        parameters = Parameters(len(self.seeds), mlp_shapes(*sizes), self.device, self.dtype)
        initialise(parameters, self.keys, (0,))
        self.critic = Learner(parameters, len(self.seeds))
        self.rate = self.per_seed(config.critic_learning_rate, "critic-learning-rate")
        self.prepare(1)

    def learners(self) -> dict[str, Learner]:
        """Return the critic."""
        return {"critic": self.critic}

    def folded(self, weights: str = "ema", k: int | None = None) -> NoReturn:
        """Raise TypeError: the policy is another agent's."""
        raise TypeError("an evaluation has no policy of its own: fold the evaluated agent")

    def actions(self, states: Tensor, count: int, stream: Stream, step: int | Tensor) -> Tensor:
        """Draw `count` actions of the policy in states [S, n, O]: [S, count, n, A]."""
        repeated = states.repeat(1, count, 1)
        noise = self.chain_noise(step, stream, repeated.shape[1], self.sampler.draws)
        drawn = self.sampler.sample(repeated, noise)
        return drawn.unflatten(1, (count, -1))  # type: ignore[no-untyped-call,no-any-return]

    def values(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return Q [S, m, n] of the target network, of states [S, n, O], actions [S, m, n, A]."""
        with torch.no_grad():
            return self.shift + self.scale * self._target(states, actions)

    def update(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Take one step on the squared Bellman error of the policy."""
        c, batch = self.config, self.batch(table, step)
        with torch.no_grad():
            states = batch.next_observation
            following = self.actions(states, c.num_actions, Stream.TARGET, step)
            next_values = self._target(states, following)
        reward = reference.shifted_reward(
            batch.reward, batch.mask, c.discount, self.shift, self.scale
        )
        pieces = batch.observation, batch.action
        values = mlp(self.critic.views, pieces, c.depth, self.ops.mlp)[..., 0]
        loss = reference.fqe_loss(
            values, next_values, reward, batch.mask, c.discount, self.ops.td_loss
        )
        norm = self.critic.update(
            loss, step + 1, self.decayed(self.rate, step), c.critic_ema_rate, c.max_gradient_norm
        )
        q = self.shift + self.scale * values.detach().mean(-1)
        return torch.stack((self.scale**2 * loss.detach(), q, norm))

    def _target(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return f [S, m, n] of the target network."""
        pieces = states.repeat(1, actions.shape[1], 1), actions.flatten(1, 2)
        views, depth = self.critic.average_views, self.config.depth
        return mlp(views, pieces, depth, self.ops.mlp)[..., 0].view(actions.shape[:3])
