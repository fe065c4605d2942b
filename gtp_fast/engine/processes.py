"""Seeds spread over single-threaded processes: on a CPU faster than threads that share them.

A seed's updates depend on no other seed, so every process does those of its own seeds, and the
result has the bits of one process. The parent keeps the agent of all seeds and brings it up to date
where a run is logged, evaluated, saved or stopped.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from gtp_fast.agents.base import Agent
from gtp_fast.agents.setup import Setup
from gtp_fast.data.table import TransitionTable
from gtp_fast.engine.loop import Engine
from gtp_fast.engine.pieces import next_length
from gtp_fast.engine.watch import Watch
from gtp_fast.errors import UserError
from gtp_fast.system import children, memory
from gtp_fast.system.children import Child

if TYPE_CHECKING:
    from gtp_fast.engine.choice import Choice


@dataclass(frozen=True)
class Spread:
    """How many processes train, the core of each (none where they are not pinned), and why."""

    count: int = 1
    cores: tuple[int, ...] = ()
    reason: str = ""

    def describe(self) -> str:
        """Say it in one line, of several processes."""
        pinned = "each pinned to a core" if self.cores else f"not pinned: {self.reason}"
        return f"{self.count} of one thread each, {pinned}"


ONE_PROCESS = Spread()


def spread(asked: int | None, seeds: int, device: torch.device) -> Spread:
    """Choose how many processes train; asked: None leaves it to the machine.

    As many as PyTorch would have threads, if the seeds share them evenly: with three seeds on two
    cores one core would wait half the time, and the threads of one process do better. Pinned where
    they fill the cores that this process may use; elsewhere another run would pick the same ones.
    Raises UserError with the reason where what is asked for cannot be had.
    """
    if asked is not None:
        _check(asked, seeds, device)
    if device.type == "cuda" or not children.POSSIBLE:
        return ONE_PROCESS
    cores = _cores()
    count = asked or min(seeds, len(cores), torch.get_num_threads())
    if asked is None and seeds % count:
        return Spread(reason=f"{seeds} seeds do not share {count} cores evenly")
    if count == 1:
        return ONE_PROCESS
    if not hasattr(os, "sched_setaffinity"):
        return Spread(count, reason="this system has no way to")
    if count != len(cores):
        return Spread(count, reason=f"there are {len(cores)} cores")
    return Spread(count, tuple(cores))


def _check(asked: int, seeds: int, device: torch.device) -> None:
    if asked > 1 and device.type == "cuda":
        raise UserError(
            f"--processes {asked} cannot be had on {device}: a GPU advances all seeds together in "
            "one process; leave the option out."
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


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class Part(NamedTuple):
    """What a process is told once: its seeds first..last-1, and all that makes their agent."""

    first: int
    last: int
    core: int | None
    kind: type[Agent]
    config: Any
    setup: Setup
    total_updates: int
    choice: Choice
    table: TransitionTable
    """Without its tensors, which lie in the shared memory."""
    layout: memory.Layout
    file: int


class Processes(Engine):
    """Does updates in several processes; they start from the agent as it is.

    Raises children.ChildDied, from any method, when one of them is gone.
    """

    def __init__(self, agent: Agent, table: TransitionTable, watch: Watch, choice: Choice):
        self.agent, self.watch, self.longest = agent, watch, 1
        content = {"total": watch.total, "bad_step": watch.bad_step}
        content |= {"rows": table.rows, "episode": table.episode}
        content |= {} if table.lots is None else {"lots": table.lots}
        self.state = list(agent.state_dict())
        self.memory = memory.copied(content | agent.state_dict())
        self.children: list[Child] = []
        count, seeds = choice.spread.count, len(agent.seeds)
        bare = replace(
            table, rows=torch.empty(0, table.rows.shape[1]), episode=torch.empty(0).int(), lots=None
        )
        try:
            for i in range(count):
                first, last = seeds * i // count, seeds * (i + 1) // count
                own = agent.seeds[first:last]
                title = f"the process of seed{'s' * (len(own) > 1)} {' '.join(map(str, own))}"
                child = Child("gtp_fast.engine.child", title, (self.memory.file,))
                self.children.append(child)
                core = choice.spread.cores[i] if choice.spread.cores else None
                child.send(
                    Part(
                        first, last, core, type(agent), agent.config,
                        replace(agent.setup, seeds=own), agent.total_updates,
                        replace(choice, spread=ONE_PROCESS), bare, self.memory.layout,
                        self.memory.file,
                    )
                )  # fmt: skip
            self._wait()
        except BaseException:
            self.close()
            raise

    def do(self, first: int, count: int) -> None:
        """Do updates first..first+count-1; agent and watch stay as they are until `settle`."""
        began = time.perf_counter()
        self._everyone((first, count, self.watch.count == 0))
        self.watch.count += count
        self.longest = next_length(self.longest, count, time.perf_counter() - began)

    def settle(self) -> None:
        """Bring agent and watch up to date."""
        self._everyone(None)
        tensors = self.memory.tensors
        self.watch.total.copy_(tensors["total"])
        self.watch.bad_step.copy_(tensors["bad_step"])
        self.agent.load_state_dict({name: tensors[name] for name in self.state})

    def close(self) -> None:
        """End the processes."""
        children.close(self.children)
        self.children.clear()
        self.memory.close()

    def _everyone(self, message: Any) -> None:
        for child in self.children:
            child.send(message)
        self._wait()

    def _wait(self) -> None:
        for child in self.children:
            child.receive()
