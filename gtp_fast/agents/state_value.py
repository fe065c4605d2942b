"""V(s), fitted to an expectile of given values (IQL's eq. 5); expectile 0.5 is their mean."""

from __future__ import annotations

from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.networks import mlp
from gtp_fast.networks.learner import Learner
from gtp_fast.networks.parameters import Parameters, initialise, mlp_shapes


class StateValue:
    """One value network a seed, built from an agent's settings.

    decays: whether its learning rate, the critic's, decays as the actor's.
    """

    def __init__(self, agent: Agent, activation: str = "relu", *, decays: bool = False):
        c, seeds = agent.config, len(agent.seeds)
        self.agent, self.activation, self.decays = agent, activation, decays
        shapes = mlp_shapes(agent.observation_dim, c.width, c.depth, 1)
        parameters = Parameters(seeds, shapes, agent.device, agent.dtype)
        initialise(parameters, agent.keys, (3,))
        self.learner = Learner(parameters, seeds)
        self.rate = agent.per_seed(c.critic_learning_rate, "critic-learning-rate")

    def values(self, observation: Tensor) -> Tensor:
        """Return V [S, B] of observation [S, B, O]."""
        depth, form = self.agent.config.depth, self.agent.ops.mlp
        return mlp(self.learner.views, observation, depth, form, self.activation)[..., 0]

    def step(
        self, observation: Tensor, target: Tensor, expectile: float, step: int | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Step on the expectile loss; return it and the gradient norm, [S] each."""
        loss = reference.expectile_loss(self.values(observation), target, expectile)
        rate = self.agent.decayed(self.rate, step) if self.decays else self.rate
        norm = self.learner.update(loss, step + 1, rate, 1.0, self.agent.config.max_gradient_norm)
        return loss.detach(), norm
