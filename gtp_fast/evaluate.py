"""python -m gtp_fast.evaluate RUN: evaluate a trained run again, in any way to act."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from gtp_fast import cli
from gtp_fast.policy import off_policy, video
from gtp_fast.policy.evaluation import Options, check, evaluate
from gtp_fast.policy.results import table, write


def main(argv: Sequence[str]) -> int:
    """Evaluate as the command line says; return the exit code."""
    options = cli.parse(
        Options, argv, "python -m gtp_fast.evaluate", "Evaluate a trained run again."
    )
    check(options)
    if options.fqe:
        judged = off_policy.evaluate(options)
        print(off_policy.table(judged))
        print(f"\nthe figures are in {off_policy.write(judged)}")
        return 0
    if options.video is not None:
        video.check(options.video_episodes)
    record, evaluation = evaluate(options)
    print(table(record, evaluation))
    path = write(record, evaluation)
    print(f"\nevery episode is in {path}")
    if options.video is not None:
        for recorded in video.record(options, Path(options.video)):
            print(f"video: {recorded}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
