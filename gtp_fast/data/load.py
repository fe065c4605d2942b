"""load_table: from a task and a dataset to the resident transition table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gtp_fast.data import cache, flat, locate, minari, rules
from gtp_fast.data.environment import evaluation_goal
from gtp_fast.data.recording import Recording, concatenate
from gtp_fast.data.table import Provenance, TransitionTable
from gtp_fast.tasks import Rules, Task, find


def load_table(
    task: Task | str,
    dataset: str | Path | None = None,
    rules_override: Rules | None = None,
    device: torch.device | str = "cpu",
    use_cache: bool = True,
    box: tuple[Sequence[float], Sequence[float]] | None = None,
) -> TransitionTable:
    """Return a dataset as one table.

    dataset: Minari id or folder, D4RL .hdf5 or .npz; by default the task's own. Raises UserError
    naming dataset, episode or row when the data are not available or not valid.
    """
    task = find(task) if isinstance(task, str) else task
    sources = locate.find(task, dataset)
    chosen = rules_override or default_rules(task, sources[0])
    places = cache.places(sources, cache.key(sources, task.name, chosen)) if use_cache else []
    table = cache.load(places)
    if table is None:
        table = _build(task, sources, chosen, box)
        if places:
            cache.store(table, places)
    return table.to(device)


def default_rules(task: Task, source: locate.Source) -> Rules:
    """Return the task's rules; for a flat file, without goals, rewards as stored."""
    if source.kind == "minari":
        return task.rules
    return replace(task.rules, goal="none", cut_at_goal=False)


def _build(
    task: Task, sources: tuple[locate.Source, ...], chosen: Rules, box: Any
) -> TransitionTable:
    recording = concatenate([_read(task, source, chosen) for source in sources])
    if box is not None and sources[0].kind != "minari":
        recording.action_low, recording.action_high = (np.asarray(x, np.float64) for x in box)
    goal = evaluation_goal(task, recording.environment, recording.evaluation_environment)
    rows, episode, statistics = rules.apply(recording, chosen, goal, task.goal_reaching)
    return TransitionTable(
        rows=torch.from_numpy(rows),
        episode=torch.from_numpy(episode),
        observation_dim=recording.observation_dim,
        action_dim=recording.action_dim,
        observation_keys=recording.observation_keys,
        action_low=tuple(recording.action_low.tolist()),
        action_high=tuple(recording.action_high.tolist()),
        task=task.name,
        rules=chosen,
        statistics=statistics,
        provenance=Provenance(recording.name, recording.official, recording.description),
        environment=recording.environment,
        evaluation_environment=recording.evaluation_environment,
    )


def _read(task: Task, source: locate.Source, chosen: Rules) -> Recording:
    if source.kind == "npz":
        return flat.read_npz(source.path)
    if source.kind == "d4rl":
        return flat.read_d4rl(source.path)
    keys = task.observation_keys or ()
    if chosen.goal != "concat":
        keys = tuple(key for key in keys if key != "desired_goal")
    return minari.read(source.path, keys, positions=chosen.goal != "none")
