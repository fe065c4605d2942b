"""Algorithm 1 in twelve launches of Triton and one of the sampler, without autograd.

In bf16 and tf32 the sampler has one more, which packs the weights for its tensor cores.

The arithmetic of `update.py` with the same random numbers; every pass forward and backward is
written out. What can be computed at once shares a launch: the critics at s and their targets at s',
students and teacher, all draws of an update.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gtp_fast.agents.gtp.config import FLOW, JUMP, wholly_fused
from gtp_fast.ops import mlp_triton
from gtp_fast.ops.sampler import NativeSampler
from gtp_fast.reference import adam, clock_size
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.agents.gtp.state import GTPState
    from gtp_fast.data.table import TransitionTable
    from gtp_fast.networks.learner import Learner

_STREAMS = (Stream.BATCH, Stream.TARGET, Stream.VALUE, Stream.TIME, Stream.NOISE)


def serves(state: GTPState) -> bool:
    """Return whether this form does what the settings ask for, in networks of their size."""
    c = state.config
    fused = wholly_fused(c) and c.advantage_scale == "std"
    fits = fused and mlp_triton.holds(c.width, state.action_dim)
    return fits and isinstance(state.chain, NativeSampler)


def build(state: GTPState) -> TritonUpdate:
    """Return the update of a state by Triton's kernels."""
    return TritonUpdate(state)


