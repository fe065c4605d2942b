"""The rivals of the update, on the draws of an agent to compare their losses."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.plain_update import PlainUpdate
from benchmarks.workload import Unavailable
from gtp_fast import reference
from gtp_fast.agents.gtp import GTP
from gtp_fast.data.table import Batch, TransitionTable
from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream

LOSSES = 3


class Draws(NamedTuple):
    """What one update of the first seed of an agent draws."""

    batch: Batch
    of_target: Tensor
    of_value: Tensor
    of_perturbation: Tensor
    node_t: Tensor
    node_tau: Tensor


def draws(agent: GTP, table: TransitionTable, step: int) -> Draws:
    """Return the draws of update `step`, in float32."""
    agent.advance(step, table)
    key, b, width = agent.keys[:1], agent.config.batch_size, agent.action_dim
    rows = philox.integers(key, step, Stream.BATCH, b, len(table))
    noises = [
        philox.normals(key, step, stream, b, width)[0]
        for stream in (Stream.TARGET, Stream.VALUE, Stream.NOISE)
    ]
    node_t, _, node_tau = reference.draw_times(key, step, b, agent.num_nodes, cdf=agent.cdf)
    return Draws(Batch(*(x[0] for x in table.gather(rows))), *noises, node_t[0], node_tau[0])


def plain_losses(agent: GTP, table: TransitionTable, step: int) -> Tensor:
    """Return critic, consistency and flow loss of the update as first written.

    From an agent's parameters and draws.

    """
    d = draws(agent, table, step)
    noises = [d.of_target, d.of_value, d.of_perturbation]
    made = PlainUpdate(agent)
    made.start_at(step)
    return torch.stack(made.step(*d.batch, noises, d.node_t, d.node_tau))


def jax_module() -> Any:
    """Return benchmarks.jax_update; raises Unavailable where JAX is not installed."""
    try:
        from benchmarks import jax_update
    except ImportError as error:
        raise Unavailable(f"JAX cannot be imported ({error}); pip install jax") from error
    return jax_update


def jax_losses(agent: GTP, table: TransitionTable, step: int) -> Tensor:
    """Return the same losses of the update in JAX."""
    made, d = jax_module().JaxUpdate(agent), draws(agent, table, step)
    noises = (torch.cat((d.of_target, d.of_value)).numpy(), d.of_perturbation.numpy())
    batch = tuple(x.numpy() for x in d.batch)
    state = made.state | {"count": made.state["count"] + step}
    _, losses = made.one(state, batch, noises, d.node_t.numpy(), d.node_tau.numpy())
    return torch.tensor(losses.tolist())
