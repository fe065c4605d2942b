"""Single-threaded processes that share the seeds: on a CPU faster than threads that do.

A seed's updates depend on no other seed, so each process trains its own seeds, and the result has
the bits of one process. The parent keeps the agent of all seeds and updates it where a run is
logged, evaluated, saved or stopped.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from gtp_fast.agents.base import Agent
from gtp_fast.agents.setup import Setup
from gtp_fast.data.table import TransitionTable
from gtp_fast.engine.choice import ONE_PROCESS, Choice
from gtp_fast.engine.loop import Engine
from gtp_fast.engine.pieces import next_length
from gtp_fast.engine.watch import Watch
from gtp_fast.system import children, memory
from gtp_fast.system.children import Child


class Part(NamedTuple):
    """The first message to a process: its seeds first..last-1 and what builds their agent."""

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
    """Does updates in several processes, which start from the current state of the agent.

    Every method raises children.ChildDied when one of them has ended.
    """

    def __init__(self, agent: Agent, table: TransitionTable, watch: Watch, choice: Choice):
        self.agent, self.watch, self.longest = agent, watch, 1
        content = {"total": watch.total, "bad_step": watch.bad_step}
        content |= {"rows": table.rows, "episode": table.episode}
        content |= {} if table.lots is None else {"lots": table.lots}
        self.state = list(agent.state_dict())
        self.memory = memory.copied(content | agent.state_dict())
        self.children: list[Child] = []
        count, seeds = choice.sharing.count, len(agent.seeds)
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
                core = choice.sharing.cores[i] if choice.sharing.cores else None
                child.send(
                    Part(
                        first, last, core, type(agent), agent.config,
                        replace(agent.setup, seeds=own), agent.total_updates,
                        replace(choice, sharing=ONE_PROCESS), bare, self.memory.layout,
                        self.memory.file,
                    )
                )  # fmt: skip
            self._wait()
        except BaseException:
            self.close()
            raise

    def do(self, first: int, count: int) -> None:
        """Do updates first..first+count-1; agent and watch do not change until `settle`."""
        began = time.perf_counter()
        self._request((first, count, self.watch.count == 0))
        self.watch.count += count
        self.longest = next_length(self.longest, count, time.perf_counter() - began)

    def settle(self) -> None:
        """Bring agent and watch up to date."""
        self._request(None)
        tensors = self.memory.tensors
        # After `means` the processes keep their sums until their next update.
        if self.watch.count:
            self.watch.total.copy_(tensors["total"])
        self.watch.bad_step.copy_(tensors["bad_step"])
        self.agent.load_state_dict({name: tensors[name] for name in self.state})

    def close(self) -> None:
        """End the processes."""
        children.close(self.children)
        self.children.clear()
        self.memory.close()

    def _request(self, message: Any) -> None:
        for child in self.children:
            child.send(message)
        self._wait()

    def _wait(self) -> None:
        for child in self.children:
            child.receive()
