"""python -m benchmarks.evidence_curves RUN ... --output FILE: the learning curves of named runs.

One record a run: its command, data and revision, its score after each evaluation (mean over seeds
and episodes), the last one of each seed, steps of the shortest of its last episodes, and what
metrics.csv says of its weights.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from benchmarks import evidence_command
from benchmarks.evidence_runs import Record
from gtp_fast import cli
from gtp_fast.errors import UserError
from gtp_fast.runs import evaluations, metrics
from gtp_fast.studies import groups
from gtp_fast.studies.group import Group
from gtp_fast.system.files import write_atomically

HEALTH = ("weight_ess", "weight_correlation")


@dataclass(frozen=True)
class Options:
    """Which runs are read, and where the file goes."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folders, finished ones, in the order of the file."""
    output: Path
    """The file, which is replaced."""


def main(argv: Sequence[str]) -> int:
    """Write the file; return the exit code."""
    options = cli.parse(Options, argv, "python -m benchmarks.evidence_curves", __doc__)
    content = {
        "written_by": "python -m benchmarks.evidence_curves RUN ...",
        "runs": [record(run) for run in options.runs],
    }
    write_atomically(options.output, json.dumps(content, indent=1) + "\n")
    print(f"wrote {options.output}")
    return 0


def record(folder: str) -> Record:
    """Return the record of a run: where it comes from, and its curves by update.

    Raises UserError for a run that has not finished or was not evaluated, and for one whose seeds
    have settings of their own.
    """
    found = groups.collect([folder])
    if len(found) > 1:
        raise UserError(f"{folder} has seeds with settings of their own: name a run without.")
    (group,) = found
    (run,) = group.runs
    seeds = " ".join(map(str, sorted(group.seeds)))
    rows = evaluations.read(run.evaluations)
    last, end = rows["step"] == max(rows["step"]), group.scores[group.steps()[-1]]
    return {
        "command": evidence_command.of(group, group.task.name, seeds),
        **evidence_command.facts(group, run),
        "score": {str(x): round(float(group.values(x).mean()), 4) for x in group.steps()},
        "last_score_of_each_seed": {str(x): round(end[x], 4) for x in sorted(end)},
        "shortest_last_episode": int(rows["length"][last].min()),
        **{name: curve for name in HEALTH if (curve := _curve(group, name))},
    }


def _curve(group: Group, name: str) -> dict[str, float]:
    """Return update -> figure of metrics.csv where it was evaluated too, the mean over seeds."""
    columns = metrics.read(group.runs[0].metrics)
    values = columns.get(name, np.full(len(columns["step"]), np.nan))
    curve = {}
    for step in group.steps():
        at = values[(columns["step"] == step) & np.isfinite(values)]
        if len(at):
            curve[str(step)] = round(float(at.mean()), 4)
    return curve


if __name__ == "__main__":
    sys.exit(cli.run(main))
