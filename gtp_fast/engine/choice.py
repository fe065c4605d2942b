"""Which engine runs, and why: the highest that the machine has, or the one asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from gtp_fast import ops
from gtp_fast.agents.base import Agent
from gtp_fast.data.table import TransitionTable
from gtp_fast.engine.loop import Captured, Eager, Engine, cuda_record, cuda_warm
from gtp_fast.engine.processes import ONE_PROCESS, Processes, Spread, spread
from gtp_fast.engine.watch import Watch
from gtp_fast.errors import UserError

ENGINES = ("auto", "eager", "compiled", "captured", "fused")


@dataclass(frozen=True)
class Choice:
    """An engine, the backend of its operations, why it was chosen, and over how many processes the
    seeds are spread.
    """

    name: str
    backend: str
    reason: str
    spread: Spread = ONE_PROCESS

    def describe(self) -> str:
        """Say it in one line."""
        return f"{self.name} ({self.reason})"


def choose(
    name: str,
    backend: str,
    device: torch.device | str,
    seeds: int = 1,
    processes: int | None = 1,
) -> Choice:
    """Choose the engine called `name` on a device, and how many processes share the seeds.

    eager: one call after another. compiled: torch.compile. captured: whole updates in a CUDA graph.
    fused: fused operations only, in a CUDA graph where there is a GPU. auto: the highest of these
    that can be had. processes: None for as many as pay. Raises UserError with the reason where what
    is asked for cannot be had.
    """
    device = torch.device(device)
    if backend == "fused":
        ops.resolve(backend, device)
    return replace(_engine(name, backend, device), spread=spread(processes, seeds, device))


def _engine(name: str, backend: str, device: torch.device) -> Choice:
    if name not in ENGINES:
        raise UserError(f"Unknown engine {name!r}: choose one of {', '.join(ENGINES)}.")
    on_gpu = device.type == "cuda"
    if name == "captured" and not on_gpu:
        raise UserError(
            f"--engine captured cannot be had: a CUDA graph needs a CUDA GPU, and the run is on "
            f"{device}; use --engine auto."
        )
    if name == "compiled":
        if backend == "fused":
            raise UserError(
                "--engine compiled compiles the reference: leave out --backend fused, or take "
                "--engine fused."
            )
        reason = "the whole update compiled" if on_gpu else "each operation compiled"
        return Choice(name, "reference" if on_gpu else "compiled", reason)
    if name == "fused" and backend not in ("auto", "fused"):
        raise UserError(f"--engine fused needs fused operations: leave out --backend {backend}.")
    if name == "fused":
        ops.resolve("fused", device)
        return Choice(name, "fused", "asked for")
    if name != "auto":
        return Choice(name, backend, "asked for")
    missing = ops.missing(device)
    if backend in ("auto", "fused") and not missing:
        graph = "in a CUDA graph" if on_gpu else "no GPU, so no CUDA graph"
        return Choice("fused", backend, f"every operation has its fused form, {graph}")
    why = f"--backend {backend}" if backend != "auto" else "; ".join(missing)
    if on_gpu:
        return Choice("captured", backend, f"a CUDA GPU; not fused: {why}")
    return Choice("eager", backend, f"no GPU; not fused: {why}")


def build(choice: Choice, agent: Agent, table: TransitionTable, watch: Watch) -> Engine:
    """Return the engine of an agent that knows how long its run is (`Agent.prepare`)."""
    if choice.spread.count > 1:
        return Processes(agent, table, watch, choice)
    on_gpu = agent.device.type == "cuda"
    if choice.name in ("captured", "fused") and on_gpu:
        return Captured(agent, table, watch, cuda_record, cuda_warm)
    if choice.name == "compiled" and on_gpu:
        return Eager(agent, table, watch, torch.compile(agent.update, dynamic=False), True)
    return Eager(agent, table, watch)
