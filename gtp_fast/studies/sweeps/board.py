"""What a sweep shows: a line for each job that ended, a live table below."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gtp_fast.runs import Run
from gtp_fast.studies import jobs
from gtp_fast.studies.jobs import Job, Result
from gtp_fast.studies.sweeps import record

_TAIL = 4096
"""Bytes at the end of a table of metrics that hold its last row."""


class Board:
    """Prints results of jobs and, on a terminal, the jobs that run.

    slots: jobs that run at once, 0 where unknown. done: jobs that were finished before.
    """

    def __init__(self, given: Sequence[Job], slots: int, done: int):
        self.jobs = {job.home.name: job for job in given}
        self.total, self.done, self.failed = len(given) + done, done, 0
        self.slots = max(1, min(slots or len(given), len(given)))
        self.live, self.height = sys.stdout.isatty(), 0
        self.rates: dict[str, list[float]] = {}
        self.seen: dict[str, tuple[float, int]] = {}
        for job in given:
            # A job runs once its process has written there.
            (job.log / "output.txt").unlink(missing_ok=True)

    def ended(self, result: Result) -> None:
        """Print the line of a job that has ended."""
        job = self.jobs.pop(result.name)
        self.failed += result.state == "failed"
        self.done += result.state == "finished"
        if result.state == "finished":
            self._learn(job, result)
        said = result.reason if result.state == "failed" else record.headline(Run(job.home))
        told = f"{result.state:8s}  {result.name}  seeds {_seeds(job)}  {duration(result.seconds)}"
        self._clear()
        print(f"{told}  {said}  ({self._counts()})", flush=True)
        self.show()

    def show(self) -> None:
        """Draw the live table; nothing where stdout is no terminal."""
        if not self.live:
            return
        running = [job for job in self.jobs.values() if (job.log / "output.txt").exists()]
        width, height = shutil.get_terminal_size()
        lines = [self._line(job) for job in running][: max(1, height - 2)]
        lines.append(self._counts())
        self._clear()
        print("\n".join(line[: width - 1] for line in lines), flush=True)
        self.height = len(lines)

    def close(self) -> None:
        """Remove the live table."""
        self._clear()

    def left(self) -> float | None:
        """Return the seconds until all jobs have ended; None while nothing is known."""
        if not self.rates and not self.seen:
            return None
        every = [rate for rates in self.rates.values() for rate in rates]
        total = 0.0
        for job in self.jobs.values():
            own = self.rates.get(job.command.run.agent, every)
            rate = self._rate(job) or (sum(own) / len(own) if own else None)
            if rate is None:
                return None
            total += rate * (jobs.updates(job.command) - progress(job.home))
        return total / self.slots

    def _learn(self, job: Job, result: Result) -> None:
        self.seen.pop(result.name, None)
        count = jobs.updates(job.command) - result.begun
        if count > 0:
            self.rates.setdefault(job.command.run.agent, []).append(result.seconds / count)

    def _rate(self, job: Job) -> float | None:
        """Return the seconds of an update of a job that runs; None while it is unknown."""
        done, now = progress(job.home), time.monotonic()
        if not (job.log / "output.txt").exists():
            return None
        began, first = self.seen.setdefault(job.home.name, (now, done))
        return (now - began) / (done - first) if done > first else None

    def _line(self, job: Job) -> str:
        done, whole = progress(job.home), jobs.updates(job.command)
        rate = self._rate(job)
        rest = "" if rate is None else f"  {duration(rate * (whole - done))} left"
        share = f"{100 * done / whole:3.0f} %"
        return f"running   {job.home.name}  seeds {_seeds(job)}  {share}{rest}"

    def _counts(self) -> str:
        left = self.left() if self.jobs else 0.0
        rest = "" if left is None or not self.jobs else f", about {duration(left)} left"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self.total} finished{failed}{rest}"

    def _clear(self) -> None:
        if self.height:
            sys.stdout.write(f"\x1b[{self.height}F\x1b[J")
        self.height = 0


def progress(folder: Path) -> int:
    """Return the updates that the last row of a run's metrics counts; 0 without one."""
    try:
        with Run(folder).metrics.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            last = file.read().splitlines()[-1]
        return int(last.split(b",")[0])
    except (OSError, ValueError, IndexError):
        return 0


def duration(seconds: float) -> str:
    """Return a time in its largest fitting unit."""
    for name, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:.0f} s"


def _seeds(job: Job) -> str:
    return " ".join(map(str, job.command.run.seeds))
