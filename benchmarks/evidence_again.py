"""Runs older than a default of acting: their last checkpoint, evaluated again in today's way.

What acts changes nothing of training, so a run needs no second training for it: `gtp_fast.evaluate
RUN --act-by euler` leaves a file beside the run, and the evidence takes the last scores from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtp_fast import agents
from gtp_fast.errors import UserError
from gtp_fast.studies.group import Group


@dataclass(frozen=True)
class Again:
    """The last checkpoint's episodes in another way to act than that of training."""

    act_by: str
    figures: dict[str, NDArray[np.float64]]
    """`return` and, where the environment tells it, `success` of every episode [S, N]."""


def of(group: Group, step: int) -> Again | None:
    """Return a single run's evaluation as a new run acts; None where itself did.

    None too without such an evaluation: of the moving average, with the run's own number of
    episodes and K and evaluation seed 0, at the last update. Raises UserError for a file that is
    none.
    """
    own, today = group.settings.get("act_by", "map"), _today(group)
    if today in (None, own):
        return None
    (run,) = group.runs
    for path in sorted((run.path / "evaluations").glob("step_*.json")):
        try:
            found = json.loads(path.read_text())
            alike = (
                # Evaluations from before the choice do not name it.
                found.get("act_by", "map") == today
                and found["step"] == step
                and found.get("own_environment", True)
                and found["evaluation_seed"] == 0
                # A fitted Q evaluation, which lies there too, has no episodes.
                and found.get("episodes") == group.episodes
                and found["noise_scale"] == group.settings.get("noise_scale", 1.0)
                and found["num_candidates"] == group.num_candidates
                and _rule(found, group.num_candidates)
                == _rule(group.settings, group.num_candidates)
                and found["k"] == group.settings["k"]
                and found["weights"] == "ema"
                and found["seeds"] == sorted(group.seeds)
            )
            if alike:
                kept = {name: found["per_episode"].get(name) for name in ("return", "success")}
                if group.task.goal_reaching and kept["success"] is None:
                    raise ValueError("a maze without successes")
                return Again(
                    today,
                    {name: np.asarray(x, np.float64) for name, x in kept.items() if x is not None},
                )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is no evaluation: delete it, or evaluate again.") from error
    return None


def _rule(facts: Mapping[str, Any], candidates: int) -> Any:
    """Return how an action is chosen, which one candidate alone does not ask."""
    return facts.get("candidate_rule") if candidates > 1 else None


def _today(group: Group) -> str | None:
    """Return what acts in a new run like a group's; None of a rival."""
    config = group.config
    if config["agent"] != "gtp":
        return None
    preset = config.get("preset", "auto")
    settings = agents.defaults("gtp", group.task, config["steps"], preset)[1]
    acts: str = settings.act_by
    return acts
