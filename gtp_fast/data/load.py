"""load_table: from a task and a dataset to the resident transition table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gtp_fast.data import (
    cache,
    files,
    flat,
    lerobot,
    locate,
    minari,
    ogbench_sets,
    robomimic,
    rules,
)
from gtp_fast.data.environment import evaluation_goal
from gtp_fast.data.recording import Recording, concatenate
from gtp_fast.data.table import Provenance, TransitionTable
from gtp_fast.errors import UserError
from gtp_fast.tasks import Rules, Task, find

_DEMONSTRATIONS = {"robomimic": robomimic.read, "lerobot": lerobot.read}
Box = tuple[Sequence[float], Sequence[float]]
"""Both ends of an action box, [A] each."""


def load_table(
    task: Task | str,
    dataset: Any = None,
    rules_override: Rules | Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    use_cache: bool = True,
    box: Box | None = None,
) -> TransitionTable:
    """Return a dataset as one table.

    dataset: Minari id or folder, or a file (docs/formats.md), by default the task's own; or a dict
    of arrays or a `minari.MinariDataset`. rules_override: a whole set of rules, or some by name
    over those that the dataset has by default. box: of the environment, for data without a box of
    their own. Raises UserError naming dataset, episode or row when the data are not available or
    not valid, and for a rule given by name that would change nothing.
    """
    task = find(task) if isinstance(task, str) else task
    sources = locate.find(task, dataset)
    if isinstance(rules_override, Rules):
        chosen = rules_override
    else:
        asked = rules_override or {}
        chosen = replace(default_rules(task, sources[0]), **asked)
        _check_goal(task, sources[0], chosen)
        rules.check_asked(sources[0].name, asked, chosen, task.goal_reaching, sources[0].kind)
    place = None
    if use_cache and sources[0].data is None:
        place = cache.place(cache.key(sources, task, chosen, _needed(box, sources)))
    table = None if place is None else cache.load(place)
    if table is None:
        # Numbers beyond float32 are refused by a sentence, which needs no warning before it.
        with np.errstate(over="ignore", invalid="ignore"):
            table = _build(task, sources, chosen, box)
        if place is not None:
            cache.store(table, place)
    return table.to(device)


def _needed(box: Box | None, sources: tuple[locate.Source, ...]) -> Box | None:
    """Return the box where a table depends on it; None where the data state their own."""
    known = all(one.kind == "minari" and minari.states_box(one.path) for one in sources)
    return None if known else box


def default_rules(task: Task, source: locate.Source) -> Rules:
    """Return the task's rules; for a flat file, without goals, rewards as stored."""
    if source.kind == "minari" or task.family == "ogbench":
        return task.rules
    return replace(task.rules, goal="none", cut_at_goal=False)


def _check_goal(task: Task, source: locate.Source, chosen: Rules) -> None:
    """Raise UserError for goal=relabel where the state keeps the goal of each episode."""
    if chosen.goal == "relabel" and source.kind == "minari" and task.observation_keys is None:
        raise UserError(
            f"{source.name}: --goal relabel needs --task with a maze, such as"
            " antmaze-large-diverse, for without one the state keeps each episode's goal and the"
            " environment draws one; take --goal concat, or none for data without goals"
        )


def _build(
    task: Task, sources: tuple[locate.Source, ...], chosen: Rules, box: Box | None
) -> TransitionTable:
    if task.family == "ogbench":
        return ogbench_sets.table(task, sources[0].path, chosen)
    parts = [_boxed(_read(task, source, chosen, box), chosen, box) for source in sources]
    recording = concatenate(parts)
    goal = evaluation_goal(task, recording.environment, recording.evaluation_environment)
    rows, episode, statistics = rules.apply(recording, chosen, goal, task.goal_reaching)
    return TransitionTable(
        rows=torch.from_numpy(rows),
        episode=torch.from_numpy(episode),
        observation_dim=recording.observation_dim,
        action_dim=recording.action_dim,
        observation_keys=recording.observation_keys,
        observation_widths=recording.observation_widths,
        action_low=tuple(recording.action_low.tolist()),
        action_high=tuple(recording.action_high.tolist()),
        task=task.name,
        rules=chosen,
        statistics=statistics,
        provenance=Provenance(recording.name, recording.official, recording.description),
        environment=recording.environment,
        evaluation_environment=recording.evaluation_environment,
        notes=tuple(dict.fromkeys(recording.notes)),
    )


def _read(task: Task, source: locate.Source, chosen: Rules, box: Box | None) -> Recording:
    if source.kind == "flat":
        if source.data is None:
            arrays = files.read(source.path)
        else:
            arrays = files.of_memory(source.name, source.data)
        hdf5 = source.data is None and files.content(source.path) == "hdf5"
        if hdf5 and "timeouts" in arrays:
            # D4RL's loader never used the stored next observations, which some files lack.
            arrays.pop("next_observations", None)
        recording = flat.transitions(source.name, arrays, chosen.terminals)
        if hdf5:
            recording.description, recording.official = "a D4RL file", True
        return recording
    keys = task.observation_keys
    if source.kind in _DEMONSTRATIONS:
        return _DEMONSTRATIONS[source.kind](source.path, keys or None)
    if keys is not None and chosen.goal != "concat":
        keys = tuple(key for key in keys if key != "desired_goal")
    positions = chosen.goal != "none"
    if source.data is not None:
        return minari.read_object(source.data, keys, positions)
    return minari.read(source.path, keys, positions, box)


def _boxed(recording: Recording, chosen: Rules, box: Box | None) -> Recording:
    """Return the recording with its action box: asked for, its own, the environment's, assumed."""
    given = (chosen.action_low, chosen.action_high)
    if any(given):
        own: Box = (recording.action_low.tolist(), recording.action_high.tolist())
        if box is not None and not recording.box_is_known:
            own = box
        low, high = (other if end is None else end for end, other in zip(given, own, strict=True))
        box = low, high
    elif recording.box_is_known:
        return recording
    if box is None:
        recording.notes.append("the action box is assumed to be [-1, 1]")
        return recording
    try:
        ends = [np.broadcast_to(np.asarray(end, float), (recording.action_dim,)) for end in box]
    except ValueError as error:
        raise UserError(
            f"{recording.name} has actions of {recording.action_dim} numbers and the action box"
            f" {[len(end) for end in box]}: give one number for all, or one for each"
        ) from error
    recording.action_low, recording.action_high = (end.astype(np.float64) for end in ends)
    recording.box_is_known = True
    return recording
