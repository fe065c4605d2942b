"""One whole update of GTP in one call of native code on the CPU.

The same passes in the same order as `GTP.update` does by single operations, and the same random
numbers; but their results stay in memory that one update leaves to the next, and between them runs
no Python.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gtp_fast.networks import layers
from gtp_fast.ops import embed, mlp, philox
from gtp_fast.ops.sampler import NativeSampler
from gtp_fast.reference import PRECONDITIONINGS, adam
from gtp_fast.reference.philox import Stream
from gtp_fast.system import native

if TYPE_CHECKING:
    from gtp_fast.agents.gtp import GTP
    from gtp_fast.data.table import TransitionTable
    from gtp_fast.networks.learner import Learner

_STREAMS = (Stream.BATCH, Stream.TARGET, Stream.VALUE, Stream.TIME, Stream.NOISE)


def build(agent: GTP, precision: str) -> WholeUpdate | None:
    """Return the whole update of an agent, or None where its objective needs other operations.

    precision: what the products of its networks read, fp32 or bf16; the sampler's too.
    """
    if not agent.fuses or not isinstance(agent.chain, NativeSampler):
        return None
    return WholeUpdate(agent, agent.chain, precision)


class WholeUpdate:
    """The update of one agent, whose tensors must stay where they are."""

    def __init__(self, agent: GTP, chain: NativeSampler, precision: str):
        c = agent.config
        self.agent = agent
        policy = agent.folded("ema")
        # Read at their addresses for as long as the update lives.
        self.kept = (
            agent.eta, agent.lambda_flow, agent.nodes, agent.cdf, agent.keys, agent.diverged,
            agent.step_levels(), policy.coefficients(),
            embed.rates(agent.network.shapes()["t.0.weight"][0] // 2),
        )  # fmt: skip
        self.native = native.module().Update(
            chain.native,
            (
                len(agent.seeds), agent.observation_dim, agent.action_dim, c.batch_size,
                max(1, c.max_q_backup), c.value_samples,
            ),
            agent.clones,
            precision == "bf16",
            self._nets(),
            [
                self._buffers(agent.actor, c.ema_rate),
                self._buffers(agent.critic.learner, c.critic_ema_rate),
            ],
            (*adam.BETAS, adam.EPSILON, _or_infinite(c.max_gradient_norm)),
            (
                c.discount, _or_infinite(c.weight_maximum), c.sigma_data, c.t_min,
                policy.initial_scale,
            ),
            (c.u_mode == "uniform", PRECONDITIONINGS.index(c.precondition)),
            [int(stream) for stream in _STREAMS],
            [0 if x is None else x.data_ptr() for x in self.kept],
        )  # fmt: skip

    def _nets(self) -> list[Any]:
        """Return actor, both clocks and critic as native code has them."""
        agent, depth = self.agent, self.agent.config.depth
        of_actor, of_critic = (
            [x.views, x.gradient_views, average.views]
            for x, average in (
                (agent.actor.parameters, agent.actor.average),
                (agent.critic.learner.parameters, agent.critic.learner.average),
            )
        )

        def net(parts: list[tuple[list[Tensor], list[Tensor]]]) -> tuple[Any, ...]:
            weights = parts[0][0]
            sizes = [weights[0].shape[1], *[w.shape[2] for w in weights]]
            return sizes, *[mlp.native_layers(*part) for part in parts]

        def clock(number: int) -> tuple[Any, ...]:
            order = [4 * number + i for i in embed.WEIGHTS_FIRST]
            own = [[agent.network.clocks(views)[i] for i in order] for views in of_actor]
            return net([(x[:2], x[2:]) for x in own])

        return [
            net([layers(views, depth) for views in of_actor]),
            *[clock(number) for number in range(2)],
            net([layers(views, depth) for views in of_critic]),
        ]

    @staticmethod
    def _buffers(learner: Learner, average_rate: float) -> tuple[Any, ...]:
        buffers = learner.buffers()
        return [x.data_ptr() for x in buffers], buffers[0].shape[1], average_rate, learner.limit

    def __call__(self, table: TransitionTable, step: int | Tensor) -> Tensor:
        """Do update number `step`; return the metrics [len(metric_names), S]."""
        agent = self.agent
        metrics = torch.empty(len(agent.metric_names), len(agent.seeds))
        rates = [rate.data_ptr() for rate in (agent.rate, agent.critic.rate)]
        self.native.run(
            *philox.addresses(table), len(table), (table.observation_dim, table.action_dim),
            int(step), agent.num_nodes, rates, agent.decay(int(step)), metrics.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        return metrics


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value
