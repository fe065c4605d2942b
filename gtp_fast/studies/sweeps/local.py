"""Jobs on this machine: one process a core, pinned to it, or one a GPU."""

from __future__ import annotations

import os
import queue
from collections.abc import Generator, Sequence
from concurrent import futures
from typing import NamedTuple

import torch

from gtp_fast.studies.jobs import Job, Result
from gtp_fast.studies.sweeps.engines import TICK
from gtp_fast.system import children, machine
from gtp_fast.system.children import Child, ChildDied
from gtp_fast.system.device import chosen_device

_TRIES = 2
"""Processes that a job may lose before it counts as failed."""
_GRACE = 60
"""Seconds in which stopped jobs save their runs."""


class Place(NamedTuple):
    """What a process has for itself."""

    core: int | None = None
    gpu: str | None = None


class Local:
    """As many processes as there are cores, or GPUs; workers: fewer or more of them."""

    def __init__(self, device: str = "auto", workers: int | None = None):
        self.device = chosen_device(device).type
        places = _gpus() if self.device == "cuda" else _cores()
        count = len(places) if workers is None else workers
        self.workers = [_Worker(places[i % len(places)]) for i in range(count)]
        self.slots = count
        kind = f"{'GPU' if self.device == 'cuda' else 'core'}{'s' * (len(places) > 1)}"
        self.where = f"{len(places)} {kind} of this machine, {count} at once"

    def results(self, jobs: Sequence[Job]) -> Generator[Result | None]:
        """Yield each job's result when it ends, and None while none has ended."""
        free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self.workers:
            free.put(worker)

        def serve(job: Job) -> Result:
            worker = free.get()
            try:
                return worker.run(job)
            finally:
                free.put(worker)

        pool = futures.ThreadPoolExecutor(self.slots)
        left = {pool.submit(serve, job) for job in jobs}
        try:
            while left:
                done, left = futures.wait(left, TICK, futures.FIRST_COMPLETED)
                yield from (one.result() for one in done)
                if not done:
                    yield None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self._stop({one for one in left if one.running()})

    def _stop(self, running: set[futures.Future[Result]]) -> None:
        """End all processes; those that train save their runs first."""
        for _ in range(_GRACE if running else 0):
            for worker in self.workers:
                worker.stop()
            running = futures.wait(running, TICK).not_done
            if not running:
                break
        children.close([worker.child for worker in self.workers if worker.child is not None])


class _Worker:
    """A place and the process that has it; a process that died is followed by another."""

    def __init__(self, place: Place):
        self.place, self.stopping = place, False
        self.child: Child | None = None

    def run(self, job: Job) -> Result:
        """Return a job's result."""
        reason = ""
        for _ in range(_TRIES):
            if self.stopping:
                break
            try:
                if self.child is None:
                    self.child = Child("gtp_fast.studies.sweeps.child", "the process of the job")
                    self.child.send(self.place)
                self.child.send(job)
                found: Result = self.child.receive()
                return found
            except ChildDied as error:
                reason, self.child = f"{error}: see {job.log}, or take fewer --workers.", None
        return Result(job.home.name, "stopped" if self.stopping else "failed", reason)

    def stop(self) -> None:
        """Ask the process to save its run and end."""
        self.stopping = True
        if self.child is not None:
            self.child.process.terminate()


def _cores() -> list[Place]:
    can_pin = hasattr(os, "sched_setaffinity")
    return [Place(core=core if can_pin else None) for core in machine.cores()]


def _gpus() -> list[Place]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else map(str, range(torch.cuda.device_count()))
    return [Place(gpu=name) for name in names]
