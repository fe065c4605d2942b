"""python -m gtp_fast.train: train and evaluate an agent on a dataset, in a run folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gtp_fast import cli
from gtp_fast.training import config, start


def main(argv: Sequence[str]) -> int:
    """Train as the command line says; return the exit code."""
    resumed = config.parse_resumed(argv)
    if resumed is not None:
        return start.resume(resumed).train()
    command = config.parse(argv)
    return start.start(command).train()


if __name__ == "__main__":
    sys.exit(cli.run(main))
