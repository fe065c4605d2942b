"""Closing what others have written, which may fail where nothing is at stake any more."""

from __future__ import annotations

import sys
from typing import Protocol

from gtp_fast.errors import first_line


class Closable(Protocol):
    """An environment, or several as one."""

    def close(self) -> None:
        """Free what it holds."""


def close(environment: Closable, name: str) -> None:
    """Close an environment; what it raises is a note, for no result depends on it."""
    try:
        environment.close()
    # A viewer or a driver may raise anything when it ends, or call sys.exit.
    except (Exception, SystemExit) as error:
        print(
            f"note: {name} failed when it was closed ({type(error).__name__}: "
            f"{first_line(error)}); no result depends on it.",
            file=sys.stderr,
        )
