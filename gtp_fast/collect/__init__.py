"""Collect a dataset locally: for machines that have no dataset and no network."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gtp_fast.collect import ogbench_sets
from gtp_fast.collect.buffers import Stored, shorten
from gtp_fast.collect.plans import PLANS, plan_of
from gtp_fast.collect.storage import SETTINGS_KEY, alone, check, reserve, write
from gtp_fast.collect.workers import episodes
from gtp_fast.data import locate, minari
from gtp_fast.environments import ogbench_names
from gtp_fast.errors import UserError
from gtp_fast.system import children
from gtp_fast.system.machine import cores
from gtp_fast.system.progress import bar
from gtp_fast.tasks import Task, find

__all__ = ["PLANS", "Collected", "collect", "default_workers"]


@dataclass(frozen=True)
class Collected:
    """A locally made dataset."""

    dataset_id: str
    path: Path
    reused: bool
    """Whether it was there already, made with the same settings."""


def collect(
    task: Task | str,
    transitions: int | None = None,
    seed: int = 0,
    noise: float | None = None,
    output: Path | None = None,
    workers: int = 1,
    progress: bool = True,
) -> Collected:
    """Make the task's local dataset below `output`, or reuse it.

    output: by default Minari's own folder, or OGBench's for its tasks, which have one worker. The
    same settings give the same bits, whatever the number of workers. Raises UserError for settings
    that make no sense, and when the dataset is there with other settings, cannot be written, or
    the task cannot be collected.
    """
    task = find(task) if isinstance(task, str) else task
    if task.family == "ogbench":
        single = ogbench_names.find(task.name)
        if workers != 1:
            raise UserError(
                f"{single.dataset} is collected in one process: leave out --workers {workers}"
            )
        made_at, there = ogbench_sets.collect(single, transitions, seed, noise, output, progress)
        return Collected(single.dataset, made_at, there)
    plan = plan_of(task)
    settings: dict[str, Any] = {
        "task": task.name,
        "transitions": plan.transitions if transitions is None else transitions,
        "seed": seed,
        "noise": plan.noise if noise is None else noise,
        "limit": plan.limit,
    }
    check(settings, workers)
    root = output if output is not None else locate.root()
    folder = root / task.local_dataset
    if _is_there(folder, settings):
        return Collected(task.local_dataset, folder, reused=True)
    reserve(task, root)
    with alone(folder):
        # Whoever held the place may have collected the same.
        if _is_there(folder, settings):
            return Collected(task.local_dataset, folder, reused=True)
        made = _gather(task, settings, workers, progress)
        return Collected(task.local_dataset, write(task, made, settings, root), reused=False)


def default_workers(task: Task) -> int:
    """Processes that pay: one for the cheap point mazes, one per core for the ant."""
    several = children.POSSIBLE and task.family == "antmaze"
    return min(len(cores()), 8) if several else 1


def _is_there(folder: Path, settings: dict[str, Any]) -> bool:
    """Return whether the set was collected; UserError where it was with other settings."""
    if not folder.exists():
        return False
    found = minari.metadata(folder).get(SETTINGS_KEY, {})
    unequal = [
        f"{key} {found.get(key)} instead of {value}"
        for key, value in settings.items()
        if found.get(key) != value
    ]
    if unequal:
        raise UserError(
            f"{folder} was already collected with {', '.join(unequal)};"
            " ask for the same settings, remove that folder, or choose another with --output"
        )
    return True


def _gather(task: Task, settings: dict[str, Any], workers: int, progress: bool) -> list[Stored]:
    made: list[Stored] = []
    left = int(settings["transitions"])
    source = episodes(task, settings["seed"], settings["noise"], workers)
    label = f"collecting {task.name} (locally made, not Minari's data)"
    with (
        closing(source),
        bar(left, " steps", label=label, keep=True, shown=progress) as told,
    ):
        for episode in source:
            length = min(len(episode["actions"]), left)
            made.append(episode if length == len(episode["actions"]) else shorten(episode, length))
            left -= length
            told.update(length)
            if left == 0:
                break
    return made
