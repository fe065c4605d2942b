"""A sweep from its first job to its last: run, shown, kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from gtp_fast.studies import jobs
from gtp_fast.studies.jobs import Job
from gtp_fast.studies.sweeps import plan
from gtp_fast.studies.sweeps.board import Board
from gtp_fast.studies.sweeps.engines import Engine
from gtp_fast.studies.sweeps.record import Record
from gtp_fast.training import start
from gtp_fast.training.config import Command


def jobs_of(commands: Sequence[Command], device: str, folder: Path) -> list[Job]:
    """Return the jobs of runs, each in a folder named by its digest.

    Their paths are absolute.
    """
    # A job on another machine finds the folder where that machine sees the same disk.
    root = folder.absolute()
    packed = plan.packed(commands, device)
    return [Job(_absolute(command), root / jobs.name(command)) for command in packed]


def run(given: Sequence[Job], engine: Engine, folder: Path) -> int:
    """Run all jobs that are not finished; return 1 where one failed or was stopped, else 0."""
    with closing(Record(folder)) as record:
        left = [_collected(job) for job in record.add(given)]
        done = len(given) - len(left)
        print(f"{len(given)} jobs, {done} finished before; {len(left)} on {engine.where}")
        board = Board(left, engine.slots, done)
        with closing(board), closing(engine.results(left)) as results:
            board.show()
            for result in results:
                if result is None:
                    board.show()
                    continue
                record.take(result)
                board.ended(result)
        states = [record.jobs[job.home.name]["state"] for job in given]
    return 0 if all(state == "finished" for state in states) else 1


def _absolute(command: Command) -> Command:
    """Return settings that mean the same in every folder."""
    given = command.run.dataset
    if given is None or not Path(given).exists():
        return command
    return _with_dataset(command, str(Path(given).resolve()))


def _collected(job: Job) -> Job:
    """Return a job with its dataset, made here if that was asked for."""
    count = job.command.run.collect
    if count is None:
        return job
    command = _with_dataset(job.command, start.collected(job.command.task, count))
    alone = dataclasses.replace(command.run, collect=None)
    return dataclasses.replace(job, command=dataclasses.replace(command, run=alone))


def _with_dataset(command: Command, dataset: str) -> Command:
    return dataclasses.replace(command, run=dataclasses.replace(command.run, dataset=dataset))
