"""Which engine runs, and why: the fastest that is available, or the one asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import torch

from gtp_fast import ops
from gtp_fast.errors import UserError
from gtp_fast.system import children, machine

ENGINES = ("auto", "eager", "compiled", "captured", "fused")


@dataclass(frozen=True)
class Sharing:
    """How many processes train, the core of each (none if not pinned), and why."""

    count: int = 1
    cores: tuple[int, ...] = ()
    reason: str = ""

    def describe(self) -> str:
        """Say it in one line, of several processes."""
        pinned = "each pinned to a core" if self.cores else f"not pinned: {self.reason}"
        return f"{self.count} of one thread each, {pinned}"


ONE_PROCESS = Sharing()


def share_seeds(asked: int | None, seeds: int, device: torch.device) -> Sharing:
    """Choose how many processes train; asked: None leaves it to the machine.

    As many as PyTorch would have threads, if the seeds share them evenly: with three seeds on two
    cores one core would wait half the time, and the threads of one process do better. Pinned where
    they fill the cores that this process may use; elsewhere another run would pick the same ones.
    Raises UserError with the reason where the number asked for is not available.
    """
    if asked is not None:
        _check(asked, seeds, device)
    if device.type == "cuda" or not children.POSSIBLE:
        return ONE_PROCESS
    cores = machine.cores()
    count = asked or min(seeds, len(cores), torch.get_num_threads())
    if asked is None and seeds % count:
        return Sharing(reason=f"{seeds} seeds do not share {count} cores evenly")
    if count == 1:
        return ONE_PROCESS
    if not hasattr(os, "sched_setaffinity"):
        return Sharing(count, reason="this system cannot pin")
    if count != len(cores):
        return Sharing(count, reason=f"there are {len(cores)} cores")
    return Sharing(count, tuple(cores))


def _check(asked: int, seeds: int, device: torch.device) -> None:
    if asked > 1 and device.type == "cuda":
        raise UserError(
            f"--processes {asked} is not available on {device}: a GPU advances all seeds together "
            "in one process; leave the option out."
        )
    if asked > 1 and not children.POSSIBLE:
        raise UserError(
            f"--processes {asked} needs a POSIX system: leave the option out, and all seeds train "
            "in this process."
        )
    if asked > seeds:
        raise UserError(
            f"--processes {asked} is too many for {seeds} seed{'s' * (seeds > 1)}: give at most "
            "one for each."
        )


@dataclass(frozen=True)
class Choice:
    """An engine, the backend of its operations, why, and how processes share the seeds."""

    name: str
    backend: str
    reason: str
    sharing: Sharing = ONE_PROCESS

    def of(self, operations: ops.Operations, device: torch.device) -> Choice:
        """Return this choice, called `fused` only where every operation of an agent is.

        Updates run the same way; only what is said of them changes.
        """
        reasons = {
            form.reason: None
            for form in operations.running.values()
            if form.name not in ("native", "triton")
        }
        if self.name != "fused" or not reasons:
            return self
        name, graph = ("captured", "a CUDA GPU") if device.type == "cuda" else ("eager", "no GPU")
        return replace(self, name=name, reason=f"{graph}; not fused: {'; '.join(reasons)}")

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
    fused: fused operations only, in a CUDA graph on a GPU. auto: the fastest of these that is
    available. processes: None for the fastest number. UserError with the reason where the choice is
    not available.
    """
    device = torch.device(device)
    if backend == "fused":
        ops.resolve(backend, device)
    return replace(_engine(name, backend, device), sharing=share_seeds(processes, seeds, device))


def _engine(name: str, backend: str, device: torch.device) -> Choice:
    if name not in ENGINES:
        raise UserError(f"Unknown engine {name!r}: choose one of {', '.join(ENGINES)}.")
    on_gpu = device.type == "cuda"
    if name == "captured" and not on_gpu:
        raise UserError(
            f"--engine captured is not available here: a CUDA graph needs a CUDA GPU, and the run "
            f"is on {device}; use --engine auto."
        )
    if name == "compiled":
        if backend == "fused":
            raise UserError(
                "--engine compiled compiles the reference: leave out --backend fused, or take "
                "--engine fused."
            )
        if backend == "reference" and not on_gpu:
            raise UserError(
                "--engine compiled compiles each operation on a CPU, so none is the reference's: "
                "leave out --backend reference, or take --engine eager."
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
