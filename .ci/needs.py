"""Print what pyproject.toml requires, with the extras named, as pip takes it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def needs(extras: list[str]) -> list[str]:
    """Return the requirements of the extras; one of the package itself names more of them."""
    found = []
    for extra in extras:
        for requirement in PROJECT["optional-dependencies"][extra]:
            own = re.fullmatch(r"gtp_fast\[(.*)\]", requirement)
            found += needs(own[1].split(",")) if own else [requirement]
    return found


print("\n".join(PROJECT["dependencies"] + needs(sys.argv[1:])))
