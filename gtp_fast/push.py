"""python -m gtp_fast.push RUN REPO: put a trained policy on the Hugging Face hub."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from gtp_fast import cli
from gtp_fast.studies import hub


@dataclass(frozen=True)
class Options:
    """Which policy is uploaded, and where to."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    repo: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="REPO")]
    """Repository as owner/name; it is made if it is not there."""
    seed_index: int = 0
    """Which of the run's seeds."""
    checkpoint: str = "last"
    """last, best, or a checkpoint by its name or path."""
    private: bool = False
    """Make a new repository that others cannot see."""


def main(argv: Sequence[str]) -> int:
    """Upload as the command line says; return the exit code."""
    options = cli.parse(Options, argv, "python -m gtp_fast.push", "Put a policy on the hub.")
    place = hub.push(
        options.run, options.repo, seed_index=options.seed_index, checkpoint=options.checkpoint,
        private=options.private,
    )  # fmt: skip
    print(f"{hub.POLICY}, {hub.CONFIG} and {hub.CARD} are in {place}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
