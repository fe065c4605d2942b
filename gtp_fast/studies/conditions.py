"""What decides a run's scores besides its seeds, and how a label says it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from gtp_fast.tasks import Rules, Task

_SPEC = ("entry_point", "max_episode_steps", "additional_wrappers")
"""Entries of an environment's specification that change an episode, besides id and arguments."""
_LONGEST = 40


class _Absent:
    """Stands for a condition that a run does not have, which is not the value None."""

    def __str__(self) -> str:
        return "absent"


ABSENT = _Absent()
UNNAMED = "unnamed"
"""Stands for an environment that nothing names."""


def of_run(config: Mapping[str, Any], task: Task, unit: str, played: Any = None) -> dict[str, Any]:
    """Return by name what runs share that differ in their seeds alone.

    played: name of the environment that the summary tells of; None where it tells of none.
    Task and agent are left to the caller. Engine, backend and number of processes are left out:
    they compute the same. A value that an older run folder lacks is the one it was trained with.
    """
    rules = config.get("rules")
    return {
        **config["agent_settings"],
        "dataset": config["dataset"],
        "steps": config["steps"],
        "episodes": config["episodes"],
        **({} if rules is None else dataclasses.asdict(Rules()) | rules),
        "precision": config.get("precision", "fp32"),
        "hold_out": config.get("hold_out", 0.0),
        # The moments themselves belong to the dataset; their last bits depend on the device.
        "normalise_observations": bool(config.get("observation_mean")),
        **environment(config, played),
        "reference": task.reference,
        "unit": unit,
    }


def by_settings(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a run's configuration once for each setting of its seeds.

    Each has the seeds with that setting: values of their own make them several configurations.
    """
    seeds, settings = config.get("seeds") or [], config["agent_settings"]
    each = {
        name: value
        for name, value in settings.items()
        if isinstance(value, list | tuple) and len(value) == len(seeds) > 1
    }
    parts: dict[str, dict[str, Any]] = {}
    for place, seed in enumerate(seeds):
        own = {name: [value[place]] for name, value in each.items()}
        part = {"seeds": [], "agent_settings": {**settings, **own}}
        parts.setdefault(str(own), {**config, **part})["seeds"].append(seed)
    return list(parts.values()) or [dict(config)]


def differing(runs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return for each run the names of conditions that another one has otherwise.

    What follows from the environment is compared within one environment only: where their names
    differ, that says enough.
    """
    kin: dict[Any, list[Mapping[str, Any]]] = {}
    for run in runs:
        kin.setdefault(run.get("env"), []).append(run)
    anywhere = _varying(runs)
    within = {env: set(_varying(those)) for env, those in kin.items()}
    return [
        [name for name in anywhere if not _follows(name) or name in within[run.get("env")]]
        for run in runs
    ]


def _varying(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for conditions in runs for name in conditions)
    return [
        name
        for name in names
        if any(run.get(name, ABSENT) != runs[0].get(name, ABSENT) for run in runs)
    ]


def _follows(name: Any) -> bool:
    return str(name).startswith("env.") or name in ("reference", "unit")


def short(value: Any) -> str:
    """Return a value as a label shows it; what is cut has a digest of the whole."""
    if value and isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value):
        text = "/".join(f"{v:g}" if float(f"{v:g}") == v else str(v) for v in value)
    else:
        text = str(value)
    if len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()
    return f"{text[:_LONGEST]}... {digest[:6]}"


def environment(config: Mapping[str, Any], played: Any) -> dict[str, Any]:
    """Return id, arguments and wrappers of a run's environment, from its specification in JSON.

    The rest, such as its checker, changes no episode and differs between versions of Gymnasium.
    A live environment has no specification, and a run that went on with --env keeps its old one:
    there its name in the summary, `played`, is all that is known.
    """
    spec = (config.get("evaluation") or {}).get("environment")
    found: dict[str, Any] = {"env": UNNAMED}
    if spec is not None:
        try:
            facts = json.loads(spec)
            given = {f"env.{name}": facts.get(name) for name in _SPEC}
            arguments = {f"env.kwargs.{name}": value for name, value in facts["kwargs"].items()}
            found = {"env": str(facts["id"]), **given, **arguments}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            # Report reads folders from anybody.
            found = {"env": str(spec)}
    return found if played in (None, found["env"]) else {"env": str(played)}
