"""Actor and critic of Diffusion-QL and Consistency-AC: guidance through the sampler's K steps."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.agents.double_q import DoubleQ
from gtp_fast.agents.settings import ANY, AgentConfig, Ranges, check
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
class ChainConfig(AgentConfig):
    """Settings of both agents."""

    eta: tuple[float, ...] = (1.0,)
    """Weight of the guidance loss relative to the cloning loss; 0 clones the data. One value, or
    one per seed.
    """
    ema_every: int = 5
    """Updates between two moves of the target actor."""
    ema_start: int = 1000
    """Updates before its first move; until then it is the initial actor."""
    scale_target: bool = False
    """Divide the TD target by its standard deviation over the batch (Consistency-AC's q_norm)."""


def delayed(
    rate: float, step: int | Tensor, every: int, start: int, dtype: torch.dtype
) -> float | Tensor:
    """Return the rate of a moving average that moves every `every` updates from `start` on."""
    if isinstance(step, Tensor):
        return rate * ((step >= start) & (step % every == 0)).to(dtype)
    return rate if step >= start and step % every == 0 else 0.0


class ChainActorCritic(Agent):
    """Double-Q critic and an actor that minimises cloning loss + eta guidance loss."""

    ranges: ClassVar[Ranges] = {}
    acting_weights = "online"
    loss_names = ("critic_loss", "cloning_loss", "guidance_loss")
    metric_names = (*loss_names, "q", "actor_gradient", "critic_gradient")

    def __init__(self, config: Any, setup: Setup):
        shared = {"eta": ANY, "ema_every": (1, 1e9), "ema_start": (0, 1e9)}
        check(config, shared | dict(self.ranges))
        super().__init__(config, setup)
        count, c = len(self.seeds), config
        self.network = ActorNetwork(
            setup.observation_dim, setup.action_dim, c.width, c.depth, self.ops.mlp,
            affine=self.ops.affine,
        )  # fmt: skip
        actor = Parameters(count, self.network.shapes(), self.device, self.dtype)
        initialise(actor, self.keys, (0,))
        self.actor, self.critic = Learner(actor, count), DoubleQ(self)
        self.eta = self.per_seed(c.eta, "eta")
        self.rate = self.per_seed(c.learning_rate, "learning-rate")
        self.clones = not any(c.eta)
        self.plan = self.sampler_plan(None)
        self.sampler = self.ops.chain(self.folded("ema"))
        self.prepare(1)

    @abstractmethod
    def sampler_plan(self, k: int | None) -> Plan:
        """Return the sampler's K steps; None for the agent's own K."""

    @abstractmethod
    def cloning_loss(self, batch: Batch, step: int | Tensor) -> Tensor:
        """Return the loss [S] that makes the actor a model of the data."""

    def learners(self) -> dict[str, Learner]:
        """Return actor and critic."""
        return {"actor": self.actor, "critic": self.critic.learner}

    def score(self, seed: int | None = None) -> Score | None:
        """Return the target critic's score; None for cloning, which trains no critic."""
        return None if self.clones else self.critic.score(seed)

    def folded(self, weights: str = "ema", k: int | None = None) -> FoldedPolicy:
        """Return the K-step policy of every seed with its constants folded."""
        views = self.actor.average_views if weights == "ema" else self.actor.views
        return self.network.fold(views, self.plan if k is None else self.sampler_plan(k))

    def update(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Step the critic, then the actor, then its moving average where that is due."""
        if isinstance(step, int):
            self.advance(step, table)
        c, batch = self.config, self.batch(table, step)
        critic_loss = critic_gradient = guidance = q = torch.zeros_like(self.eta)
        cloning = loss = self.cloning_loss(batch, step)
        if not self.clones:
            target = self.td_target(batch, step)
            critic_loss, critic_gradient = self.critic.step(batch, target, step)
            guidance, q = self.guidance_loss(batch, step)
            loss = cloning + self.eta * guidance
        gradient = self.actor.update(
            loss,
            step + 1,
            self.decayed(self.rate, step),
            delayed(c.ema_rate, step, c.ema_every, c.ema_start, self.dtype),
            c.max_gradient_norm,
        )
        return torch.stack(
            (
                critic_loss,
                cloning.detach(),
                guidance.detach(),
                q.detach(),
                gradient,
                critic_gradient,
            )
        )

    def td_target(self, batch: Batch, step: int | Tensor) -> Tensor:
        """Return the TD target [S, B] with actions of the target actor at s'."""
        copies = max(1, self.config.max_q_backup)
        rows = copies * self.config.batch_size
        noise = self.chain_noise(step, Stream.TARGET, rows, self.plan.draws)
        self.sampler.load(self.folded("ema"))
        next_action = self.sampler.sample(batch.next_observation.repeat(1, copies, 1), noise)
        target = self.critic.td_target(batch, next_action)
        return reference.scaled_target(target) if self.config.scale_target else target

    def guidance_loss(self, batch: Batch, step: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return L_q [S] and mean Q [S]; the gradient flows through all sampler steps.

        A coin decides which twin is maximised and which one scales it.
        """
        noise = self.chain_noise(step, Stream.GUIDANCE, self.config.batch_size, self.plan.draws)
        action = self.network.sample(self.actor.views, self.plan, batch.observation, noise)
        first, second = self.critic.policy_values(batch.observation, action)
        coin = self.ops.integers(self.keys, step, Stream.TWIN, 1, 2) == 1
        loss = reference.guidance_loss(
            torch.where(coin, first, second), torch.where(coin, second, first)
        )
        return loss, torch.minimum(first, second).mean(-1)
