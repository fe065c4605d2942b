"""Jobs on a Ray cluster: a job of a machine that was lost goes on with another one."""

from __future__ import annotations

import logging
import signal
from collections.abc import Generator, Sequence
from importlib import import_module
from typing import Any

from gtp_fast.errors import UserError, first_line
from gtp_fast.studies import jobs
from gtp_fast.studies.jobs import Job, Result
from gtp_fast.studies.sweeps.engines import TICK

_RETRIES = 5
"""Machines that a job may lose before it counts as failed."""
_GRACE = 60.0
"""Seconds in which stopped jobs save their runs."""


class OnRay:
    """One core a job, or one GPU where the cluster has some; address: as `ray.init` takes it."""

    def __init__(self, device: str = "auto", address: str | None = None):
        try:
            ray: Any = import_module("ray")
        except ImportError as error:
            raise UserError("Ray is not installed: pip install 'gtp_fast[ray]'.") from error
        self.ray = ray
        if not ray.is_initialized():
            handler = signal.getsignal(signal.SIGTERM)
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
                # Ray ends the process at SIGTERM; a sweep saves its runs first.
                signal.signal(signal.SIGTERM, handler)
            except Exception as error:
                raise UserError(
                    f"Ray cannot be reached ({first_line(error)}): start it by "
                    "`ray start --head`, or name it by --address."
                ) from error
        there = ray.cluster_resources()
        has_gpu = there.get("GPU", 0) >= 1
        self.device = ("cuda" if has_gpu else "cpu") if device == "auto" else device
        self.slots = int(there.get("GPU" if self.device == "cuda" else "CPU", 0))
        nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        self.where = f"{nodes} node{'s' * (nodes > 1)} of a Ray cluster"

    def results(self, jobs_: Sequence[Job]) -> Generator[Result | None]:
        """Yield each job's result when it ends, and None while none has ended."""
        ray = self.ray
        left = {self._submit(job): job for job in jobs_}
        try:
            while left:
                done, _ = ray.wait(list(left), num_returns=1, timeout=TICK)
                for one in done:
                    yield self._result(one, left.pop(one))
                if not done:
                    yield None
        finally:
            for one in left:
                ray.cancel(one)
            if left:
                ray.wait(list(left), num_returns=len(left), timeout=_GRACE)

    def _submit(self, job: Job) -> Any:
        gpus = int(job.command.run.device == "cuda")
        remote = self.ray.remote(num_cpus=1, num_gpus=gpus, max_retries=_RETRIES)(jobs.run)
        return remote.remote(job)

    def _result(self, one: Any, job: Job) -> Result:
        try:
            found: Result = self.ray.get(one)
        except self.ray.exceptions.RayError as error:
            return Result(job.home.name, "failed", f"Ray gave it up: {first_line(error)}")
        return found
