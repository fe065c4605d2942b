"""Build the engine of a choice."""

from __future__ import annotations

from functools import partial

import torch

from gtp_fast.agents.base import Agent
from gtp_fast.data.table import TransitionTable
from gtp_fast.engine.choice import Choice
from gtp_fast.engine.loop import Captured, Eager, Engine, cuda_record, cuda_warm
from gtp_fast.engine.processes import Processes
from gtp_fast.engine.watch import Watch


def build(choice: Choice, agent: Agent, table: TransitionTable, watch: Watch) -> Engine:
    """Return the engine of an agent after `Agent.prepare`."""
    if choice.sharing.count > 1:
        return Processes(agent, table, watch, choice)
    on_gpu = agent.device.type == "cuda"
    if choice.name in ("captured", "fused") and on_gpu:
        record = partial(cuda_record, device=agent.device)
        return Captured(agent, table, watch, record, partial(cuda_warm, device=agent.device))
    if choice.name == "compiled" and on_gpu:
        return Eager(agent, table, watch, torch.compile(agent.update, dynamic=False), True)
    return Eager(agent, table, watch)
