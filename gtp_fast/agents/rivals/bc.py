"""Behaviour cloning with a plain network: the baseline of every generative model.

The action is mu(s), linear in its last layer and clipped to the action box when acting (a tanh has
no gradient at the edges of the box); the loss is its mean squared error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.agents.settings import CloneConfig, check
from gtp_fast.agents.setup import Setup
from gtp_fast.networks.actor import output_plan, state_network
from gtp_fast.networks.learner import Learner
from gtp_fast.networks.parameters import Parameters, initialise
from gtp_fast.reference import FoldedPolicy

if TYPE_CHECKING:
    from gtp_fast.data.table import TransitionTable


@dataclass(frozen=True)
class BCConfig(CloneConfig):
    """Settings of behaviour cloning."""

    candidates_differ: ClassVar[bool] = False


class BC(Agent):
    """A deterministic policy fitted to the data's actions."""

    Config = BCConfig
    k_is_free = False
    loss_names = ("cloning_loss",)
    metric_names = (*loss_names, "actor_gradient")

    config: BCConfig

    def __init__(self, config: BCConfig, setup: Setup):
        check(config, {})
        super().__init__(config, setup)
        self.network = state_network(
            setup.observation_dim, setup.action_dim, config.width, config.depth, self.ops.mlp
        )
        actor = Parameters(len(self.seeds), self.network.shapes(), self.device, self.dtype)
        initialise(actor, self.keys, (0,))
        self.actor = Learner(actor, len(self.seeds))
        self.rate = self.per_seed(config.learning_rate, "learning-rate")
        self.plan = output_plan(actor.flat)
        self.prepare(1)

    def learners(self) -> dict[str, Learner]:
        """Return the actor."""
        return {"actor": self.actor}

    def folded(self, weights: str = "ema", k: int | None = None) -> FoldedPolicy:
        """Return the policy of every seed as one step that ignores its noise."""
        self.check_k(k, 1)
        views = self.actor.average_views if weights == "ema" else self.actor.views
        return self.network.fold(views, self.plan)

    def update(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Take one step on the squared error."""
        c, batch = self.config, self.batch(table, step)
        predicted = self.network(self.actor.views, None, None, batch.observation)
        loss = reference.squared_error(predicted, batch.action)
        gradient = self.actor.update(
            loss, step + 1, self.decayed(self.rate, step), c.ema_rate, c.max_gradient_norm
        )
        return torch.stack((loss.detach(), gradient))
