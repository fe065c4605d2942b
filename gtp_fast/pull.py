"""python -m gtp_fast.pull REPO DIR: get a policy from the Hugging Face hub."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gtp_fast import cli
from gtp_fast.studies import hub


@dataclass(frozen=True)
class Options:
    """Which policy is downloaded, and where to."""

    repo: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="REPO")]
    """Repository as owner/name."""
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folder for policy.gtp, config.yaml and README.md."""
    revision: str | None = None
    """Branch, tag or commit; by default the newest."""


def main(argv: Sequence[str]) -> int:
    """Download as the command line says; return the exit code."""
    options = cli.parse(Options, argv, "python -m gtp_fast.pull", "Get a policy from the hub.")
    found = hub.pull(options.repo, options.out, revision=options.revision)
    about = found.description
    said = (about.get(name, "?") for name in ("agent", "task", "seed", "step"))
    print("{} on {}, seed {}, update {}".format(*map(_plain, said)))
    print(f"use it: gtp_fast.load({str(Path(options.out) / hub.POLICY)!r})")
    return 0


def _plain(value: object) -> str:
    """Return a stranger's word without what would steer a terminal."""
    return "".join(c for c in str(value)[:80] if c.isprintable())


if __name__ == "__main__":
    sys.exit(cli.run(main))
