"""QIPO, Q-weighted iterative policy optimisation (Zhang, Zhang, Gu 2025).

The loss of a diffusion (qipo-diff) or of a flow (qipo-ot), weighted by exp(beta Q) on actions of
the policy itself. Q is the minimum of the target critics, in the TD target's softmax and in the
weights, as in QGPO; the public re-implementation of QIPO-OT takes the twins' mean, in its weights
by the online networks. The critic's loss is the sum of the twins' and QGPO's their mean, a factor
without effect on Adam. The target critic moves after each critic step, as QGPO's does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.agents.double_q import DoubleQ
from gtp_fast.agents.rivals.flows import unit_times
from gtp_fast.agents.rivals.qipo_config import RANGES, QIPOConfig
from gtp_fast.agents.rivals.support import SupportPolicy
from gtp_fast.agents.settings import check
from gtp_fast.agents.setup import Setup
from gtp_fast.networks.actor import ActorNetwork, Clock
from gtp_fast.networks.learner import Learner
from gtp_fast.networks.parameters import Parameters, initialise
from gtp_fast.ops.candidates import Score
from gtp_fast.reference import FoldedPolicy, Plan
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch, TransitionTable

CLONING, WARMING_UP, GUIDED = range(3)
_RENEWALS = 5


class QIPO(Agent):
    """The part that both variants share: three phases, each a fraction of the run.

    1. `CLONING`: the actor learns the behaviour with the unweighted loss. `behaviour` then keeps
    its moving average. 2. `WARMING_UP`: the critic learns by in-support softmax Q-learning on
    actions of `behaviour`. 3. `GUIDED`: the critic goes on, and the actor learns the data's action
    and M actions of `support` (its average at the last renewal), weighted by softmax(beta Q). After
    l renewals it aims at mu exp(l beta Q).

    Deviations from the paper, as far as it is known: short runs draw the actions of a batch's
    states, for the support sets and the TD target, in each update instead of once for the whole
    dataset (`support_sets`); each action gets its own time and noise; the critic goes on in the
    guided phase. beta, M, the lengths of the phases and K_renew are not published per task: see
    agents/rivals/task_settings.py. The network is the plain MLP of the other agents instead of
    QGPO's residual one, its moving average acts, and the batch is 256 instead of QGPO's 4096.
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
            setup.observation_dim,
            setup.action_dim,
            c.width,
            c.depth,
            self.ops.mlp,
            clock=self.clock,
            affine=self.ops.affine,
        )
        parameters = Parameters(count, self.network.shapes(), self.device, self.dtype)
        initialise(parameters, self.keys, (0,))
        self.actor = Learner(parameters, count)
        self.behaviour, self.support = (
            SupportPolicy(self, parameters.frozen_copy(), self._fold, stream, next_states)
            for stream, next_states in ((Stream.TARGET, True), (Stream.SUPPORT, False))
        )
        self.critic = DoubleQ(self, activation=c.critic_activation)
        self.beta = self.per_seed(c.beta, "beta")
        self.rate = self.per_seed(c.learning_rate, "learning-rate")
        self.plan = self.sampler_plan(c.k)
        self.sampler = self.ops.chain(self.folded())
        self.prepare(1)

    def learners(self) -> dict[str, Learner]:
        """Return actor and critic."""
        return {"actor": self.actor, "critic": self.critic.learner}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the learners' tensors and the weights of both support policies, [S, P]."""
        policies = {"behaviour": self.behaviour, "support": self.support}
        kept = {f"{name}.weights": policy.weights.flat for name, policy in policies.items()}
        return super().state_dict() | kept

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Take the tensors of `state_dict`; support sets are drawn from them again."""
        super().load_state_dict(tensors)
        self.behaviour.forget()
        self.support.forget()

    def score(self, seed: int | None = None) -> Score:
        """Return the target critic's score."""
        return self.critic.score(seed)

    def folded(self, weights: str = "ema", k: int | None = None) -> FoldedPolicy:
        """Return the K-step policy of every seed."""
        views = self.actor.average_views if weights == "ema" else self.actor.views
        return self.network.fold(views, self.plan if k is None else self.sampler_plan(k))

    def _fold(self, views: Mapping[str, Tensor]) -> FoldedPolicy:
        return self.network.fold(views, self.plan)

    @abstractmethod
    def sampler_plan(self, k: int) -> Plan:
        """Return the sampler's K steps."""

    @abstractmethod
    def noised(self, a: Tensor, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return noisy actions, the network's time input, and its target.

        [S, B, A], [S, B], [S, B, A]. a: actions; z: noise; u: uniform draws [S, B] for the time.
        """

    def prepare(self, total_updates: int) -> None:
        """Fix the length of the run and of its phases."""
        super().prepare(total_updates)
        c = self.config
        self.warmup_from = min(total_updates, round(c.behaviour_fraction * total_updates))
        warmup = round(c.warmup_fraction * total_updates)
        self.guided_from = min(total_updates, self.warmup_from + warmup)
        fifth = -(-(total_updates - self.guided_from) // _RENEWALS)
        self.renew_every = c.renew_every or max(1, fifth)
        self.phase = CLONING
        self.scale = (self.nominal_updates or total_updates) / total_updates
        self.behaviour.forget()
        self.support.forget()

    def advance(self, step: int, table: TransitionTable) -> None:
        """Enter a phase, and renew the support policies and their sets where that is due.

        A second call for the same step changes nothing.
        """
        average, since = self.actor.average.flat, step - self.guided_from
        self.phase = (step >= self.warmup_from) + (step >= self.guided_from)
        if step == self.warmup_from:
            self.behaviour.weights.flat.copy_(average)
        if self.phase != CLONING:
            updates = self.total_updates - self.warmup_from
            self._draw(self.behaviour, table, self.warmup_from, updates)
        if self.phase == GUIDED:
            renewal = step - since % self.renew_every
            if step == renewal:
                self.support.weights.flat.copy_(average)
            self._draw(self.support, table, renewal, self.renew_every)

    def _draw(self, policy: SupportPolicy, table: TransitionTable, step: int, updates: int) -> None:
        """Draw the support sets of a policy renewed at `step`, where that pays."""
        if policy.pays(table, updates * self.scale):
            policy.draw(self.sampler, table, step)

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
            states, actions, weights = self._weighted_actions(table, batch, step)
            size = (1.0 / weights.square().sum(1)).mean(-1)
            # The optimiser's own count of updates goes on where cloning left it.
            rested = self.guided_from - self.warmup_from
            actor_loss, actor_gradient = self._actor_step(states, actions, weights, step, rested)
        return torch.stack((critic_loss, actor_loss, q, size, actor_gradient, critic_gradient))

    def _critic_step(
        self, table: TransitionTable, batch: Batch, step: int | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Step the critic towards `DoubleQ.soft_target` of M behaviour actions at s'.

        Return its loss, mean target and gradient norm, [S] each.
        """
        next_action = self.behaviour.sets(self.sampler, batch.next_observation, table, step)
        target = self.critic.soft_target(batch, next_action, self.config.q_alpha)
        loss, gradient = self.critic.step(batch, target, step, rested=self.warmup_from)
        return loss, target.mean(1), gradient

    def _weighted_actions(
        self, table: TransitionTable, batch: Batch, step: int | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return states, actions and weights of the support sets.

        [S, (M + 1) B, .] twice, and [S, M + 1, B]. The data's action comes first, then the M of its
        state's support set.
        """
        c = self.config
        drawn = self.support.sets(self.sampler, batch.observation, table, step)
        states = batch.observation.repeat(1, c.support + 1, 1)
        actions = torch.cat((batch.action, drawn), 1)
        with torch.no_grad():
            values = self.critic.values(states, actions, target=True).amin(0)
            values = values.reshape(len(values), -1, c.batch_size)
            return states, actions, reference.support_weights(values, self.beta)

    def _actor_step(
        self, states: Tensor, actions: Tensor, weights: Tensor, step: int | Tensor, rested: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Step the actor; return loss and gradient norm, [S] each.

        actions: [S, m B, A]; weights: [S, m, B]; rested: earlier updates in which the actor did not
        learn.
        """
        c, rows = self.config, actions.shape[1]
        z = self.chain_noise(step, Stream.FLOW_NOISE, rows)
        x, time, target = self.noised(actions, z, unit_times(self, step, rows))
        predicted = self.network(self.actor.views, x, time, states)
        loss = reference.support_loss(predicted, target, weights)
        rate = self.decayed(self.rate, step)
        gradient = self.actor.update(loss, step + 1, rate, c.ema_rate, c.max_gradient_norm, rested)
        return loss.detach(), gradient
