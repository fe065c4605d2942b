"""Where jobs run: an engine takes them and yields their results as they come."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol

from gtp_fast.studies.jobs import Job, Result

TICK = 1.0
"""Seconds after which an engine yields None where no job has ended."""


class Engine(Protocol):
    """Runs jobs; an exception that reaches it ends them in good order.

    device: what `auto` means here, cpu or cuda. slots: how many jobs run at once, 0 where that is
    unknown. where: what it runs them on, in words.
    """

    device: str
    slots: int
    where: str

    def results(self, jobs: Sequence[Job]) -> Generator[Result | None]:
        """Yield each job's result when it ends, and None while none has ended."""
        ...
