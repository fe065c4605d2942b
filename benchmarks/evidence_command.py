"""What made a run: its command, as gtp_fast.train takes it, its data, versions and revision."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks.evidence_runs import Record, origin
from gtp_fast import agents, runs
from gtp_fast.errors import UserError
from gtp_fast.runs import Run
from gtp_fast.studies.group import Group

_USUAL = {"preset": "auto", "precision": "fp32", "keep_checkpoints": 2}
"""Options of a run that change its figures or what is left of it, where they were not given."""


def of(group: Group, task: str = "TASK", seeds: str = "SEEDS") -> str:
    """Return the command of a group's runs; task, seeds: what stands for these two.

    DATA stands for data that were named by --dataset; `facts` has their name.
    """
    config, settings = group.config, group.settings
    preset = config.get("preset", "auto")
    usual = agents.defaults(config["agent"], group.task, config["steps"], preset)[1]
    default = runs.plain(dataclasses.asdict(usual))
    own_rules = runs.plain(dataclasses.asdict(group.task.rules))
    rules = {name: x for name, x in config.get("rules", {}).items() if x != own_rules.get(name)}
    named = config.get("dataset_id", config["dataset"]) != config["dataset"]
    own_environment = group.environment in (None, group.task.environment)
    given = {
        "agent": config["agent"], "task": task, "dataset": "DATA" if named else None,
        "env": None if own_environment else group.environment,
        "seeds": seeds, "steps": config["steps"],
        "width": settings.get("width"), "episodes": config["episodes"],
        "evaluate_every": config.get("evaluate_every"), "hold_out": config.get("hold_out") or None,
        **{name: config.get(name, x) for name, x in _USUAL.items() if config.get(name, x) != x},
        **{name: x for name, x in settings.items() if x != default.get(name) and name != "width"},
        "normalise_observations": bool(config.get("observation_mean")) or None,
        **rules,
    }  # fmt: skip
    words = [_words(name, value) for name, value in given.items() if value is not None]
    return " ".join(["python -m gtp_fast.train", *words])


def _words(name: str, value: Any) -> str:
    """Return an option as the command line takes it."""
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{option}" if value else f"--no-{option}"
    return f"--{option} {' '.join(map(str, value)) if isinstance(value, list) else value}"


def facts(group: Group, run: Run) -> Record:
    """Return what a run of a group was trained on and by, without its folder.

    Raises UserError for a run that has not finished.
    """
    config, summary = run.config(), run.summary()
    if summary.get("updates") != config["steps"]:
        raise UserError(f"{run} has not finished: go on with it by --resume.")
    found: Record = runs.plain({
        "task": group.task.name,
        "seeds": config["seeds"],
        "dataset": group.dataset,
        "made_locally": not summary["official_dataset"],
        **summary["data"],
        "measure": group.unit,
        **origin(run, "torch"),
    })  # fmt: skip
    return found
