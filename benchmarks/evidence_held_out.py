"""python -m benchmarks.evidence_held_out RUN ...: docs/held_out_error.json from run folders.

The runs are of gtp_fast.train with --hold-out, one or several of each task, and differ in task and
seeds alone. The file has their errors, scores, command, settings and revision.
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

from benchmarks import ROOT, evidence_command
from benchmarks.evidence_runs import Record
from gtp_fast import cli, runs
from gtp_fast.errors import UserError
from gtp_fast.runs import metrics
from gtp_fast.studies import groups
from gtp_fast.studies.group import Group
from gtp_fast.system.files import write_atomically

ERRORS = ("held_out_error", "trained_error")


@dataclass(frozen=True)
class Options:
    """Which runs are read, and where the file goes."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folders, finished ones with --hold-out."""
    output: Path = ROOT / "docs" / "held_out_error.json"
    """The file, which is replaced."""


def main(argv: Sequence[str]) -> int:
    """Write the file; return the exit code."""
    options = cli.parse(Options, argv, "python -m benchmarks.evidence_held_out", __doc__)
    write_atomically(options.output, json.dumps(collect(options.runs), indent=1) + "\n")
    print(f"wrote {options.output}; its table in docs/limits.md is written by hand")
    return 0


def collect(folders: Sequence[str]) -> Record:
    """Return the content of the file: each figure by task and update, a mean over seeds.

    Raises UserError for a run without held-out episodes or not finished, and where runs differ in
    more than task and seeds.
    """
    found = groups.collect(folders)
    commands = {evidence_command.of(group) for group in found}
    names = [group.task.name for group in found]
    if len(commands) > 1 or len(set(names)) < len(names):
        words = "; ".join(groups.labels(found)) if len(commands) == 1 else "; ".join(commands)
        raise UserError(f"Name runs that differ in task and seeds alone, not in settings: {words}.")
    content: Record = {
        "written_by": "python -m benchmarks.evidence_held_out RUN ...",
        "command": commands.pop(),
        "runs": [fact for group in found for fact in _facts(group)],
        **{name: {} for name in (*ERRORS, "score")},
    }
    for task, group in sorted(zip(names, found, strict=True), key=lambda pair: pair[0]):
        for name in ERRORS:
            content[name][task] = _errors(group, name)
        scores = {str(x): round(float(group.values(x).mean()), 4) for x in group.steps()}
        content["score"][task] = scores
    return content


def _facts(group: Group) -> list[Record]:
    """Return what every run was trained on and by, without its folder."""
    for run in group.runs:
        if not run.config().get("hold_out"):
            raise UserError(f"{run} holds no episodes out: train it with --hold-out.")
    return [
        evidence_command.facts(group, run) | runs.plain({"settings": group.settings})
        for run in group.runs
    ]


def _errors(group: Group, name: str) -> dict[str, float]:
    """Return update -> error, the mean over all seeds; UserError where a seed has none."""
    by_step: dict[int, list[float]] = {}
    for run in group.runs:
        columns = metrics.read(run.metrics)
        values = columns.get(name, np.full(len(columns["step"]), np.nan))
        for step, value in zip(columns["step"], values, strict=True):
            if np.isfinite(value):
                by_step.setdefault(int(step), []).append(float(value))
    short = [step for step, values in by_step.items() if len(values) != len(group.seeds)]
    if short or not by_step:
        where = f"after update {short[0]:,}" if short else "at all"
        raise UserError(
            f"Not every seed of {', '.join(map(str, group.runs))} has a {name} {where}: one "
            "diverged, or they were evaluated after other updates: train it again."
        )
    return {str(step): round(float(np.mean(by_step[step])), 4) for step in sorted(by_step)}


if __name__ == "__main__":
    sys.exit(cli.run(main))
