"""The TD step of the twin critics up to its deltas, by Triton or CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from gtp_fast.ops.critics import ClusterCritics, Deltas

if TYPE_CHECKING:
    from gtp_fast.agents.gtp.state import GTPState
    from gtp_fast.agents.gtp.update_copies import Copies


class Critics:
    """The critics of one state, in the way that its launches say."""

    def __init__(self, state: GTPState, repeats: int, copies: Copies):
        """Raise UserError where the launches ask for what is not available.

        repeats: next actions of each row; copies: of the parameters.
        """
        self.state, self.copies, c = state, copies, state.config
        self.together: ClusterCritics | None = None
        if state.setup.launches.critics_together and not state.clones:
            learner = state.critic.learner
            self.together = ClusterCritics(
                (state.observation_dim, state.action_dim, c.width, c.depth, repeats),
                (learner.parameters.flat, learner.average.flat), copies.read(learner),
                state.ops.precision,
            )  # fmt: skip

    def __call__(
        self, inputs: tuple[Tensor, Tensor], next_inputs: tuple[Tensor, Tensor], drawn: Any
    ) -> Deltas:
        """Return the deltas of the online critics (eq. 16).

        inputs: states [S, B, O] and actions [S, B, A] of the batch; next_inputs: the same for m
        next actions of each row, [S, m B, .]; drawn: reward and mask.
        """
        c, learner = self.state.config, self.state.critic.learner
        if self.together is not None:
            return self.together(inputs, next_inputs, drawn.reward, drawn.mask, c.discount)
        from gtp_fast.kernels import critic_backward, mlp_pair

        precision, small = self.state.ops.precision, self.state.setup.launches.small_tiles
        copies = self.copies.read(learner)
        values = mlp_pair.mlp_pair(
            inputs, next_inputs, learner.parameters.flat, learner.average.flat,
            (c.width, c.depth, 1), precision, small=small, copies=copies,
        )  # fmt: skip
        losses, gradient, deltas = critic_backward.critic_chain(
            values.y, values.other, drawn.reward, drawn.mask, c.discount, values.saved,
            [x.shape[2] for x in inputs], copies[0], precision, small,
        )  # fmt: skip
        return Deltas(values.saved.hidden, deltas, gradient, losses)
