"""QIPO, Q-weighted iterative policy optimisation (Zhang, Zhang, Gu 2025).

The ordinary loss of a diffusion (qipo-diff) or of a flow (qipo-ot), weighted by exp(beta Q) on
actions of its own.

Of the twins the minimum by the target networks is Q, in the TD target's softmax and in the weights,
as in QGPO; the public re-implementation of QIPO-OT takes their mean, in its weights by the online
networks. The sum of the twins stands in the critic's loss alone, where QGPO takes their mean, a
factor to which Adam is indifferent. The target critic moves after each critic step, towards the
critic as just stepped, as QGPO's does.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.agents.double_q import DoubleQ
from gtp_fast.agents.rivals.flows import unit_times
from gtp_fast.agents.rivals.qipo_config import RANGES, QIPOConfig
from gtp_fast.agents.rivals.support import SupportSets
from gtp_fast.agents.settings import check
from gtp_fast.agents.setup import Setup
from gtp_fast.networks.actor import ActorNetwork, Clock, Steps
from gtp_fast.networks.learner import Learner
from gtp_fast.networks.parameters import Parameters, initialise
from gtp_fast.ops.candidates import Score
from gtp_fast.reference import FoldedPolicy
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch, TransitionTable

CLONING, WARMING_UP, GUIDED = range(3)
_RENEWALS = 5


class QIPO(Agent):
    """What both variants share: three phases, each a fraction of the run.

    1. `CLONING`: the actor learns the behaviour with the unweighted loss. Its moving average is
    then kept as `behaviour`. 2. `WARMING_UP`: the critic learns by in-support softmax Q-learning on
    actions of `behaviour`. 3. `GUIDED`: the critic goes on, and the actor learns M actions of
    `support` (its own average as it was at the last renewal) and that of the data, weighted by
    softmax(beta Q). So after l renewals it aims at mu exp(l beta Q).

    Deviations from the paper, as far as it is known: runs too short for it draw the actions of a
    state's support set, and of the TD target, whenever the state comes up instead of once for the
    whole dataset (`support_sets`); each of them gets its own time and noise; the critic goes on in
    the guided phase. beta, M, the lengths of the phases and K_renew are not published per task: see
    agents/task_settings.py. The network is the plain MLP of the other agents instead of QGPO's
    residual one, its moving average acts, and the batch is 256 instead of QGPO's 4096.
    """

    Config = QIPOConfig
    clock: ClassVar[Clock]
    loss_names = ("critic_loss", "actor_loss")
    metric_names = (*loss_names, "q", "support_size", "actor_gradient", "critic_gradient")

    config: QIPOConfig

    def __init__(self, config: QIPOConfig, setup: Setup):
        check(config, RANGES)
        super().__init__(config, setup)
        c, count = config, len(self.seeds)
        self.network = ActorNetwork(
            setup.observation_dim, setup.action_dim, c.width, c.depth, self.ops, clock=self.clock
        )
        parameters = Parameters(count, self.network.shapes(), self.device, self.dtype)
        initialise(parameters, self.keys, (0,))
        self.actor = Learner(parameters, count)
        self.behaviour, self.support = parameters.frozen_copy(), parameters.frozen_copy()
        self.backups = SupportSets(self, Stream.TARGET, c.support, following=True)
        self.supports = SupportSets(self, Stream.SUPPORT, c.support, following=False)
        self.critic = DoubleQ(self, activation=c.critic_activation)
        self.beta = self.per_seed(c.beta, "beta")
        self.rate = self.per_seed(c.learning_rate, "learning-rate")
        self.steps = self.steps_of(c.k)
        self.chain = self.ops.chain(self.folded())
        self.prepare(1)

    def learners(self) -> dict[str, Learner]:
        """Return actor and critic."""
        return {"actor": self.actor, "critic": self.critic.learner}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the learners' tensors and the two policies that are kept from earlier, [S, P]."""
        kept = {"behaviour.weights": self.behaviour.flat, "support.weights": self.support.flat}
        return super().state_dict() | kept

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Take the tensors of `state_dict`; support sets are drawn again from them."""
        super().load_state_dict(tensors)
        self.backups.forget()
        self.supports.forget()

    def score(self, seed: int | None = None) -> Score:
        """Return the target critic's score."""
        return self.critic.score(seed)

    def folded(self, weights: str = "ema", k: int | None = None) -> FoldedPolicy:
        """Return the K-step policy of every seed."""
        views = self.actor.average_views if weights == "ema" else self.actor.views
        return self.network.fold(views, self.steps if k is None else self.steps_of(k))

    @abstractmethod
    def steps_of(self, k: int) -> Steps:
        """Return the sampler's K steps."""

    @abstractmethod
    def noised(self, a: Tensor, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return noisy actions [S, B, A], the network's time input [S, B] and its target.

        The target is [S, B, A]. u: uniform draws [S, B].
        """

    def prepare(self, total_updates: int) -> None:
        """Fix the length of the run, of which each phase is a fraction."""
        super().prepare(total_updates)
        c = self.config
        self.warmup_from = min(total_updates, round(c.behaviour_fraction * total_updates))
        warmup = round(c.warmup_fraction * total_updates)
        self.guided_from = min(total_updates, self.warmup_from + warmup)
        fifth = -(-(total_updates - self.guided_from) // _RENEWALS)
        self.renew_every = c.renew_every or max(1, fifth)
        self.phase = CLONING
        self.scale = (self.nominal_updates or total_updates) / total_updates
        self.backups.forget()
        self.supports.forget()

    def advance(self, step: int, table: TransitionTable) -> None:
        """Enter a phase, take its snapshots and draw their support sets.

        A second call for the same update changes nothing.
        """
        average, since = self.actor.average.flat, step - self.guided_from
        self.phase = (step >= self.warmup_from) + (step >= self.guided_from)
        if step == self.warmup_from:
            self.behaviour.flat.copy_(average)
        if self.phase != CLONING:
            uses = self.total_updates - self.warmup_from
            self._keep(self.backups, self.behaviour, table, self.warmup_from, uses)
        if self.phase == GUIDED:
            renewal = step - since % self.renew_every
            if step == renewal:
                self.support.flat.copy_(average)
            self._keep(self.supports, self.support, table, renewal, self.renew_every)

    def _keep(
        self, sets: SupportSets, weights: Parameters, table: TransitionTable, step: int, uses: int
    ) -> None:
        """Draw the sets of a policy kept since `step`, for so many updates, if that is the way."""
        kept = self.config.support_sets
        pays = uses * self.scale * self.config.batch_size >= len(table) and sets.fits(table)
        if kept == "kept" or (kept == "auto" and pays):
            sets.draw(self.chain, self.network.fold(weights.views, self.steps), table, step)

    def updates_per_advance(self, step: int) -> int:
        """Return how many updates are left until a phase or a renewal begins."""
        if step < self.guided_from:
            return (self.guided_from if step >= self.warmup_from else self.warmup_from) - step
        return self.renew_every - (step - self.guided_from) % self.renew_every

    def update(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Do one update of the phase that `advance` has entered."""
        if isinstance(step, int):
            self.advance(step, table)
        batch = self.batch(table, step)
        zero = torch.zeros(len(self.seeds), device=self.device, dtype=self.dtype)
        critic_loss = q = critic_gradient = actor_loss = size = actor_gradient = zero
        if self.phase != CLONING:
            critic_loss, q, critic_gradient = self._critic_step(table, batch, step)
        if self.phase == CLONING:
            ones = torch.ones_like(batch.reward)[:, None]
            actor_loss, actor_gradient = self._actor_step(
                batch.observation, batch.action, ones, step
            )
        elif self.phase == GUIDED:
            states, actions, weights = self._support(table, batch, step)
            size = (1.0 / weights.square().sum(1)).mean(-1)
            # The optimiser's own count of updates goes on where cloning left it.
            pause = self.guided_from - self.warmup_from
            actor_loss, actor_gradient = self._actor_step(states, actions, weights, step, pause)
        return torch.stack((critic_loss, actor_loss, q, size, actor_gradient, critic_gradient))

    def _actions(
        self,
        sets: SupportSets,
        weights: Parameters,
        observation: Tensor,
        table: TransitionTable,
        step: int | Tensor,
    ) -> Tensor:
        """Return M actions [S, M B, A] of a kept policy for the states of a batch."""
        c = self.config
        if sets.drawn_at is not None:
            return sets.of(
                self.ops.integers(self.keys, step, Stream.BATCH, c.batch_size, len(table))
            )
        z = self.chain_noise(step, sets.stream, c.support * c.batch_size)
        self.chain.load(self.network.fold(weights.views, self.steps))
        return self.chain.sample(observation.repeat(1, c.support, 1), z)

    def _critic_step(
        self, table: TransitionTable, batch: Batch, step: int | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Step the critic towards r + gamma sum_j softmax_j(alpha Q) Q on M behaviour actions of
        s'.
        """
        next_action = self._actions(
            self.backups, self.behaviour, batch.next_observation, table, step
        )
        target = self.critic.soft_target(batch, next_action, self.config.q_alpha)
        loss, gradient = self.critic.step(batch, target, step, first=self.warmup_from)
        return loss, target.mean(1), gradient

    def _support(
        self, table: TransitionTable, batch: Batch, step: int | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the support sets: states, actions and weights.

        States and actions are [S, (M + 1) B, .], weights [S, M + 1, B]; the data's action comes
        first.
        """
        c = self.config
        drawn = self._actions(self.supports, self.support, batch.observation, table, step)
        states = batch.observation.repeat(1, c.support + 1, 1)
        actions = torch.cat((batch.action, drawn), 1)
        with torch.no_grad():
            values = self.critic.values(states, actions, target=True).amin(0)
            values = values.reshape(len(values), -1, c.batch_size)
            return states, actions, reference.support_weights(values, self.beta)

    def _actor_step(
        self, states: Tensor, actions: Tensor, weights: Tensor, step: int | Tensor, pause: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Step the actor on actions [S, m B, A] weighted by [S, m, B]; return loss and gradient."""
        c, rows = self.config, actions.shape[1]
        z = self.chain_noise(step, Stream.FLOW_NOISE, rows)
        x, told, target = self.noised(actions, z, unit_times(self, step, rows))
        predicted = self.network(self.actor.views, x, told, states)
        loss = reference.support_loss(predicted, target, weights)
        rate = self.decayed(self.rate, step)
        gradient = self.actor.update(loss, step + 1 - pause, rate, c.ema_rate, c.max_gradient_norm)
        return loss.detach(), gradient
