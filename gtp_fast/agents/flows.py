"""What agents that learn velocities on straight lines share: times by counter, Euler's steps."""

from __future__ import annotations

from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.actor import Steps, make_steps
from gtp_fast.agents.base import Agent
from gtp_fast.random import Stream


def unit_times(agent: Agent, step: int | Tensor, rows: int) -> Tensor:
    """Draw times [S, rows], uniform between 0 and 1, by counter."""
    n = agent.ops.integers(agent.keys, step, Stream.FLOW_TIME, rows, 1 << 24)
    return (n.to(agent.dtype) + 0.5) * 2.0**-24


def euler_steps(like: Tensor, k: int) -> Steps:
    """Return K Euler steps from noise (time 0) to an action (time 1) by a network of velocities."""
    return make_steps(like, reference.euler_times(k), keep=1.0, gain=1.0 / k)
