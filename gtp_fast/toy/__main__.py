"""python -m gtp_fast.toy: every special case of the flow map and the truth, in minutes.

Trains GTP and the methods it contains on laws that are known exactly, and writes one figure and one
table. `python -m gtp_fast.toy theorem` draws what Theorem 1 says of the score approximation and
what it does not; `python -m gtp_fast.toy tables` rewrites the tables of docs/theory.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gtp_fast import cli
from gtp_fast.errors import at_least
from gtp_fast.system import figure
from gtp_fast.system.files import make_folder_of, write_atomically
from gtp_fast.toy import draw, experiment, report, store
from gtp_fast.training import config
from gtp_fast.training.options import RunConfig


@dataclass(frozen=True)
class Options:
    """How long the toy trains, and where its figure and table go."""

    updates: int = 1600
    """Updates of every method on every target."""
    seeds: tuple[int, ...] = (0, 1)
    """Seeds, trained together; the figure shows the first, the table the mean."""
    processes: int = 2
    """Targets trained side by side."""
    output: Path = Path("runs/toy")
    """Folder of toy.png, toy.md, toy.csv and results.npz."""
    redraw: bool = False
    """Draw again from results.npz, without training."""


def main(argv: Sequence[str]) -> int:
    """Train, measure, draw; return the exit code."""
    if argv and argv[0] == "theorem":
        from gtp_fast.toy import theorem_figure

        return theorem_figure.main(argv[1:])
    if argv and argv[0] == "tables":
        from gtp_fast.toy import tables

        return tables.main(argv[1:])
    options = cli.parse(Options, argv, "python -m gtp_fast.toy", __doc__)
    at_least(1, updates=options.updates, processes=options.processes)
    # Its seeds are checked as those of a run.
    config.check(RunConfig(seeds=options.seeds))
    figure.require()
    kept = options.output / "results.npz"
    make_folder_of(kept)
    if options.redraw:
        results = store.read(kept)
    else:
        results = experiment.run_all(options.updates, options.seeds, options.processes)
        store.write(results, kept)
    write_atomically(options.output / "toy.md", report.markdown(results))
    write_atomically(options.output / "toy.csv", report.comma_separated(results))
    draw.draw(results, options.output / "toy.png")
    print(report.markdown(results))
    print(f"figure {options.output / 'toy.png'}, table {options.output / 'toy.md'} and toy.csv")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
