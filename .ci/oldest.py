"""Print the lowest version of each requirement in pyproject.toml, as pip takes it."""

from __future__ import annotations

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for requirement in project["dependencies"]:
    # PyTorch is chosen apart, and brings its triton.
    if not requirement.startswith(("torch", "triton")):
        print(requirement.replace(">=", "=="))
