"""Print what pyproject.toml requires, with the extras named, as pip takes it.

--oldest: the lowest version of each, but of PyTorch, which is chosen apart and brings its triton.
"""

from __future__ import annotations

import argparse
import re
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


def oldest(requirements: list[str]) -> list[str]:
    """Return the lowest version of each requirement, without PyTorch and triton."""
    others = [x for x in requirements if not x.startswith(("torch", "triton"))]
    return [x.replace(">=", "==") for x in others]


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--oldest", action="store_true")
parser.add_argument("extras", nargs="*")
options = parser.parse_args()
required = PROJECT["dependencies"] + needs(options.extras)
print("\n".join(oldest(required) if options.oldest else required))
