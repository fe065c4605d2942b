"""python -m gtp_fast.report RUN...: scores with intervals, learning curves, losses, a page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gtp_fast import cli, runs
from gtp_fast.errors import UserError
from gtp_fast.runs import guidance
from gtp_fast.studies import curves, folders, groups, losses, page, tables
from gtp_fast.studies.group import Group
from gtp_fast.system import figure


@dataclass(frozen=True)
class Options:
    """Which runs are reported, and how."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """Run folders, or folders that hold some, such as those of sweeps and comparisons. Runs that
    differ in nothing but their seeds become one row."""
    plot: str | None = None
    """Write the learning curves into this file (.png, .svg or .pdf); runs with eta = 0 are drawn as
    the level of behaviour cloning."""
    losses: bool = False
    """Draw the losses over the updates instead of the learning curves."""
    html: str | None = None
    """Write one page with scores, curves, health, settings, data and videos into this file; it
    needs no network."""


def main(argv: Sequence[str]) -> int:
    """Report as the command line says; return the exit code."""
    options = cli.parse(Options, argv, "python -m gtp_fast.report", "Compare trained runs.")
    if options.losses and options.plot is None:
        raise UserError("--losses says what --plot draws: add --plot FILE.")
    if options.plot is not None:
        figure.require_name(Path(options.plot))
    # The page and the losses have something to show of runs without scores too.
    shows_all = options.html is not None or options.losses
    paths, said = folders.spread(options.runs, shows_all)
    found: list[Group] = []
    scored: list[Group] = []
    if paths or not said:
        found = groups.collect(paths, unscored=shows_all)
        scored = [group for group in found if group.scores]
        said += [tables.run_table(scored)] if scored else []
        notes = [line for path in paths for line in guidance.report(runs.open_run(path))]
        said += ["\n".join(notes)] if notes else []
    drawn = found if options.losses else scored
    if options.plot is not None and drawn:
        (losses if options.losses else curves).draw(drawn, Path(options.plot))
        said.append(f"plot: {options.plot}")
    if options.html is not None and found:
        page.write(paths, Path(options.html))
        said.append(f"page: {options.html}")
    print("\n\n".join(said))
    if (options.plot is not None and not drawn) or (options.html is not None and not found):
        missing = "begun" if shows_all and not found else "evaluated"
        raise UserError(f"No run has been {missing} yet, so there is nothing to draw: train one.")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
