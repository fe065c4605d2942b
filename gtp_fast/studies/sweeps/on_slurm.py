"""Jobs on a Slurm cluster, through submitit."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from gtp_fast.errors import UserError, first_line
from gtp_fast.studies import jobs
from gtp_fast.studies.jobs import Job, Result
from gtp_fast.studies.sweeps.engines import TICK


class _Work:
    """A job as submitit runs it: after a time-out or a pre-emption it is submitted again."""

    def __call__(self, job: Job) -> Result:
        return jobs.run(job)

    def checkpoint(self, job: Job) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


class OnSlurm:
    """One core a job, or one GPU where asked for.

    folder: of submitit's own files, on a disk that all machines share. given: submitit's parameters
    as KEY=VALUE, such as slurm_partition=gpu. cluster: slurm, or submitit's local and debug, for
    tests.
    """

    def __init__(
        self,
        folder: Path,
        device: str = "auto",
        given: Sequence[str] = (),
        cluster: str = "slurm",
    ):
        try:
            import submitit
        except ImportError as error:
            raise UserError("submitit is not installed: pip install 'gtp_fast[slurm]'.") from error
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError("There is no Slurm here (no sbatch): use --on local, or a login node.")
        parameters = dict(map(_pair, given))
        self.device = device
        if device == "auto":
            self.device = "cuda" if parameters.get("gpus_per_node") else "cpu"
        shared = {"cpus_per_task": 1, "gpus_per_node": int(self.device == "cuda")}
        self.executor: Any = submitit.AutoExecutor(folder / "%j", cluster=cluster)
        try:
            self.executor.update_parameters(**shared | parameters)
        except (NameError, TypeError, ValueError) as error:
            raise UserError(f"--slurm: {first_line(error)}: name submitit's parameters.") from error
        self.slots = int(parameters.get("slurm_array_parallelism", 0))
        self.where = f"Slurm ({cluster})"

    def results(self, jobs_: Sequence[Job]) -> Generator[Result | None]:
        """Yield each job's result when it ends, and None while none has ended."""
        with self.executor.batch():
            submitted = [(self.executor.submit(_Work(), job), job) for job in jobs_]
        left = list(submitted)
        try:
            while left:
                done = [pair for pair in left if pair[0].done()]
                for pair in done:
                    left.remove(pair)
                    yield _result(*pair)
                if not done:
                    yield None
                    time.sleep(TICK)
        finally:
            for one, _ in left:
                with contextlib.suppress(Exception):
                    one.cancel()


def _result(one: Any, job: Job) -> Result:
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        found: Result = one.result()
    except (FailedJobError, UncompletedJobError) as error:
        return Result(job.home.name, "failed", f"Slurm gave it up: {first_line(error)}")
    return found


def _pair(word: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if not equals:
        raise UserError(f"--slurm {word}: write KEY=VALUE, such as slurm_partition=gpu.")
    return key, int(value) if value.isdigit() else value
