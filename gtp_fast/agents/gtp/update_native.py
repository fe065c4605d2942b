"""Algorithm 1 in one call of native code on the CPU.

The passes of `update.py` in the same order, with the same random numbers. Buffers are reused
between updates; no Python runs inside one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gtp_fast.agents.gtp.config import wholly_fused
from gtp_fast.networks import layers
from gtp_fast.ops import embed, gather, operands
from gtp_fast.ops.mlp_network import Network, native_layers
from gtp_fast.ops.sampler import NativeSampler
from gtp_fast.reference import ADVANTAGE_SCALES, CONSISTENCY_WEIGHTS, PRECONDITIONINGS, adam
from gtp_fast.reference.philox import Stream
from gtp_fast.system import native

if TYPE_CHECKING:
    from gtp_fast.agents.gtp.state import GTPState
    from gtp_fast.data.table import TransitionTable
    from gtp_fast.networks.learner import Learner

_STREAMS = (Stream.BATCH, Stream.TARGET, Stream.VALUE, Stream.TIME, Stream.NOISE)


def serves(state: GTPState) -> bool:
    """Return whether this form does what the settings ask for."""
    return wholly_fused(state.config) and isinstance(state.chain, NativeSampler)


def build(state: GTPState) -> NativeUpdate:
    """Return the update of a state in one native call."""
    return NativeUpdate(state)


class NativeUpdate:
    """The update of one state, which must keep its tensors at their addresses."""

    def __init__(self, state: GTPState):
        c, chain = state.config, state.chain
        assert isinstance(chain, NativeSampler)
        self.state = state
        policy = state.folded("ema")
        # Native code reads them at their addresses for as long as the update lives.
        self.read = (
            state.eta, state.lambda_flow, state.nodes, state.cdf, state.keys, state.diverged,
            state.step_levels(), torch.cat(policy.schedule),
            embed.rates(state.network.shapes()["t.0.weight"][0] // 2),
        )  # fmt: skip
        self.native = native.module().Update(
            chain.native,
            (
                len(state.seeds), state.observation_dim, state.action_dim, c.batch_size,
                max(1, c.max_q_backup), c.value_samples,
            ),
            state.clones,
            state.ops.precision == "bf16",
            self._nets(),
            [
                self._buffers(state.actor, c.ema_rate),
                self._buffers(state.critic.learner, c.critic_ema_rate),
            ],
            (*adam.BETAS, adam.EPSILON, _or_infinite(c.max_gradient_norm)),
            (
                c.discount, _or_infinite(c.weight_maximum), c.sigma_data, c.t_min,
                policy.initial_scale,
            ),
            (
                c.u_mode == "uniform", PRECONDITIONINGS.index(c.precondition),
                CONSISTENCY_WEIGHTS.index(c.consistency_weight),
                ADVANTAGE_SCALES.index(c.advantage_scale),
            ),
            [int(stream) for stream in _STREAMS],
            [0 if x is None else x.data_ptr() for x in self.read],
        )  # fmt: skip

    def _nets(self) -> list[Any]:
        """Return actor, both clocks and critic as native code has them."""
        state, depth = self.state, self.state.config.depth
        of_actor, of_critic = (
            [x.views, x.gradient_views, average.views]
            for x, average in (
                (state.actor.parameters, state.actor.average),
                (state.critic.learner.parameters, state.critic.learner.average),
            )
        )

        def net(parts: list[tuple[list[Tensor], list[Tensor]]]) -> tuple[Any, ...]:
            weights = parts[0][0]
            sizes = [weights[0].shape[1], *[w.shape[2] for w in weights]]
            return sizes, *[native_layers(Network(*part)) for part in parts]

        def clock(number: int) -> tuple[Any, ...]:
            order = [4 * number + i for i in embed.WEIGHTS_FIRST]
            own = [[state.network.clocks(views)[i] for i in order] for views in of_actor]
            return net([(x[:2], x[2:]) for x in own])

        return [
            net([layers(views, depth) for views in of_actor]),
            *[clock(number) for number in range(2)],
            net([layers(views, depth) for views in of_critic]),
        ]

    @staticmethod
    def _buffers(learner: Learner, average_rate: float) -> tuple[Any, ...]:
        buffers = learner.buffers()
        pointers, scalars = [x.data_ptr() for x in buffers], (learner.limit, learner.weight_decay)
        return pointers, buffers[0].shape[1], average_rate, *scalars

    def __call__(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Do update number `step`; return the metrics [len(metric_names), S].

        UserError for a table of another task.
        """
        state = self.state
        gather.check_fit(table, state.observation_dim, state.action_dim)
        metrics = operands.output(len(state.metric_names), len(state.seeds))
        rates = [rate.data_ptr() for rate in (state.rate, state.critic.rate)]
        self.native.run(
            *gather.addresses(table), len(table), (table.observation_dim, table.action_dim),
            int(step), state.num_nodes, rates, state.decay(int(step)), metrics.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        return metrics


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value
