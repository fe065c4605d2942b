"""`python -m gtp_fast.collect TASK`: make a dataset here, without a network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gtp_fast import cli
from gtp_fast.collect import collect, default_workers
from gtp_fast.tasks import find


@dataclass(frozen=True)
class Options:
    """Make a Minari dataset, or a file of OGBench's layout, which says that it was made here."""

    task: Annotated[str, tyro.conf.Positional]
    """pointmaze-{umaze,medium,large}, pointmaze-demo, or antmaze-{umaze,umaze-diverse,medium-play,
    medium-diverse,large-play,large-diverse}; of OGBench's single tasks pointmaze, cube, scene and
    puzzle."""
    transitions: int | None = None
    """Steps to collect; the task's own number by default."""
    seed: int = 0
    """The same seed gives the same data, bit for bit, on one machine."""
    noise: float | None = None
    """Standard deviation of the Gaussian added to actions; the task's own by default."""
    output: Path | None = None
    """Folder to write into; by default Minari's own (MINARI_DATASETS_PATH), for OGBench's tasks
    OGBench's (OGBENCH_DATA)."""
    workers: int | None = None
    """Processes; the data do not depend on it. One by default, for antmaze one per core."""


def main(argv: Sequence[str]) -> None:
    """Collect, and say where the data are and what they are."""
    options = cli.parse(Options, argv, prog="python -m gtp_fast.collect")
    task = find(options.task)
    workers = options.workers
    if workers is None:
        workers = default_workers(task)
    made = collect(task, options.transitions, options.seed, options.noise, options.output, workers)
    print(f"{'already there' if made.reused else 'collected'}: {made.path}")
    print("Locally made, not the official data. To train on it:")
    print(f"  python -m gtp_fast.train --task {task.name} --dataset {made.path}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
