"""The double-Q critic that agents share: twin networks, their learner, the TD target (eq. 16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.agents.learner import Learner
from gtp_fast.networks import Parameters, TwinCritic, initialise

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch


class DoubleQ:
    """Twin critics of every seed with their moving average, built from an agent's settings."""

    def __init__(self, agent: Agent):
        c, seeds = agent.config, len(agent.seeds)
        self.agent = agent
        self.network = TwinCritic(
            agent.observation_dim, agent.action_dim, c.width, c.depth, agent.ops.mish
        )
        parameters = Parameters(2 * seeds, self.network.shapes, agent.device, agent.dtype)
        initialise(parameters, agent.keys, (1, 2))
        self.learner = Learner(parameters, seeds)
        self.rate = agent.per_seed(c.critic_learning_rate, "critic-learning-rate")

    def values(self, observation: Tensor, action: Tensor, target: bool = False) -> Tensor:
        """Return Q [2, S, B] by the online networks, or by the target networks."""
        views = self.learner.average_views if target else self.learner.views
        return self.network(views, observation, action)

    def td_target(self, batch: Batch, next_action: Tensor) -> Tensor:
        """Return the TD target [S, B] for next actions [S, m B, A]; the best of m backs up."""
        with torch.no_grad():
            b = batch.reward.shape[1]
            states = batch.next_observation.repeat(1, next_action.shape[1] // b, 1)
            values = self.values(states, next_action, target=True)
            best = values.reshape(2, len(batch.reward), -1, b).amax(2)
            return reference.td_target(batch.reward, batch.mask, best, self.agent.config.discount)

    def step(self, batch: Batch, target: Tensor, step: int | Tensor) -> tuple[Tensor, Tensor]:
        """Take one Adam step towards target [S, B]; return the loss and the gradient norm, [S]."""
        c = self.agent.config
        values = self.values(batch.observation, batch.action)
        loss = reference.double_q_loss(values, target)
        norm = self.learner.update(
            loss,
            step + 1,
            self.rate * self.agent.decay(step),
            c.critic_ema_rate,
            c.max_gradient_norm,
        )
        return loss.detach(), norm
