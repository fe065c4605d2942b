"""python -m gtp_fast.report RUN...: scores with intervals, datasets and learning curves."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gtp_fast import cli, runs
from gtp_fast.runs import guidance
from gtp_fast.studies import curves, groups, tables
from gtp_fast.studies.sweeps import record


@dataclass(frozen=True)
class Options:
    """Which runs are reported, and how."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """Run folders, or folders of sweeps. Runs that differ in nothing but their seeds become one
    row."""
    plot: str | None = None
    """Write the learning curves into this file (.png, .svg or .pdf); runs with eta = 0 are drawn as
    the level of behaviour cloning."""


def main(argv: Sequence[str]) -> int:
    """Report as the command line says; return the exit code."""
    options = cli.parse(Options, argv, "python -m gtp_fast.report", "Compare trained runs.")
    paths, sweeps = record.spread(options.runs)
    if sweeps:
        print("\n\n".join(sweeps))
    if sweeps and not paths:
        return 0
    found = groups.collect(paths)
    print(tables.run_table(found))
    notes = [line for path in paths for line in guidance.report(runs.open_run(path))]
    if notes:
        print("\n" + "\n".join(notes))
    if options.plot is not None:
        curves.draw(found, Path(options.plot))
        print(f"\nplot: {options.plot}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
