"""Flow matching in agents: times by counter, clipped actions, Euler steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.base import Agent
from gtp_fast.reference import Plan
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch

_EDGE = 1.0 - 1e-5


def unit_times(agent: Agent, step: int | Tensor, rows: int) -> Tensor:
    """Draw times [S, rows], uniform between 0 and 1, by counter."""
    n = agent.ops.integers(agent.keys, step, Stream.FLOW_TIME, rows, 1 << 24)
    return (n.to(agent.dtype) + 0.5) * 2.0**-24


def clip_actions(batch: Batch) -> Batch:
    """Keep actions 1e-5 inside their box, as FQL's and SSCQL's authors do."""
    return batch._replace(action=batch.action.clamp(-_EDGE, _EDGE))


def euler_plan(like: Tensor, k: int) -> Plan:
    """Return K Euler steps along a velocity network.

    Time runs from 0 (noise) to 1 (action).
    """
    return Plan.of(reference.euler_times(k), keep=1.0, gain=1.0 / k).to(like)
