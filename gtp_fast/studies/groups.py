"""Run folders read and joined over their seeds, and what their rows are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from gtp_fast import agents
from gtp_fast.errors import UserError
from gtp_fast.runs import Run, open_run
from gtp_fast.runs.evaluations import read
from gtp_fast.studies import conditions
from gtp_fast.studies.group import RETURN, SCORE, SUCCESS, Group

_NEEDED = ("task", "dataset", "agent", "agent_settings", "steps", "episodes")


def collect(paths: Sequence[str], unscored: bool = False) -> list[Group]:
    """Read runs and join those that differ in their seeds only.

    Seeds of one run with settings of their own are no seeds of one configuration. UserError when a
    run has no scores, unless `unscored` lets it stand in a group without any.
    """
    if not paths:
        raise UserError("Name at least one run folder to report.")
    found = [_read(open_run(path), unscored) for path in paths]
    telling = {_place(parts[0]) for parts, rows in found if rows and _tells(rows)} - {None}
    groups: list[Group] = []
    kinds: dict[tuple[str, str], list[Group]] = {}
    for parts, rows in found:
        if rows and _place(parts[0]) in telling:
            # A run without a success says nothing where its environment reports only those.
            rows["success"] = np.nan_to_num(rows["success"])
        for part in parts:
            _score(part, rows)
            if not part.scores and not unscored:
                raise UserError(_unscored(part.runs[0]))
            rivals = kinds.setdefault(part.kind, [])
            same = next((group for group in rivals if _same(group, part)), None)
            if same is not None:
                same.join(part)
                continue
            groups.append(part)
            rivals.append(part)
    return groups


def labels(groups: Sequence[Group]) -> list[str]:
    """Return each group's agent, with what differs within its task.

    No two of a task are alike: where nothing else differs the seeds are named, and the run folder
    where they are the same.
    """
    names = [str(group.config["agent"]) for group in groups]
    rivals: dict[tuple[str, str], list[int]] = {}
    for place, group in enumerate(groups):
        rivals.setdefault(group.kind, []).append(place)
    for places in rivals.values():
        words = _differences([groups[place] for place in places])
        for place, those in zip(places, words, strict=True):
            for one in those:
                names[place] = _with(names[place], one)
    for more in (_seeds, _folders):
        count = Counter((group.task.name, name) for group, name in zip(groups, names, strict=True))
        names = [
            name if count[group.task.name, name] == 1 else _with(name, more(group))
            for group, name in zip(groups, names, strict=True)
        ]
    return names


def _differences(groups: Sequence[Group]) -> list[list[str]]:
    """Return in words what sets each group of one kind apart from the others."""
    alike = Counter(name for _, name in {(str(g.config["dataset"]), g.dataset) for g in groups})
    found = []
    for group, keys in zip(
        groups, conditions.differing([group.conditions for group in groups]), strict=True
    ):
        shown = group.conditions
        if alike[group.dataset] == 1:
            shown = shown | {"dataset": group.dataset}
        values = {key: shown.get(key, conditions.ABSENT) for key in keys}
        found.append([f"{key}={conditions.short(value)}" for key, value in values.items()])
    return found


def _with(name: str, more: str) -> str:
    return f"{name[:-1]}, {more})" if name.endswith(")") else f"{name} ({more})"


def _seeds(group: Group) -> str:
    return f"seeds={'/'.join(map(str, sorted(group.seeds)))}"


def _folders(group: Group) -> str:
    return f"run={group.runs[0]}"


def _read(run: Run, unscored: bool) -> tuple[list[Group], dict[str, Any]]:
    """Return a run's groups without their scores, one for each setting, and its episodes."""
    if not run.evaluations.exists() and not unscored:
        raise UserError(_unscored(run))
    config, summary = run.config(), run.summary()
    if missing := [key for key in _NEEDED if key not in config]:
        raise UserError(f"{run.path}/config.yaml lacks {', '.join(missing)}: restore it.")
    settings = agents.completed(config["agent"], config["agent_settings"])
    parts = [
        _group(run, part, summary)
        for part in conditions.by_settings(config | {"agent_settings": settings})
    ]
    rows = read(run.evaluations) if run.evaluations.exists() else {}
    if len(parts) == 1 and len(rows.get("seed", ())):
        parts[0].named = set(np.unique(rows["seed"]).tolist())
    return parts, rows


def _group(run: Run, config: dict[str, Any], summary: dict[str, Any]) -> Group:
    seeds = {seed for seed in config.get("seeds", []) if isinstance(seed, int)}
    lost = summary.get("diverged")
    steps = {seed: lost.get(str(seed)) for seed in seeds} if isinstance(lost, dict) else {}
    return Group(
        config,
        str(summary.get("dataset", config["dataset"])),
        episodes=config["episodes"],
        k=summary.get("k", config["agent_settings"].get("k", "-")),
        environment=summary.get("environment"),
        runs=[run],
        named=seeds,
        diverged={seed: step for seed, step in steps.items() if isinstance(step, int)},
    )


def _place(group: Group) -> str | None:
    """Return the environment of a group's episodes, None where nothing names it."""
    found = conditions.environment(group.config, group.environment)
    return None if found["env"] == conditions.UNNAMED else str(sorted(found.items()))


def _tells(rows: dict[str, Any]) -> bool:
    """Return whether some episode reports a success or a failure."""
    return not np.isnan(rows["success"]).all()


def _score(group: Group, rows: dict[str, Any]) -> None:
    """Give a group the scores of its seeds, from the episodes of its run."""
    if not rows:
        return
    (run,), task = group.runs, group.task
    figures, group.unit = rows["return"], RETURN
    if task.reference is not None:
        figures, group.unit = task.score(figures), SCORE
    elif _tells(rows):
        figures, group.unit = 100.0 * rows["success"], SUCCESS
    for step in np.unique(rows["step"]).tolist():
        for seed in sorted(group.named):
            at = (rows["step"] == step) & (rows["seed"] == seed)
            if at.any():
                group.scores.setdefault(step, {})[seed] = float(figures[at].mean())
                group.played[step] = min(int(at.sum()), group.played.get(step, int(at.sum())))
                group.successes.setdefault(step, {})[seed] = float(rows["success"][at].mean())
    summary = run.summary()
    reached, level = (
        value if isinstance(value, int | float) else None
        for value in (summary.get("data_success_rate"), summary.get("data_return"))
    )
    if reached is not None and (task.goal_reaching or group.unit == SUCCESS):
        group.data_level = 100 * reached
    elif level is not None and not task.goal_reaching and group.unit != SUCCESS:
        group.data_level = float(task.score(level)) if group.unit == SCORE else level


def _unscored(run: Run) -> str:
    stored = run.config().get("evaluation")
    if isinstance(stored, dict) and stored.get("environment", "") is None:
        return (
            f"{run.path} has no environment, so it has no scores: `gtp_fast evaluate RUN --fqe` "
            "judges it by its data; --html and --plot with --losses show its losses."
        )
    return f"{run.path} has not been evaluated yet: train it to its first evaluation."


def _same(one: Group, other: Group) -> bool:
    """Return whether two groups of one kind become one row."""
    alike = one.conditions == other.conditions
    # A row needs a step that all of its seeds were evaluated at.
    joint = set(one.steps()) & set(other.steps()) or not (one.scores or other.scores)
    return alike and bool(joint) and not one.seeds & other.seeds
