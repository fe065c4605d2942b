"""IQL (Kostrikov, Nair, Levine, arXiv 2110.06169), "Offline RL with implicit Q-learning".

V by expectile regression, Q by V at the next state, the policy by weighted regression. Deviation
from the authors' code: networks start from U(-1, 1) / sqrt(fan in), theirs are orthogonal. As
there, the mean of the Gaussian policy goes through tanh, the density is that of a plain Gaussian
about it, and its log standard deviation is one parameter per action, kept in [-5, 2]. The policy
acts by its mean and the online weights; only the actor's learning rate decays; the target critic
moves at the end of an update, towards the updated critic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.agents.double_q import DoubleQ
from gtp_fast.agents.settings import ANY, AgentConfig, check
from gtp_fast.agents.setup import Setup
from gtp_fast.agents.state_value import StateValue
from gtp_fast.errors import UserError
from gtp_fast.networks.actor import output_plan, state_network
from gtp_fast.networks.learner import Learner
from gtp_fast.networks.parameters import Parameters, initialise
from gtp_fast.ops.candidates import Score
from gtp_fast.reference import FoldedPolicy

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch, TransitionTable

_LOG_STD = (-5.0, 2.0)


@dataclass(frozen=True)
class IQLConfig(AgentConfig):
    """Settings of IQL."""

    depth: int = 2
    """Hidden layers of actor, critic and value network."""
    cosine_decay: bool = True
    """Let the actor's learning rate fall to zero along a cosine over the run."""
    expectile: float = 0.7
    """Expectile of Q over the data's actions that V estimates (0.9 in AntMaze)."""
    beta: tuple[float, ...] = (3.0,)
    """Inverse temperature of the weights exp(beta A) (10 in AntMaze). One value, or one per seed.
    """
    weight_maximum: float = 100.0
    """Largest weight."""
    squash: bool = True
    """Let the policy's mean go through tanh, as its authors do; a linear mean is clipped when it
    acts.
    """

    once: ClassVar[Mapping[str, Any]] = MappingProxyType({"squash": False})
    candidates_differ: ClassVar[bool] = False

    def check_new(self) -> None:
        """Raise UserError for settings that a new run may not have."""
        super().check_new()
        if self.num_candidates > 1:
            raise UserError(
                f"--num-candidates {self.num_candidates} does nothing: IQL acts by its mean, so "
                "every candidate is the same action; leave it at 1."
            )
        if not 0.0 < self.expectile < 1.0:
            raise UserError(f"--expectile {self.expectile:g} must lie between 0 and 1.")


class IQL(Agent):
    """Implicit Q-learning with a Gaussian policy."""

    Config = IQLConfig
    k_is_free = False
    acting_weights = "online"
    loss_names = ("critic_loss", "value_loss", "actor_loss")
    metric_names = (*loss_names, "q", "value", "weight", "actor_gradient", "critic_gradient")

    config: IQLConfig

    def __init__(self, config: IQLConfig, setup: Setup):
        check(config, {"expectile": (0, 1), "beta": ANY, "weight_maximum": (1, 1e30)})
        super().__init__(config, setup)
        count, c = len(self.seeds), config
        self.network = state_network(
            setup.observation_dim, setup.action_dim, c.width, c.depth, self.ops.mlp
        )
        shapes = self.network.shapes() | {"log_std": (setup.action_dim,)}
        actor = Parameters(count, shapes, self.device, self.dtype)
        initialise(actor, self.keys, (0,))
        self.actor, self.value = Learner(actor, count), StateValue(self)
        self.critic = DoubleQ(self, activation="relu", decays=False)
        self.rate = self.per_seed(c.learning_rate, "learning-rate")
        self.beta = self.per_seed(c.beta, "beta")
        self.plan = output_plan(actor.flat, squash=c.squash)
        self.prepare(1)

    def learners(self) -> dict[str, Learner]:
        """Return actor, critic and value network."""
        return {
            "actor": self.actor,
            "critic": self.critic.learner,
            "value": self.value.learner,
        }

    def score(self, seed: int | None = None) -> Score:
        """Return the smaller target value."""
        return self.critic.score(seed)

    def folded(self, weights: str = "ema", k: int | None = None) -> FoldedPolicy:
        """Return the mean policy of every seed as one step that ignores its noise."""
        self.check_k(k, 1)
        views = self.actor.average_views if weights == "ema" else self.actor.views
        return self.network.fold(views, self.plan)

    def update(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Step V, the actor and the critic, in the order of the authors' code."""
        c, batch = self.config, self.batch(table, step)
        with torch.no_grad():
            q = self.critic.values(batch.observation, batch.action, target=True).amin(0)
        value_loss, _ = self.value.step(batch.observation, q, c.expectile, step)
        with torch.no_grad():
            value = self.value.values(batch.observation)
            target = self.critic.bootstrap(batch, self.value.values(batch.next_observation))
            w = reference.awr_weights(q - value, self.beta, c.weight_maximum)
        actor_loss = self.actor_loss(batch, w)
        actor_gradient = self.actor.update(
            actor_loss, step + 1, self.decayed(self.rate, step), c.ema_rate, c.max_gradient_norm
        )
        critic_loss, critic_gradient = self.critic.step(batch, target, step)
        return torch.stack(
            (
                critic_loss,
                value_loss,
                actor_loss.detach(),
                q.mean(-1),
                value.mean(-1),
                w.mean(-1),
                actor_gradient,
                critic_gradient,
            )
        )

    def actor_loss(self, batch: Batch, w: Tensor) -> Tensor:
        """Return -mean w log pi(a | s) [S] for weights w [S, B]."""
        mean = self.network(self.actor.views, None, None, batch.observation)
        mean = mean.tanh() if self.config.squash else mean
        log_std = self.actor.views["log_std"].clamp(*_LOG_STD)
        return -(w * reference.gaussian_log_density(batch.action, mean, log_std)).mean(-1)
