"""All campaigns, and one table of what they tried.

`python tests/faults/campaign.py FILES KILLS COMMANDS SEED` breaks FILES copies of each kind of
file, kills training KILLS times and each fast command COMMANDS times, and runs the sanitizers.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1] / room) for room in ("support", "faults")]

import commands
import fuzz
import kills
import sanitize
from totals import show


def main(files: int, killed: int, ended: int, seed: int) -> int:
    """Run them one after another; return 1 if anything failed."""
    totals = sanitize.main([]) + fuzz.main(files, seed)
    return show(totals + kills.main(killed, seed) + commands.main(ended, seed))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:5])))
