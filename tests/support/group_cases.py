"""Runs of one seed with a given environment, for the tests of a report's rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fake_runs import add_scores, config

from gtp_fast import tasks
from gtp_fast.runs import Run

HOPPER, MAZE = tasks.find("hopper-medium"), tasks.find("pointmaze-umaze")
RULES = {"goal": "none", "reward": "none"}
# No file holds a live environment.
LIVE: dict[str, Any] = {"evaluation": {"environment": None}}


def spec(name: str = "Toy-v0", **changes: Any) -> dict[str, Any]:
    """Return what a run folder keeps of its environment."""
    facts = {"id": name, "entry_point": "toy:Toy", "max_episode_steps": 5, "kwargs": {}}
    return {"environment": json.dumps(facts | {"additional_wrappers": []} | changes)}


def scored(
    folder: Path,
    seed: int,
    at: tuple[int, ...] = (100,),
    value: float = 1.0,
    summary: dict[str, Any] | None = None,
    **changes: Any,
) -> str:
    """Make a run of one seed with an evaluation at each step."""
    folder.mkdir()
    run = Run(folder)
    run.write_config(config(seeds=[seed], **{"evaluation": spec(), "rules": RULES} | changes))
    for step in at:
        add_scores(run, step, [[value]], [seed])
    if summary is not None:
        run.write_summary(summary)
    return str(run)
