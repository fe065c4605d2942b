"""python -m gtp_fast.ablate: the paper's ablation of the objective, by one command.

Trains every row on one task with the same seeds, data and protocol, and measures the time of an
update of all rows in turns. Each finished row is kept; the same command continues a stopped one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gtp_fast import cli, data, tasks
from gtp_fast.errors import UserError, at_least
from gtp_fast.studies import ablation
from gtp_fast.studies.ablation import ROWS, Ablation
from gtp_fast.studies.protocol import Protocol, Study
from gtp_fast.system.device import chosen_device
from gtp_fast.training.divergence import AllDiverged


@dataclass(frozen=True)
class Options:
    """What is compared, on what, and for how long."""

    task: str = "hopper-medium-expert"
    """Task."""
    rows: tuple[str, ...] = ablation.PAPER_ROWS
    """Rows to train, of gtp, solver, shortcut, mean-flow, linear-q-0.01, linear-q-0.1, linear-q-1,
    flow, consistency, ctm, gtp-uniform-u."""
    dataset: str | None = None
    """Minari id, D4RL .hdf5 file or .npz file; by default the task's own Minari dataset."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds, all trained together."""
    steps: int | None = None
    """Updates of each row; by default those of the task."""
    episodes: int | None = None
    """Evaluation episodes for each seed, after the last update; by default those of the task."""
    width: int = 256
    """Units of each hidden layer."""
    batch_size: int = 256
    """Transitions per update and seed."""
    rounds: int = 30
    """Rounds of the timing; every row does five updates in each."""
    backend: str = "auto"
    """auto, reference or fused."""
    device: str = "auto"
    """auto, cpu or cuda."""
    output: Path = Path("runs/ablation")
    """Folder of table.md, runs.json, times.json and the run folders."""


def main(argv: Sequence[str]) -> int:
    """Time, train, evaluate and write every row; return 1 where a row has no scores, else 0."""
    options = cli.parse(Options, argv, "python -m gtp_fast.ablate", __doc__)
    if not options.rows:
        raise UserError(f"--rows needs a name: choose among {', '.join(ROWS)}.")
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        raise UserError(f"Unknown rows {', '.join(unknown)}: choose among {', '.join(ROWS)}.")
    at_least(1, rounds=options.rounds)
    rows = prepare(options)
    rows.measure(options.rows)
    for name in options.rows:
        print(f"--- {name}", flush=True)
        if code := train(rows, name):
            return code
        print(rows.write(), flush=True)
    lacking = rows.study.unfinished(options.rows)
    for sentence in lacking:
        print(sentence, file=sys.stderr)
    return 1 if lacking else 0


def prepare(options: Options) -> Ablation:
    """Load the data; UserError where the folder holds rows of another protocol."""
    device = chosen_device(options.device)
    protocol = Protocol(
        task=options.task, seeds=options.seeds, dataset=options.dataset, steps=options.steps,
        episodes=options.episodes, device=options.device, backend=options.backend,
    )  # fmt: skip
    shared = {"width": options.width, "batch_size": options.batch_size}
    # Refuse what is out of range before the data are read.
    protocol.settings("gtp", shared)
    study = Study(options.output / "runs.json", protocol)
    table = data.load_table(tasks.find(options.task), options.dataset, None, device)
    rows = Ablation(study, table, shared, options.rounds)
    for name in study.kept:
        study.check(name, "gtp", rows.changes(name))
    return rows


def train(rows: Ablation, name: str) -> int:
    """Train and evaluate a row, or continue it; return the exit code."""
    try:
        return rows.study.train(name, "gtp", rows.changes(name))
    except AllDiverged as error:
        # That every seed diverged is the result of this row.
        reason = str(error).split(": the last good")[0].split(": no checkpoint")[0]
        rows.study.note(name, diverged=reason)
        print(error, file=sys.stderr)
        return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
