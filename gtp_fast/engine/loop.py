"""The engines: each runs updates of an agent, all with the same result."""

from __future__ import annotations

import gc
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gtp_fast.agents.base import Agent
from gtp_fast.data.table import TransitionTable
from gtp_fast.engine.pieces import chunks, next_length
from gtp_fast.engine.watch import Watch
from gtp_fast.system.device import synchronise


class Once(NamedTuple):
    """What an engine has done once, such as a recording: its seconds and its updates."""

    seconds: float = 0.0
    updates: int = 0


class Engine(ABC):
    """Does updates of an agent."""

    longest: int
    """How many updates to run before returning to the host."""
    once = Once()
    """All that it has done once so far."""

    @abstractmethod
    def do(self, first: int, count: int) -> None:
        """Do updates first..first+count-1, which one call of `Agent.advance` serves."""

    def settle(self) -> None:  # noqa: B027
        """Bring agent and watch up to date; by default they always are."""

    def close(self) -> None:  # noqa: B027
        """Free the resources of the engine; by default there are none."""


class Eager(Engine):
    """One call after another; update: the agent's own, or a compiled form of it."""

    def __init__(
        self,
        agent: Agent,
        table: TransitionTable,
        watch: Watch,
        update: Callable[..., Tensor] | None = None,
        on_device: bool = False,
    ):
        self.agent, self.table, self.watch, self.longest = agent, table, watch, 1
        self.update = update or agent.update
        # A compiled update takes its step as a tensor: it would be compiled for each integer.
        self.counter = _counter(agent) if on_device else None

    def do(self, first: int, count: int) -> None:
        """Do updates first..first+count-1."""
        began = time.perf_counter()
        for number in range(first, first + count):
            step: int | Tensor = number
            if self.counter is not None:
                self.agent.advance(number, self.table)
                step = self.counter.fill_(number)
            self.watch.add(self.update(self.table, step), step)
            self.watch.count += 1
        self.longest = next_length(self.longest, count, time.perf_counter() - began)


def _counter(agent: Agent) -> Tensor:
    return torch.zeros((), dtype=torch.int64, device=agent.device)


class Recording(Protocol):
    """Recorded updates."""

    def replay(self) -> None:
        """Do them again."""


Recorder = Callable[[Callable[[], None]], Recording]


class Captured(Engine):
    """Records updates, with their random numbers and metrics, and replays them in pieces.

    record: takes a function without arguments and returns its recording. warm: runs the first
    updates outside any recording, so that all lazy initialisation happens before one.
    """

    WARM = 3

    def __init__(
        self,
        agent: Agent,
        table: TransitionTable,
        watch: Watch,
        record: Recorder,
        warm: Callable[[Callable[[], None]], None],
        longest: int = 16,
    ):
        self.agent, self.table, self.watch = agent, table, watch
        self.record, self.warm, self.longest = record, warm, longest
        self.counter = _counter(agent)
        # Each phase of the agent has another form of the update, so its own recordings.
        self.warmed: dict[int, int] = {}
        self.recordings: dict[tuple[int, int], Recording] = {}

    def _updates(self, count: int) -> Callable[[], None]:
        def work() -> None:
            for _ in range(count):
                self.agent.update_into(self.watch.totals, self.table, self.counter)

        return work

    def _replay(self, count: int) -> None:
        key = (self.agent.phase, count)
        if key not in self.recordings:
            with self._counted_once(0):
                self.recordings[key] = self.record(self._updates(count))
        self.recordings[key].replay()

    @contextmanager
    def _counted_once(self, updates: int) -> Iterator[None]:
        # Updates that are still under way belong to neither side.
        synchronise(self.agent.device)
        began = time.perf_counter()
        yield
        synchronise(self.agent.device)
        seconds = self.once.seconds + time.perf_counter() - began
        self.once = Once(seconds, self.once.updates + updates)

    def do(self, first: int, count: int) -> None:
        """Do updates first..first+count-1, the first ones of a phase unrecorded."""
        self.agent.advance(first, self.table)
        self.counter.fill_(first)
        self.watch.count += count
        warmed = self.warmed.get(self.agent.phase, 0)
        while count and warmed < self.WARM:
            with self._counted_once(1):
                self.warm(self._updates(1))
            warmed += 1
            count -= 1
        self.warmed[self.agent.phase] = warmed
        while count:
            # Two recordings serve every piece: a full one, and single updates for what is left.
            part = self.longest if count >= self.longest else 1
            self._replay(part)
            count -= part


@contextmanager
def _without_collector() -> Iterator[None]:
    """Collect garbage before and not meanwhile: freed memory of a device spoils a recording."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def cuda_record(work: Callable[[], None], device: torch.device | None = None) -> Recording:
    """Record work in a CUDA graph of a device, by default the current one.

    RuntimeError where the device would have nothing to do when it is replayed.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), _without_collector(), warnings.catch_warnings():
        warnings.filterwarnings("error", ".*CUDA Graph is empty")
        # First in line: clusters of the sampler need room that blocks of a side stream would take.
        stream: Any = torch.cuda.Stream(priority=-1)  # type: ignore[no-untyped-call]
        try:
            with torch.cuda.graph(graph, stream=stream):
                work()
        except UserWarning as reason:
            raise RuntimeError(
                "The recording of an update holds no work: its operations run on another device or "
                "stream than the recorded one."
            ) from reason
    return graph


def cuda_warm(work: Callable[[], None], device: torch.device | None = None) -> None:
    """Do work on a side stream, as a recording will."""
    with torch.cuda.device(device):
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            work()
        torch.cuda.current_stream(device).wait_stream(stream)


def run(
    engine: Engine,
    agent: Agent,
    start: int,
    stop: int,
    intervals: Sequence[int],
    after: Callable[[int], None],
    stopped: Callable[[], int],
) -> int:
    """Do updates start..stop-1 in pieces; return how many updates are done in total.

    A piece ends at every multiple of the intervals; `after(done)` is called after each. The loop
    ends early, between two pieces, when `stopped()` is not zero. Agent and watch are up to date at
    every multiple of the intervals and at the end.
    """
    done = start
    while done < stop:
        pieces = chunks(done, stop, engine.longest, intervals, agent.updates_per_advance)
        first, count = next(pieces)
        engine.do(first, count)
        done = first + count
        if done == stop or any(every > 0 and done % every == 0 for every in intervals):
            engine.settle()
        after(done)
        if stopped():
            engine.settle()
            return done
    return stop
