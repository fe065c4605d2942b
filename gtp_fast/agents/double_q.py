"""The double-Q critic: twin networks, their learner, the TD target (eq. 16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.networks import TwinCritic
from gtp_fast.networks.learner import Learner
from gtp_fast.networks.parameters import Law, Parameters, detached, initialise
from gtp_fast.ops.candidates import Score

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch


class DoubleQ:
    """Twin critics of every seed with their moving average, built from an agent's settings.

    aggregate: how the twins become one value in TD targets; decays: whether the critic's learning
    rate decays as the actor's; law: that of the initial weights.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        activation: str = "mish",
        aggregate: reference.Aggregate = "min",
        decays: bool = True,
        law: Law = "fan_in",
    ):
        c, seeds = agent.config, len(agent.seeds)
        self.agent, self.aggregate, self.decays = agent, aggregate, decays
        self.network = TwinCritic(
            agent.observation_dim,
            agent.action_dim,
            c.width,
            c.depth,
            agent.ops.mlp,
            activation,
            agent.layer_norms,
        )
        parameters = Parameters(2 * seeds, self.network.shapes, agent.device, agent.dtype)
        initialise(parameters, agent.keys, (1, 2), law)
        self.learner = Learner(parameters, seeds)
        self.rate = agent.per_seed(c.critic_learning_rate, "critic-learning-rate")

    def values(self, observation: Tensor, action: Tensor, target: bool = False) -> Tensor:
        """Return Q [2, S, B] by the online networks, or by the target networks."""
        views = self.learner.average_views if target else self.learner.views
        return self.network(views, observation, action)

    def policy_values(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return Q [2, S, B] by the online networks, frozen: gradients reach the action alone."""
        return self.network(detached(self.learner.views), observation, action)

    def score(self, seed: int | None = None) -> Score:
        """Return the function min Q of the target networks, of all seeds or of one.

        It compares candidates: (observation [S, B, O], action [S, B, A]) -> [S, B].
        """
        views = detached(self.learner.average_views)
        if seed is not None:
            views = {name: view[2 * seed : 2 * seed + 2] for name, view in views.items()}
        return lambda observation, action: self.network(views, observation, action).amin(0)

    def next_values(self, batch: Batch, next_action: Tensor) -> Tensor:
        """Return target values [2, S, m, B] of m next actions [S, m B, A]."""
        b = batch.reward.shape[1]
        states = batch.next_observation.repeat(1, next_action.shape[1] // b, 1)
        values = self.values(states, next_action, target=True)
        return values.reshape(2, len(batch.reward), -1, b)

    def td_target(self, batch: Batch, next_action: Tensor) -> Tensor:
        """Return the TD target [S, B], the best of m next actions backed up.

        next_action: [S, m B, A].
        """
        with torch.no_grad():
            best = self.next_values(batch, next_action).amax(2)
            return self.bootstrap(batch, reference.aggregate(best, self.aggregate))

    def soft_target(self, batch: Batch, next_action: Tensor, temperature: float) -> Tensor:
        """Return the TD target [S, B] with the softmax-weighted value of m next actions.

        QGPO's in-support target.
        """
        with torch.no_grad():
            values = reference.aggregate(self.next_values(batch, next_action), self.aggregate)
            return self.bootstrap(batch, reference.softmax_value(values, temperature))

    def bootstrap(self, batch: Batch, next_value: Tensor) -> Tensor:
        """Return r + gamma (1 - done) V(s') for values of s', [S, B] each."""
        return reference.bellman(
            batch.reward, batch.mask, next_value, self.agent.config.discount
        ).detach()

    def step(
        self, batch: Batch, target: Tensor, step: int | Tensor, rested: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Take one Adam step towards target [S, B]; return loss and gradient norm, [S].

        rested: earlier updates without a step of the critic, which Adam does not count.
        """
        c, values = self.agent.config, self.values(batch.observation, batch.action)
        loss = reference.double_q_loss(values, target)
        norm = self.learner.update(
            loss,
            step + 1,
            self.agent.decayed(self.rate, step) if self.decays else self.rate,
            c.critic_ema_rate,
            c.max_gradient_norm,
            rested,
        )
        return loss.detach(), norm
