"""python -m benchmarks.demo RUN: the README's account of the demo, from the folder of its run."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import RESULTS, ROOT
from benchmarks.report import replace
from gtp_fast.errors import UserError

MARKERS = ("<!-- demo:begin -->", "<!-- demo:end -->")
ACCOUNT, PICTURE = "demo.txt", "docs/demo.png"


def main(argv: Sequence[str]) -> int:
    """Keep account and picture of a run of the demo and write them into the README."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder that the demo names at its end")
    run = parser.parse_args(argv).run
    if not (run / ACCOUNT).exists():
        raise UserError(f"{run} holds no {ACCOUNT}: give the run folder that the demo names.")
    shutil.copyfile(run / ACCOUNT, RESULTS / ACCOUNT)
    shutil.copyfile(run / "learning_curve.png", ROOT / PICTURE)
    readme = ROOT / "README.md"
    readme.write_text(replace(readme.read_text(), block(), readme.name, MARKERS))
    print(f"wrote {PICTURE} and the account in {readme.name}")
    return 0


def block() -> str:
    """Return the account as it stands in the README, from the committed file."""
    account = (RESULTS / ACCOUNT).read_text().rstrip()
    return f"```\n{account}\n```\n\n![learning curve of the demo]({PICTURE})"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"gtp_fast: {error}", file=sys.stderr)
        sys.exit(2)
