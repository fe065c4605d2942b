"""python -m gtp_fast.sweep FILE.yaml: many runs, on the cores or GPUs of one machine or of many.

The file has a base of settings, a grid of lists and jobs of their own (docs/running.md). The same
command goes on with what is not finished; a job that fails does not stop the others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gtp_fast import cli
from gtp_fast.errors import UserError
from gtp_fast.studies.jobs import Job
from gtp_fast.studies.sweeps import drive, estimate, plan
from gtp_fast.studies.sweeps.board import duration
from gtp_fast.studies.sweeps.engines import Engine
from gtp_fast.studies.sweeps.local import Local
from gtp_fast.studies.sweeps.on_ray import OnRay
from gtp_fast.studies.sweeps.on_slurm import OnSlurm


@dataclass(frozen=True)
class Options:
    """Which runs, and where."""

    file: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = ()
    """YAML file of the sweep."""
    on: Literal["local", "ray", "slurm"] = "local"
    """Where the jobs run: on this machine, on a Ray cluster, or by Slurm."""
    paper: bool = False
    """The paper's whole table instead of a file: 15 tasks, five seeds, GTP and every rival with the
    settings of its authors."""
    dry_run: bool = False
    """List the jobs and an estimate of the hours; start nothing."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What a device of auto in the file means; by default a GPU where there are some."""
    workers: int | None = None
    """Processes on this machine; by default one for each core, or for each GPU."""
    address: str | None = None
    """Address of the Ray cluster; by default the one that Ray finds, else one of this machine."""
    slurm: tuple[str, ...] = ()
    """submitit's parameters as KEY=VALUE, such as slurm_partition=gpu timeout_min=600."""
    output: str | None = None
    """Folder of the sweep; by default runs/sweep-FILE."""


def main(argv: Sequence[str]) -> int:
    """Sweep as the command line says; return 1 where a job failed, else 0."""
    options = cli.parse(Options, argv, "python -m gtp_fast.sweep", __doc__)
    if len(options.file) + options.paper != 1:
        raise UserError("Name one file of a sweep, or --paper.")
    if options.workers is not None and options.workers < 1:
        raise UserError(f"--workers must be at least 1, not {options.workers}.")
    file = Path(options.file[0]) if options.file else None
    commands = plan.paper() if file is None else plan.read(file)
    folder = Path(options.output or f"runs/sweep-{'paper' if file is None else file.stem}")
    engine = engine_of(options, folder)
    jobs = drive.jobs_of(commands, engine.device, folder)
    if options.paper or options.dry_run:
        tell(jobs, engine, options.dry_run)
    return 0 if options.dry_run else drive.run(jobs, engine, folder)


def engine_of(options: Options, folder: Path) -> Engine:
    """Return the engine that runs the jobs; UserError where it is not available."""
    if options.on == "ray":
        return OnRay(options.device, options.address)
    if options.on == "slurm":
        return OnSlurm(folder / "slurm", options.device, options.slurm)
    return Local(options.device, options.workers)


def tell(jobs: Sequence[Job], engine: Engine, each: bool) -> None:
    """Print the estimate of a sweep; each: and a line for every job."""
    taken: list[float] = []
    try:
        taken = estimate.seconds(jobs)
        total = estimate.describe(sum(taken), len(jobs), engine.slots, engine.where)
    except UserError as error:
        # The jobs may run on machines that have what this one lacks.
        total = f"estimate: none, as the probe does not run on this machine: {error}"
    for number, job in enumerate(jobs if each else ()):
        seeds = " ".join(map(str, job.command.run.seeds))
        rest = f"  {duration(taken[number])}" if taken else ""
        print(f"{job.home.name}  seeds {seeds}{rest}")
    print(total, flush=True)


if __name__ == "__main__":
    sys.exit(cli.run(main))
