"""Algorithm 1 in ten launches of Triton and one of the sampler, without autograd.

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
from gtp_fast.agents.gtp.update_begin import Beginning
from gtp_fast.agents.gtp.update_copies import Copies
from gtp_fast.agents.gtp.update_critics import Critics
from gtp_fast.ops import limits
from gtp_fast.ops.sampler import NativeSampler
from gtp_fast.reference import Totals, adam, clock_size

if TYPE_CHECKING:
    from gtp_fast.agents.gtp.state import GTPState
    from gtp_fast.data.table import TransitionTable
    from gtp_fast.networks.learner import Learner


def serves(state: GTPState) -> bool:
    """Return whether this form does what the settings ask for, in networks of their size."""
    c = state.config
    fused = wholly_fused(c) and c.advantage_scale == "std"
    fits = fused and limits.triton_holds(c.width, state.action_dim)
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
        self.launches = state.setup.launches
        self.seeds = len(state.seeds)
        self.row = {name: row for row, name in enumerate(state.metric_names)}
        self.repeats = (1, 1) if state.clones else (max(1, c.max_q_backup), c.value_samples)
        # Without an advantage every weight is 1.
        self.equal_values = (torch.zeros(2 * self.seeds, c.batch_size, 1, device=state.device),) * 2
        self.embedding = features, hidden = state.network.shapes()["t.0.weight"]
        on_gpu = state.device.type == "cuda"
        self.side = torch.cuda.Stream(state.device) if on_gpu else None  # type: ignore[no-untyped-call]
        self.clocks = 2 * clock_size(features, hidden)
        self.begin = Beginning(state, self.repeats)
        kind = torch.bfloat16 if self.precision == "bf16" else torch.float32
        learners = state.actor, state.critic.learner
        self.copies = Copies(learners, kind if self.launches.copies else None)
        self.critics = Critics(state, self.repeats[0], self.copies)

    def refresh(self) -> None:
        """See what others than this update have written into the parameters."""
        self.copies.refresh()

    def __call__(
        self, table: TransitionTable, step: int | Tensor, totals: Totals | None = None
    ) -> Tensor:
        """Do update number `step`; return the metrics [len(metric_names), S].

        totals: what they are added to; `step` is a tensor then, and advanced.
        """
        from gtp_fast.kernels import weigh

        state = self.state
        # Where no critic is trained, its metrics stay zero.
        new = torch.zeros if state.clones else torch.empty
        metrics = new(len(state.metric_names), self.seeds, device=state.device)
        drawn, embedded = self.begin(table, step)
        beside = self.launches.actor_beside
        with self._on_side_stream():
            passes = self._actor_passes(drawn, embedded)
            chain = self._actor_chain(drawn, passes, None) if beside else None
        values = self.equal_values
        if not state.clones:
            begin = self.begin
            self.chain.take(begin.flat, begin.scale, drawn.states.shape[1], begin.units)
            actions = self.chain.sample(drawn.states, drawn.noise)
            self._critic_step(drawn, actions, step, metrics)
            values = self._values(drawn, actions)
        self._wait_for_side_stream()
        statistics = metrics[self.row["q"] : self.row["weight_max"] + 1]
        weighing = weigh.weighing(*values, state.eta, statistics)
        if chain is None:
            chain, weighing = self._actor_chain(drawn, passes, weighing), None
        self._actor_step(drawn, passes, chain, weighing, step, metrics, totals)
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

    def _wait_for_side_stream(self) -> None:
        if self.side is not None:
            torch.cuda.current_stream(self.state.device).wait_stream(self.side)

    def _critic_step(
        self, drawn: Any, actions: Tensor, step: int | Tensor, metrics: Tensor
    ) -> None:
        """Step the twin critics (eq. 16); actions: at s', then at s."""
        from gtp_fast.kernels import dense, mlp_weights

        state, c, learner = self.state, self.state.config, self.state.critic.learner
        next_state, observation = self._states(drawn)
        inputs = (observation, drawn.action)
        made = self.critics(inputs, (next_state, actions[:, : next_state.shape[1]]), drawn)
        parts, _, widths = dense.pieces(inputs, 2 * self.seeds)
        squares = mlp_weights.weight_gradients(
            parts, widths, made.hidden, made.deltas, made.gradient, learner.parameters.gradient,
            self.precision, self.launches.gradient_turn,
        )  # fmt: skip
        self._step(
            learner, squares, made.losses[None], metrics[self.row["critic_loss"], None],
            metrics[self.row["critic_gradient"]], state.critic.rate, step, c.critic_ema_rate,
        )  # fmt: skip

    def _actor_passes(self, drawn: Any, embedded: tuple[Tensor, Tensor]) -> tuple[Any, Any]:
        """Return the students' inputs, and the outputs of students and teacher."""
        from gtp_fast.kernels import mlp_pair

        c, learner, p = self.state.config, self.state.actor, drawn.perturbed
        _, observation = self._states(drawn)
        inputs = (p.student_x, embedded[0], observation)
        weights, averages = (x[:, self.clocks :] for x in self.copies.read(learner))
        outputs = mlp_pair.mlp_pair(
            inputs, (p.teacher_x, embedded[1], observation),
            learner.parameters.flat[:, self.clocks :], learner.average.flat[:, self.clocks :],
            (c.width, c.depth, self.state.action_dim), self.precision,
            small=self.launches.small_tiles, copies=(weights, averages),
        )  # fmt: skip
        return inputs, outputs

    def _values(self, drawn: Any, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return Q of the data's actions [S, 2, B], and of the policy's at the same states."""
        from gtp_fast.kernels import mlp_pair

        c, learner = self.state.config, self.state.critic.learner
        critics, copy = learner.parameters.flat, self.copies.read(learner)[0]
        next_state, observation = self._states(drawn)
        split = next_state.shape[1]
        values = mlp_pair.mlp_pair(
            (observation, drawn.action), (drawn.states[:, split:], actions[:, split:]),
            critics, critics, (c.width, c.depth, 1), self.precision, False,
            self.launches.small_tiles, (copy, copy),
        )  # fmt: skip
        return values.y, values.other

    def _actor_chain(self, drawn: Any, passes: Any, weighing: Any) -> Any:
        """Return the actor's losses and deltas, weighted by advantage (eq. 14) or not yet."""
        from gtp_fast.kernels import actor_backward

        state, (inputs, outputs) = self.state, passes
        return actor_backward.actor_chain(
            state.lambda_flow, outputs.y, outputs.other, drawn.action, drawn.perturbed,
            outputs.saved, [x.shape[2] for x in inputs],
            self.copies.read(state.actor)[0][:, self.clocks :], weighing,
            state.config.weight_maximum, precision=self.precision,
        )  # fmt: skip

    def _actor_step(
        self, drawn: Any, passes: Any, chain: Any, weighing: Any, step: int | Tensor,
        metrics: Tensor, totals: Totals | None,
    ) -> None:  # fmt: skip
        """Step the actor on its losses (eq. 19); weighing: of what is not weighted yet."""
        from gtp_fast.kernels import actor_gradients, dense, tally

        state, c, learner = self.state, self.state.config, self.state.actor
        (inputs, outputs), (losses, slope, deltas, embedding) = passes, chain
        pieces, _, widths = dense.pieces(inputs, self.seeds)
        squares, parts, losses = actor_gradients.actor_gradients(
            pieces, widths, outputs.saved.hidden, deltas, slope, drawn.perturbed.student_levels,
            embedding, self.embedding, learner.parameters.flat, learner.parameters.gradient,
            weighing, losses, c.weight_maximum, precision=self.precision,
            clock_parts=self.launches.clock_parts, turn=self.launches.gradient_turn,
            counter=None if totals is None else step,
        )  # fmt: skip
        account = None
        if totals is not None:
            rows = self.row[JUMP], self.row["actor_gradient"]
            account = tally.Account(metrics, *totals, *rows)
        self._step(
            learner, squares, losses, metrics[self.row[JUMP] : self.row[FLOW] + 1],
            metrics[self.row["actor_gradient"]], state.rate, step, c.ema_rate, parts, account,
        )  # fmt: skip

    def _states(self, drawn: Any) -> tuple[Tensor, Tensor]:
        """Return s' [S, m B, O], repeated for each backup, and s [S, B, O]."""
        rows = self.state.config.batch_size
        split = self.repeats[0] * rows
        return drawn.states[:, :split], drawn.states[:, split : split + rows]

    def _step(
        self, learner: Learner, squares: Tensor, losses: Tensor, terms: Tensor, norms: Tensor,
        rate: Tensor, step: int | Tensor, ema_rate: float, parts: Tensor | None = None,
        account: Any = None,
    ) -> None:  # fmt: skip
        from gtp_fast.kernels import step as kernel

        state, c = self.state, self.state.config
        kernel.take_step(
            learner.buffers(), squares.view(self.seeds, -1), losses,
            terms, norms, rate, state.diverged, step, ema_rate, c.max_gradient_norm,
            state.total_updates if c.cosine_decay else None, learner.weight_decay, adam.BETAS,
            adam.EPSILON, parts, self.copies.written(learner), account,
        )  # fmt: skip
