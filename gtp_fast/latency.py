"""python -m gtp_fast.latency RUN: how long a trained policy takes to act, on this machine.

One timed call is `Policy.act` with NumPy in and out, as a control loop calls it: checks, noise,
transfers and scaling to the environment's units are inside.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from gtp_fast import cli, policy
from gtp_fast.agents.acting import ActBy
from gtp_fast.errors import UserError
from gtp_fast.ops.candidates import Rule
from gtp_fast.studies import latency_figure
from gtp_fast.studies.latency import Case, histogram, machine, measure, table
from gtp_fast.system import figure
from gtp_fast.system.files import write_atomically


@dataclass(frozen=True)
class Options:
    """What is timed, and for how long."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder, one of its checkpoints, or an exported policy.gtp."""
    batch: tuple[int, ...] = (1, 16, 256, 4096)
    """Observations in one call; 1 is a single observation [O]."""
    k: tuple[int, ...] = ()
    """Numbers of sampler steps; by default the run's own."""
    device: tuple[str, ...] = ()
    """cpu, cuda or both; by default those present."""
    backend: tuple[str, ...] = ("auto",)
    """auto, reference, fused: several are timed side by side."""
    precision: tuple[str, ...] = ("fp32",)
    """fp32, bf16, int8 (CPU), tf32 (GPU) or several; docs/running.md says what each rounds."""
    seconds: float = 2.0
    """Time spent on each row of the table."""
    rounds: int = 20
    """Rounds over all rows, so that a disturbance of the machine meets every row alike."""
    seed_index: int = 0
    """Which of the run's seeds acts."""
    checkpoint: str = "last"
    """last, best, or a checkpoint by its name or path."""
    weights: str | None = None
    """ema (the moving average) or online; by default those that were evaluated."""
    num_candidates: int | None = None
    """Actions drawn for each decision; by default as the run was evaluated."""
    candidate_rule: Rule | None = None
    """softmax or argmax of the target critic, or mean; by default as the run was evaluated."""
    act_by: tuple[ActBy, ...] = ()
    """map (K jumps), euler (K Euler steps of its flow) or both; by default the run's own."""
    plot: str | None = None
    """Draw distributions and throughput into this file (.png, .svg or .pdf)."""
    json: str | None = None
    """Write the figures into this file."""


def main(argv: Sequence[str]) -> int:
    """Time as the command line says; return the exit code."""
    options = cli.parse(
        Options, argv, "python -m gtp_fast.latency", "Time a trained policy on this machine."
    )
    check(options)
    about = machine()
    cases = prepare(options)
    for name, value in about.items():
        print(f"{name:10s}{value}")
    timings = measure(cases, options.seconds, options.rounds)
    print(f"\n{table(timings)}")
    smallest = min(options.batch)
    for timing in timings:
        if timing.batch == smallest:
            print(f"\n{histogram(timing)}")
    if options.json is not None:
        content = {"machine": about, "rows": [timing.figures() for timing in timings]}
        write_atomically(Path(options.json), json.dumps(content, indent=1) + "\n")
        print(f"\nfigures: {options.json}")
    if options.plot is not None:
        latency_figure.draw(timings, about["processor"], Path(options.plot))
        print(f"\nplot: {options.plot}")
    return 0


def check(options: Options) -> None:
    """Raise UserError for a number that cannot be timed, before anything is."""
    if not options.batch or min(options.batch) < 1:
        raise UserError("--batch takes numbers of observations from 1 upwards.")
    if not 0 < options.seconds < math.inf or options.rounds < 1:
        raise UserError("--seconds must be positive and finite, and --rounds at least 1.")
    for path in (options.plot, options.json):
        if path is not None and not Path(path).resolve().parent.is_dir():
            raise UserError(f"There is no folder {Path(path).parent} to write {path} into.")
        if path is not None and Path(path).is_dir():
            raise UserError(f"{path} is a folder: name a file in it.")
    if options.plot is not None:
        figure.require_name(Path(options.plot))


def prepare(options: Options) -> list[Case]:
    """Load every policy that is timed, and draw its observations."""
    present = ("cpu", *(["cuda"] if torch.cuda.is_available() else []))
    cases = []
    for device, backend, precision, k, by in product(
        options.device or present, options.backend, options.precision, options.k or (None,),
        options.act_by or (None,),
    ):  # fmt: skip
        loaded = policy.load(
            options.run, device, options.seed_index, options.checkpoint, k, backend,
            options.weights, options.num_candidates, precision, None, options.candidate_rule,
            by,
        )  # fmt: skip
        draw = np.random.default_rng(0)
        for batch in dict.fromkeys(options.batch):
            rows = _drawn(draw, batch, loaded.observation_dim)
            one = [row[0] for row in rows] if batch == 1 else rows
            kind = loaded.k, loaded.num_candidates, device, loaded.backend
            way = loaded.candidate_rule, loaded.noise_scale, loaded.act_by
            cases.append(Case(batch, *kind, *way, loaded.act, one))
    return cases


def _drawn(draw: np.random.Generator, batch: int, width: int) -> list[NDArray[np.float32]]:
    """Return four batches of observations [batch, width]; UserError where they are too large."""
    try:
        return list(draw.standard_normal((4, batch, width), np.float32))
    except (MemoryError, ValueError, OverflowError) as error:
        raise UserError(
            f"--batch {batch} is too large for the memory of this machine: choose a smaller one."
        ) from error


if __name__ == "__main__":
    sys.exit(cli.run(main))
