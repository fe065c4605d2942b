"""python -m gtp_fast.evaluate RUN: evaluate a trained run again, in any way to act."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gtp_fast import cli
from gtp_fast.policy import off_policy
from gtp_fast.policy.evaluation import Options, evaluate, table, write


def main(argv: Sequence[str]) -> int:
    """Evaluate as the command line says; return the exit code."""
    options = cli.parse(
        Options, argv, "python -m gtp_fast.evaluate", "Evaluate a trained run again."
    )
    if options.fqe:
        judged = off_policy.evaluate(options)
        print(off_policy.table(judged))
        print(f"\nthe figures are in {off_policy.write(judged)}")
        return 0
    record, evaluation = evaluate(options)
    print(table(record, evaluation))
    path = write(record, evaluation)
    print(f"\nevery episode is in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
