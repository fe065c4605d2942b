"""One whole update of GTP in twelve launches of Triton and one of the sampler: every pass forward
and backward is written out, so that no graph of autograd is made.

The same arithmetic as `GTP.update` does by single operations, and the same random numbers; the
order is the one of Algorithm 1. What can be computed at once shares a launch: the critics at s and
their targets at s', students and teacher, the draws of a whole update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gtp_fast.ops import triton
from gtp_fast.ops.sampler import NativeSampler
from gtp_fast.reference import adam, clock_size
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.agents.gtp import GTP
    from gtp_fast.data.table import TransitionTable
    from gtp_fast.networks.learner import Learner

_STREAMS = (Stream.BATCH, Stream.TARGET, Stream.VALUE, Stream.TIME, Stream.NOISE)
# Rows of the metrics, in the order of `GTP.metric_names`.
_CRITIC_LOSS, _LOSSES, _STATISTICS, _NORM, _CRITIC_NORM = 0, slice(1, 3), slice(3, 7), 7, 8


def build(agent: GTP, precision: str) -> Callable[..., Tensor] | None:
    """Return the whole update of an agent, or None where its settings need other operations: its
    objective has no fused form, or a network is larger than the kernels hold.
    """
    fits = agent.fuses and triton.holds(agent.config.width, agent.action_dim)
    if not fits or not isinstance(agent.chain, NativeSampler):
        return None
    return WholeUpdate(agent, agent.chain, precision)


class WholeUpdate:
    """The update of one agent; precision: what the products of its networks read."""

    def __init__(self, agent: GTP, chain: NativeSampler, precision: str):
        c = agent.config
        self.agent, self.chain, self.precision = agent, chain, precision
        self.seeds = len(agent.seeds)
        self.repeats = (1, 1) if agent.clones else (max(1, c.max_q_backup), c.value_samples)
        # Equal values of all actions: no advantage, so that every weight is 1.
        self.nothing = (torch.zeros(2 * self.seeds, c.batch_size, 1, device=agent.device),) * 2
        self.embedding = features, hidden = agent.network.shapes()["t.0.weight"]
        on_gpu = agent.device.type == "cuda"
        self.side = torch.cuda.Stream(agent.device) if on_gpu else None  # type: ignore[no-untyped-call]
        self.clocks = 2 * clock_size(features, hidden)
        self._lay_out_policy()

    def _lay_out_policy(self) -> None:
        """Make the array that the sampler reads, with what no weight enters already in it."""
        agent = self.agent
        policy = agent.folded("ema")
        self.levels, self.scale = agent.step_levels(), policy.initial_scale
        # They are what a folded policy ends with.
        schedule = policy.coefficients()
        self.padded, count = self.chain.padded()
        self.flat = torch.zeros(count, device=agent.device)
        self.flat[-len(schedule) :] = schedule

    def __call__(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Do update number `step`; return the metrics [len(metric_names), S]."""
        from gtp_fast.kernels import batch

        agent, c = self.agent, self.agent.config
        # Where no critic is trained, its metrics stay zero.
        made = torch.zeros if agent.clones else torch.empty
        metrics = made(len(agent.metric_names), self.seeds, device=agent.device)
        sizes = agent.observation_dim, agent.action_dim, c.batch_size
        drawn = batch.draw_batch(
            table.rows, sizes, self.repeats, agent.nodes, agent.node_count, agent.keys, step,
            _STREAMS, lots=table.lots, u_mode=c.u_mode, cdf=agent.cdf, precondition=c.precondition,
            sigma_data=c.sigma_data, t_min=c.t_min,
        )  # fmt: skip
        embedded = self._fold(drawn)
        with self._beside():
            passes = self._actor_passes(drawn, embedded)
        values = self.nothing
        if not agent.clones:
            self.chain.take(self.flat, self.scale, drawn.states.shape[1])
            actions = self.chain.sample(drawn.states, drawn.noise)
            self._critic_step(drawn, actions, step, metrics)
            values = self._values(drawn, actions)
        if self.side is not None:
            torch.cuda.current_stream().wait_stream(self.side)
        self._actor_step(drawn, passes, values, step, metrics)
        return metrics

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """Run on a stream of its own what the sampler and the critic need not wait for."""
        if self.side is None:
            yield
            return
        # What an earlier update still reads of this stream's memory lies behind this point.
        self.side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.side):
            yield

    def _fold(self, drawn: Any) -> tuple[Tensor, Tensor]:
        """Fold the sampled policy, and embed the times of students and teacher."""
        from gtp_fast.kernels import fold

        agent, c = self.agent, self.agent.config
        sizes = agent.observation_dim, agent.action_dim, c.width, c.depth
        weights = agent.actor.parameters.flat, agent.actor.average.flat
        levels = drawn.perturbed.student_levels, drawn.perturbed.teacher_levels
        embedded: tuple[Tensor, Tensor] = fold.fold(
            *weights, sizes, self.embedding, self.levels, self.flat, self.padded, *levels
        )
        return embedded

    def _critic_step(
        self, drawn: Any, actions: Tensor, step: int | Tensor, metrics: Tensor
    ) -> None:
        """Step the twin critics (eq. 16); actions: at s', then at s."""
        from gtp_fast.kernels import critic, dense, mlp_pair, mlp_weights

        agent, c, learner = self.agent, self.agent.config, self.agent.critic.learner
        weights, gradient = learner.parameters.flat, learner.parameters.gradient
        following, observation = self._states(drawn)
        inputs = (observation, drawn.action)
        values = mlp_pair.mlp_pair(
            inputs, (following, actions[:, : following.shape[1]]), weights, learner.average.flat,
            (c.width, c.depth, 1), self.precision,
        )  # fmt: skip
        parts, _, widths = dense.pieces(inputs, len(weights))
        losses, slope, deltas = critic.critic_chain(
            values.y, values.other, drawn.reward, drawn.mask, c.discount, values.saved, widths,
            weights, self.precision,
        )  # fmt: skip
        squares = mlp_weights.weight_gradients(
            parts, widths, values.saved.hidden, deltas, slope, gradient, self.precision
        )
        self._step(
            learner, squares, losses[None], metrics[_CRITIC_LOSS, None], metrics[_CRITIC_NORM],
            agent.critic.rate, step, c.critic_ema_rate,
        )  # fmt: skip

    def _actor_passes(self, drawn: Any, embedded: tuple[Tensor, Tensor]) -> tuple[Any, Any]:
        """Return the students' inputs, and the outputs of students and teacher."""
        from gtp_fast.kernels import mlp_pair

        c, learner, p = self.agent.config, self.agent.actor, drawn.perturbed
        _, observation = self._states(drawn)
        inputs = (p.student_x, embedded[0], observation)
        outputs = mlp_pair.mlp_pair(
            inputs, (p.teacher_x, embedded[1], observation),
            learner.parameters.flat[:, self.clocks :], learner.average.flat[:, self.clocks :],
            (c.width, c.depth, self.agent.action_dim), self.precision,
        )  # fmt: skip
        return inputs, outputs

    def _values(self, drawn: Any, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return Q of the data's actions [S, 2, B], and of the policy's at the same states."""
        from gtp_fast.kernels import mlp_pair

        c, critics = self.agent.config, self.agent.critic.learner.parameters.flat
        following, observation = self._states(drawn)
        ahead = following.shape[1]
        values = mlp_pair.mlp_pair(
            (observation, drawn.action), (drawn.states[:, ahead:], actions[:, ahead:]),
            critics, critics, (c.width, c.depth, 1), self.precision, save=False,
        )  # fmt: skip
        return values.y, values.other

    def _actor_step(
        self, drawn: Any, passes: Any, values: tuple[Tensor, Tensor], step: int | Tensor,
        metrics: Tensor,
    ) -> None:  # fmt: skip
        """Weigh the batch by advantage (eq. 14), then step the actor on its losses (eq. 19)."""
        from gtp_fast.kernels import actor, dense

        agent, c, learner = self.agent, self.agent.config, self.agent.actor
        p = drawn.perturbed
        inputs, outputs = passes
        weights = learner.parameters.flat[:, self.clocks :]
        parts, _, widths = dense.pieces(inputs, self.seeds)
        losses, slope, deltas, embedding = actor.actor_chain(
            *values, agent.eta, agent.lambda_flow, outputs.y, outputs.other,
            drawn.action, p, metrics[_STATISTICS], outputs.saved, widths, weights,
            c.weight_maximum, precision=self.precision,
        )  # fmt: skip
        squares = actor.actor_gradients(
            parts, widths, outputs.saved.hidden, deltas, slope, p.student_levels, embedding,
            self.embedding, learner.parameters.flat, learner.parameters.gradient, self.precision,
        )  # fmt: skip
        self._step(
            learner, squares, losses, metrics[_LOSSES], metrics[_NORM], agent.rate, step,
            c.ema_rate,
        )  # fmt: skip

    def _states(self, drawn: Any) -> tuple[Tensor, Tensor]:
        """Return s' [S, m B, O], repeated for each backup, and s [S, B, O]."""
        rows = self.agent.config.batch_size
        ahead = self.repeats[0] * rows
        return drawn.states[:, :ahead], drawn.states[:, ahead : ahead + rows]

    def _step(
        self, learner: Learner, squares: Tensor, losses: Tensor, terms: Tensor, norms: Tensor,
        rate: Tensor, step: int | Tensor, ema_rate: float,
    ) -> None:  # fmt: skip
        from gtp_fast.kernels import step as kernel

        agent, c = self.agent, self.agent.config
        kernel.take_step(
            learner.buffers(), squares.view(self.seeds, -1), losses,
            terms, norms, rate, agent.diverged, step, ema_rate, c.max_gradient_norm,
            agent.total_updates if c.cosine_decay else None, adam.BETAS, adam.EPSILON,
        )  # fmt: skip
