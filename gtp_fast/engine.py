"""The update loop: steps an agent through a table, watches for non-finite losses, and calls back at
intervals.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import torch
from torch import Tensor

from gtp_fast.agents.base import Agent
from gtp_fast.data.table import TransitionTable


@dataclass(frozen=True)
class NonFinite:
    """The first non-finite loss of a run: its name, its seed and the update it appeared in."""

    term: str
    seed: int
    step: int


class Watch:
    """Metrics summed on the device, and the first update at which each loss was not finite; read
    when asked.
    """

    def __init__(self, agent: Agent):
        self.agent = agent
        shape = (len(agent.metric_names), len(agent.seeds))
        self.total = torch.zeros(shape, device=agent.device, dtype=agent.dtype)
        self.count = 0
        losses = len(agent.loss_names)
        self.bad_step = torch.full((losses, shape[1]), -1, device=agent.device, dtype=torch.int64)

    def add(self, metrics: Tensor, step: int | Tensor) -> None:
        """Take the metrics of one update without waiting for the device."""
        self.total += metrics
        self.count += 1
        fresh = ~torch.isfinite(metrics[: self.bad_step.shape[0]]) & (self.bad_step < 0)
        self.bad_step.masked_fill_(fresh, step)

    def non_finite(self) -> NonFinite | None:
        """Return the earliest non-finite loss, if there was one; waits for the device."""
        steps = self.bad_step.cpu()
        if not (steps >= 0).any():
            return None
        first = torch.where(steps >= 0, steps, torch.iinfo(torch.int64).max).argmin()
        term, seed = divmod(int(first), steps.shape[1])
        return NonFinite(
            self.agent.loss_names[term], self.agent.seeds[seed], int(steps[term, seed])
        )

    def means(self) -> dict[str, list[float]]:
        """Return the mean of each metric since the last call, one value a seed; waits for the
        device.
        """
        rows = (self.total / max(self.count, 1)).cpu().tolist()
        self.total.zero_()
        self.count = 0
        return dict(zip(self.agent.metric_names, rows, strict=True))


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Turn Ctrl-C and SIGTERM into a number that the loop can ask for, so that it stops between two
    updates.
    """
    received = [0]

    def note(number: int, frame: FrameType | None) -> None:
        received[0] = number

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: received[0]
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def run(
    agent: Agent,
    table: TransitionTable,
    start: int,
    stop: int,
    watch: Watch,
    after: Callable[[int], None],
    stopped: Callable[[], int],
) -> int:
    """Do updates start..stop-1, calling `after(done)` behind each; return how many updates are done
    in all.

    The loop ends early, between two updates, when `stopped()` is not zero.
    """
    for step in range(start, stop):
        agent.advance(step)
        watch.add(agent.update(table, step), step)
        after(step + 1)
        if stopped():
            return step + 1
    return stop
