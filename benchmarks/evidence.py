"""python -m benchmarks.evidence: GTP, its clone and its rivals on many tasks.

Trains cell by cell and writes docs/results.md from all runs. A cell is one run of gtp_fast.train;
the same command continues a stopped campaign.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import ROOT, evidence_page
from benchmarks.evidence_runs import Campaign, Record, collect
from gtp_fast import agents, cli, runs, tasks, train
from gtp_fast.errors import UserError
from gtp_fast.runs import checkpoint
from gtp_fast.studies.group import CLONE
from gtp_fast.system import figure

LABELS = (
    "gtp", CLONE, "bc", "iql", "diffusion-ql", "consistency-ac", "fql", "sscql",
)  # fmt: skip
TASKS = (
    "hopper-medium-expert", "walker2d-medium-expert", "halfcheetah-medium-expert",
    "halfcheetah-medium-replay", "antmaze-umaze", "antmaze-medium-diverse", "pointmaze-large",
)  # fmt: skip
_EVALUATIONS = 5


@dataclass(frozen=True)
class Options:
    """Which cells are made, and where everything goes."""

    tasks: tuple[str, ...] = TASKS
    """Tasks."""
    labels: tuple[str, ...] = LABELS
    """Agents by name, and gtp-clone: gtp with --eta 0."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds, each a run of its own."""
    steps: int = 100_000
    """Updates of every run."""
    width: int = 128
    """Units of each hidden layer of every agent."""
    episodes: int | None = None
    """Episodes of each evaluation; by default 20 for locomotion and 100 for mazes."""
    runs: Path = Path("runs/evidence")
    """Folder of the runs; finished ones anywhere below it count, however they were made, and so do
    those that an earlier results.json in the output folder holds.
    """
    collect: int = 200_000
    """Transitions of each maze's dataset, which is made here."""
    maze_data: Path | None = None
    """Folder of Minari datasets that holds those of the mazes already, as gtp_fast.collect makes
    them."""
    hours: float | None = None
    """Begin no cell after so many hours."""
    write_only: bool = False
    """Train nothing: write the page from the runs that there are."""
    output: Path = ROOT / "docs"
    """Folder that results.md, results.json and results.png are written into."""


def main(argv: Sequence[str]) -> int:
    """Make the missing cells and write the page after each; return the exit code."""
    options = cli.parse(Options, argv, "python -m benchmarks.evidence", __doc__)
    figure.require()  # The first page is written after the first cell: hours may be lost.
    campaign = _campaign(options)
    began, failed = time.monotonic(), 0
    cells = [] if options.write_only else campaign.missing(_collect(options))
    for number, (seed, task, label) in enumerate(cells, start=1):
        if options.hours is not None and time.monotonic() - began > 3600 * options.hours:
            print(f"{options.hours:g} hours are over: {len(cells) - number + 1} cells are left")
            break
        print(f"--- {task}, {label}, seed {seed} ({number} of {len(cells)})", flush=True)
        try:
            code = _train(options, seed, task, label)
        except UserError as error:
            print(f"gtp_fast: this cell is left out: {error}", file=sys.stderr)
            failed += 1
            continue
        if code:
            return code
        _write(options, campaign)
    written = _write(options, campaign)
    print("\n".join(["", *(f"wrote {path}" for path in written)]))
    return 1 if failed else 0


def _campaign(options: Options) -> Campaign:
    for label in options.labels:
        if label != CLONE:
            agents.find(label)
    for name in ("steps", "width", "collect"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} must be at least 1, not {getattr(options, name)}.")
    names = tuple(dict.fromkeys(tasks.find(name).name for name in options.tasks))
    labels, seeds = tuple(dict.fromkeys(options.labels)), tuple(dict.fromkeys(options.seeds))
    return Campaign(names, labels, seeds, options.steps, options.width)


def _collect(options: Options) -> list[Record]:
    return collect(options.runs, options.output / "results.json")


def _write(options: Options, campaign: Campaign) -> list[Path]:
    records = _collect(options)
    if not records:
        raise UserError(
            f"There is no finished run below {options.runs}: train one, or name others."
        )
    return evidence_page.write(records, campaign, options.output)


def _train(options: Options, seed: int, task: str, label: str) -> int:
    """Train a cell, or continue its stopped run; return the exit code."""
    folder = options.runs / task / label / f"seed{seed}-{options.steps}"
    for path in sorted(folder.glob("*/config.yaml")):
        run = runs.open_run(path.parent)
        alike = run.config()["agent_settings"].get("width") == options.width
        if alike and not run.summary() and checkpoint.last(run):
            return train.main(["--resume", str(run)])
    return train.main([*command(options, seed, task, label), "--output", str(folder)])


def command(options: Options, seed: int, task: str, label: str) -> list[str]:
    """Return the options of gtp_fast.train for a cell, without its output folder."""
    found = tasks.find(task)
    episodes = options.episodes or (100 if found.goal_reaching else 20)
    given = {
        "agent": "gtp" if label == CLONE else label, "task": task, "seeds": seed,
        "steps": options.steps, "width": options.width, "episodes": episodes,
        "evaluate-every": max(1, options.steps // _EVALUATIONS),
    }  # fmt: skip
    if label == CLONE:
        given["eta"] = 0
    if found.goal_reaching and options.maze_data is not None:
        given["dataset"] = options.maze_data / found.local_dataset
    elif found.goal_reaching:
        given["collect"] = options.collect
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


if __name__ == "__main__":
    sys.exit(cli.run(main))
