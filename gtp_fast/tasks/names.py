"""From a name to a task: a preset, or the neutral task of a dataset."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gtp_fast.environments import ogbench_names
from gtp_fast.errors import UserError, untrusted
from gtp_fast.tasks.presets import TASKS, of_ogbench
from gtp_fast.tasks.task import Task, from_facts

_VERSIONS = {"locomotion": ("2",), "antmaze": ("0", "2"), "pointmaze": ()}
_D4RL_ELSEWHERE = re.compile(r"(pen|door|hammer|relocate)-(human|cloned|expert)|kitchen-")


def find(name: str) -> Task:
    """Return the preset of a name, with D4RL's version suffix or not; UserError otherwise."""
    task = _preset(name)
    if task is None:
        raise UserError(_unknown(name, re.sub(r"-v\d+$", "", name.strip().lower())))
    return task


def of_dataset(name: str, dataset: str) -> Task:
    """Return the neutral task of a dataset without a preset, named `name` or after the dataset.

    UserError for a name that only misses a preset's by a letter or two.
    """
    preset = _preset(name)
    if preset is not None:
        return preset
    near = difflib.get_close_matches(name.lower(), TASKS, n=3, cutoff=0.8) if name else []
    if near:
        raise UserError(
            f"unknown task {name!r}; did you mean {', '.join(near)}? Leave --task out to train on "
            "the dataset as it is"
        )
    path = Path(dataset)
    # A Minari id names its set by all of its parts, a path by the last one.
    own = path.name if path.suffix or path.is_absolute() else dataset
    words = re.findall(r"[A-Za-z0-9.]+", name or re.sub(r"\.[a-z0-9.]*$", "", own))
    return Task(name="-".join(words) or "dataset")


def owner(dataset: str) -> Task | None:
    """Return the preset that a dataset is the own one of; None without one."""
    own = (task for task in TASKS.values() if any(dataset in ids for ids in task.datasets))
    return next(own, None)


def of_run(config: Mapping[str, Any]) -> Task:
    """Return the task of a run folder's configuration; older folders hold its name alone."""
    facts = config.get("task_facts")
    if facts is None:
        return find(config["task"])
    with untrusted("the run's task is damaged", "restore task_facts in its config.yaml"):
        task = from_facts(facts)
    return task


def _preset(name: str) -> Task | None:
    """Return the preset of a name; None without one, UserError for a wrong name of OGBench's."""
    if "singletask" in name.lower():
        return of_ogbench(ogbench_names.find(name))
    wanted = name.strip().lower()
    suffix = re.search(r"-v(\d+)$", wanted)
    task = TASKS.get(wanted[: suffix.start()] if suffix else wanted)
    known = task is None or suffix is None or suffix.group(1) in _VERSIONS[task.family]
    return task if known else None


def _unknown(name: str, bare: str) -> str:
    """Return the sentence on a name without a preset: what it may have meant, and the mend."""
    variants = [task for task in TASKS if task.startswith(f"{bare}-")]
    if re.search(r"-v\d+$", name) and name[:1].isupper():
        hint = f", or a task such as {variants[0]}" if variants else ""
        return f"{name} is an environment, not a task: give --dataset X --env {name}{hint}"
    if variants and bare not in TASKS:
        return f"{name} has several datasets; choose one of {', '.join(variants)}"
    if _D4RL_ELSEWHERE.match(bare):
        kind, _, level = bare.partition("-")
        return (
            f"{name} has no preset here: --dataset D4RL/{kind}/{level or 'complete'}-v2 takes the "
            "set from Minari as it is"
        )
    near = difflib.get_close_matches(bare, TASKS, n=3, cutoff=0.5) or sorted(TASKS)
    return (
        f"unknown task {name!r}; the nearest names are {', '.join(near)}; data of your own need no "
        "task: --dataset PATH"
    )
