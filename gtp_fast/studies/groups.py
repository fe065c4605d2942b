"""Run folders read and joined over their seeds, and what their rows are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

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

    UserError when one has no scores, unless `unscored` lets it stand in a group without any.
    """
    if not paths:
        raise UserError("Name at least one run folder to report.")
    groups: list[Group] = []
    kinds: dict[tuple[str, str], list[Group]] = {}
    for path in paths:
        run = open_run(path)
        if not run.evaluations.exists() and not unscored:
            raise UserError(_unscored(run))
        single = _single(run)
        if not single.scores and not unscored:
            raise UserError(_unscored(run))
        rivals = kinds.setdefault(single.kind, [])
        for group in rivals:
            if _same(group, single):
                for mine, theirs in (
                    (group.scores, single.scores),
                    (group.successes, single.successes),
                ):
                    for step, figures in theirs.items():
                        mine.setdefault(step, {}).update(figures)
                group.runs += single.runs
                break
        else:
            groups.append(single)
            rivals.append(single)
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


def _single(run: Run) -> Group:
    config, summary = run.config(), run.summary()
    if missing := [key for key in _NEEDED if key not in config]:
        raise UserError(f"{run.path}/config.yaml lacks {', '.join(missing)}: restore it.")
    settings = agents.completed(config["agent"], config["agent_settings"])
    config = config | {"agent_settings": settings}
    dataset = summary.get("dataset", config["dataset"])
    k = summary.get("k", settings.get("k", "-"))
    group = Group(
        config, str(dataset), episodes=config["episodes"], k=k, runs=[run],
        environment=summary.get("environment"),
    )  # fmt: skip
    if not run.evaluations.exists():
        return group
    rows, task = read(run.evaluations), group.task
    figures, group.unit = rows["return"], RETURN
    if task.reference is not None:
        figures, group.unit = task.score(figures), SCORE
    elif not np.isnan(rows["success"]).any():
        figures, group.unit = 100.0 * rows["success"], SUCCESS
    for step in np.unique(rows["step"]).tolist():
        for seed in np.unique(rows["seed"]).tolist():
            at = (rows["step"] == step) & (rows["seed"] == seed)
            if at.any():
                group.scores.setdefault(step, {})[seed] = float(figures[at].mean())
                group.played[step] = int(at.sum())
                group.successes.setdefault(step, {})[seed] = float(rows["success"][at].mean())
    reached, level = (
        value if isinstance(value, int | float) else None
        for value in (summary.get("data_success_rate"), summary.get("data_return"))
    )
    if reached is not None and (task.goal_reaching or group.unit == SUCCESS):
        group.data_level = 100 * reached
    elif level is not None and not task.goal_reaching and group.unit != SUCCESS:
        group.data_level = float(task.score(level)) if group.unit == SCORE else level
    return group


def _unscored(run: Run) -> str:
    return f"{run.path} has not been evaluated yet: train it to its first evaluation."


def _same(one: Group, other: Group) -> bool:
    """Return whether two groups of one kind become one row."""
    alike = one.conditions == other.conditions
    # A row needs a step that all of its seeds were evaluated at.
    joint = set(one.steps()) & set(other.steps()) or not (one.scores or other.scores)
    return alike and bool(joint) and not one.seeds & other.seeds