class TritonUpdate:
    """The update of one state, which must keep its tensors at their addresses."""

    def __init__(self, state: GTPState):
        c, chain = state.config, state.chain
        assert isinstance(chain, NativeSampler)
        self.state, self.chain, self.precision = state, chain, state.ops.precision
        self.seeds = len(state.seeds)
        self.row = {name: row for row, name in enumerate(state.metric_names)}
        self.repeats = (1, 1) if state.clones else (max(1, c.max_q_backup), c.value_samples)
        # Without an advantage every weight is 1.
        self.equal_values = (torch.zeros(2 * self.seeds, c.batch_size, 1, device=state.device),) * 2
        self.embedding = features, hidden = state.network.shapes()["t.0.weight"]
        on_gpu = state.device.type == "cuda"
        self.side = torch.cuda.Stream(state.device) if on_gpu else None  # type: ignore[no-untyped-call]
        self.clocks = 2 * clock_size(features, hidden)
        self._lay_out_policy()

    def _lay_out_policy(self) -> None:
        """Make the array that the sampler reads; the coefficients of its steps are constant."""
        state = self.state
        policy = state.folded("ema")
        self.levels, self.scale = state.step_levels(), policy.initial_scale
        # A folded policy ends with them.
        schedule = torch.cat(policy.schedule)
        self.padded, count = self.chain.padded()
        self.flat = torch.zeros(count, device=state.device)
        self.flat[-len(schedule) :] = schedule

    def __call__(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Do update number `step`; return the metrics [len(metric_names), S]."""
        from gtp_fast.kernels import batch

        state, c = self.state, self.state.config
        # Where no critic is trained, its metrics stay zero.
        new = torch.zeros if state.clones else torch.empty
        metrics = new(len(state.metric_names), self.seeds, device=state.device)
        sizes = state.observation_dim, state.action_dim, c.batch_size
        drawn = batch.draw_batch(
            table.rows, sizes, self.repeats, state.nodes, state.node_count, state.keys, step,
            _STREAMS, lots=table.lots, u_mode=c.u_mode, cdf=state.cdf, kind=c.precondition,
            sigma_data=c.sigma_data, t_min=c.t_min, consistency_weight=c.consistency_weight,
        )  # fmt: skip
        embedded = self._fold(drawn)
        with self._on_side_stream():
            passes = self._actor_passes(drawn, embedded)
        values = self.equal_values
        if not state.clones:
            self.chain.take(self.flat, self.scale, drawn.states.shape[1])
            actions = self.chain.sample(drawn.states, drawn.noise)
            self._critic_step(drawn, actions, step, metrics)
            values = self._values(drawn, actions)
        if self.side is not None:
            torch.cuda.current_stream(self.state.device).wait_stream(self.side)
        self._actor_step(drawn, passes, values, step, metrics)
        return metrics

    @contextmanager
    def _on_side_stream(self) -> Iterator[None]:
        """Run on a second stream what sampler and critic do not wait for."""
        if self.side is None:
            yield
            return
        # An earlier update may still read memory of this stream; it ends before this point.
        self.side.wait_stream(torch.cuda.current_stream(self.state.device))
        with torch.cuda.stream(self.side):
            yield

    def _fold(self, drawn: Any) -> tuple[Tensor, Tensor]:
        """Fold the sampled policy, and embed the times of students and teacher."""
        from gtp_fast.kernels import fold

        state, c = self.state, self.state.config
        sizes = state.observation_dim, state.action_dim, c.width, c.depth
        weights = state.actor.parameters.flat, state.actor.average.flat
        levels = drawn.perturbed.student_levels, drawn.perturbed.teacher_levels
        embedded: tuple[Tensor, Tensor] = fold.fold(
            *weights, sizes, self.embedding, self.levels, self.flat, self.padded, *levels
        )
        return embedded

    def _critic_step(
        self, drawn: Any, actions: Tensor, step: int | Tensor, metrics: Tensor
    ) -> None:
        """Step the twin critics (eq. 16); actions: at s', then at s."""
        from gtp_fast.kernels import critic_backward, dense, mlp_pair, mlp_weights

        state, c, learner = self.state, self.state.config, self.state.critic.learner
        weights, gradient = learner.parameters.flat, learner.parameters.gradient
        next_state, observation = self._states(drawn)
        inputs = (observation, drawn.action)
        values = mlp_pair.mlp_pair(
            inputs, (next_state, actions[:, : next_state.shape[1]]), weights, learner.average.flat,
            (c.width, c.depth, 1), self.precision,
        )  # fmt: skip
        parts, _, widths = dense.pieces(inputs, len(weights))
        losses, slope, deltas = critic_backward.critic_chain(
            values.y, values.other, drawn.reward, drawn.mask, c.discount, values.saved, widths,
            weights, self.precision,
        )  # fmt: skip
        squares = mlp_weights.weight_gradients(
            parts, widths, values.saved.hidden, deltas, slope, gradient, self.precision
        )
        self._step(
            learner, squares, losses[None], metrics[self.row["critic_loss"], None],
            metrics[self.row["critic_gradient"]], state.critic.rate, step, c.critic_ema_rate,
        )  # fmt: skip

    def _actor_passes(self, drawn: Any, embedded: tuple[Tensor, Tensor]) -> tuple[Any, Any]:
        """Return the students' inputs, and the outputs of students and teacher."""
        from gtp_fast.kernels import mlp_pair

        c, learner, p = self.state.config, self.state.actor, drawn.perturbed
        _, observation = self._states(drawn)
        inputs = (p.student_x, embedded[0], observation)
        outputs = mlp_pair.mlp_pair(
            inputs, (p.teacher_x, embedded[1], observation),
            learner.parameters.flat[:, self.clocks :], learner.average.flat[:, self.clocks :],
            (c.width, c.depth, self.state.action_dim), self.precision,
        )  # fmt: skip
        return inputs, outputs

    def _values(self, drawn: Any, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return Q of the data's actions [S, 2, B], and of the policy's at the same states."""
        from gtp_fast.kernels import mlp_pair

        c, critics = self.state.config, self.state.critic.learner.parameters.flat
        next_state, observation = self._states(drawn)
        split = next_state.shape[1]
        values = mlp_pair.mlp_pair(
            (observation, drawn.action), (drawn.states[:, split:], actions[:, split:]),
            critics, critics, (c.width, c.depth, 1), self.precision, save=False,
        )  # fmt: skip
        return values.y, values.other

    def _actor_step(
        self, drawn: Any, passes: Any, values: tuple[Tensor, Tensor], step: int | Tensor,
        metrics: Tensor,
    ) -> None:  # fmt: skip
        """Weigh the batch by advantage (eq. 14), then step the actor on its losses (eq. 19)."""
        from gtp_fast.kernels import actor_backward, dense

        state, c, learner = self.state, self.state.config, self.state.actor
        p = drawn.perturbed
        inputs, outputs = passes
        weights = learner.parameters.flat[:, self.clocks :]
        statistics = metrics[self.row["q"] : self.row["weight_max"] + 1]
        parts, _, widths = dense.pieces(inputs, self.seeds)
        losses, slope, deltas, embedding = actor_backward.actor_chain(
            *values, state.eta, state.lambda_flow, outputs.y, outputs.other,
            drawn.action, p, statistics, outputs.saved, widths, weights,
            c.weight_maximum, precision=self.precision,
        )  # fmt: skip
        squares = actor_backward.actor_gradients(
            parts, widths, outputs.saved.hidden, deltas, slope, p.student_levels, embedding,
            self.embedding, learner.parameters.flat, learner.parameters.gradient, self.precision,
        )  # fmt: skip
        self._step(
            learner, squares, losses, metrics[self.row[JUMP] : self.row[FLOW] + 1],
            metrics[self.row["actor_gradient"]], state.rate, step, c.ema_rate,
        )  # fmt: skip

    def _states(self, drawn: Any) -> tuple[Tensor, Tensor]:
        """Return s' [S, m B, O], repeated for each backup, and s [S, B, O]."""
        rows = self.state.config.batch_size
        split = self.repeats[0] * rows
        return drawn.states[:, :split], drawn.states[:, split : split + rows]

    def _step(
        self, learner: Learner, squares: Tensor, losses: Tensor, terms: Tensor, norms: Tensor,
        rate: Tensor, step: int | Tensor, ema_rate: float,
    ) -> None:  # fmt: skip
        from gtp_fast.kernels import step as kernel

        state, c = self.state, self.state.config
        kernel.take_step(
            learner.buffers(), squares.view(self.seeds, -1), losses,
            terms, norms, rate, state.diverged, step, ema_rate, c.max_gradient_norm,
            state.total_updates if c.cosine_decay else None, adam.BETAS, adam.EPSILON,
        )  # fmt: skip
