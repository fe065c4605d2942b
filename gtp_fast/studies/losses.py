"""Losses of runs over their updates, from metrics.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gtp_fast.errors import UserError
from gtp_fast.runs import metrics
from gtp_fast.studies.group import Group
from gtp_fast.studies.groups import labels
from gtp_fast.system.figure import figure as canvas

_MOST_POINTS = 200
_ENDING = "_loss"

Columns = Mapping[str, NDArray[np.float64]]
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def names(columns: Columns) -> list[str]:
    """Return the columns of metrics.csv that hold a loss which was trained.

    One that is 0 throughout was not: the critic's, in a run without a critic.
    """
    # Rows of evaluations have no losses.
    return [n for n in columns if n.endswith(_ENDING) and np.any(np.nan_to_num(columns[n]))]


def title(name: str) -> str:
    """Return a column's name as words: Critic loss."""
    return name.replace("_", " ").capitalize()


def curve(columns: Columns, name: str) -> Curve:
    """Return steps and values of one metric, its mean over seeds, at most 200 of them.

    Neighbouring rows are averaged where there are more. Empty without the column or a figure.
    """
    if name not in columns:
        return np.empty(0), np.empty(0)
    held = np.isfinite(columns[name]) & np.isfinite(columns["step"])
    if not held.any():
        return np.empty(0), np.empty(0)
    steps, rows = np.unique(columns["step"][held], return_inverse=True)
    means = np.bincount(rows, columns[name][held]) / np.bincount(rows)
    share = -(-len(steps) // _MOST_POINTS)
    starts = np.arange(0, len(steps), share)
    counts = np.diff([*starts, len(steps)])
    ends = np.minimum(starts + share, len(steps)) - 1
    return steps[ends], np.add.reduceat(means, starts) / counts


def draw(groups: Sequence[Group], path: Path) -> None:
    """Draw the losses into a file: a row a task, a column a loss; one line a group of runs.

    UserError without a loss, without matplotlib, or when the file cannot be written.
    """
    found: list[tuple[Group, str, Columns]] = [
        (group, label, joined(group)) for group, label in zip(groups, labels(groups), strict=True)
    ]
    tasks = list(dict.fromkeys(group.task.name for group in groups))
    titles = list(dict.fromkeys(name for _, _, columns in found for name in names(columns)))
    if not titles:
        raise UserError(
            "No run has a loss in its metrics.csv: train it for --log-every updates first."
        )
    figure, save = canvas(4.2 * len(titles), 3.2 * len(tasks))
    axes = figure.subplots(len(tasks), len(titles), squeeze=False)
    for row, task in zip(axes, tasks, strict=True):
        members = [(label, columns) for group, label, columns in found if group.task.name == task]
        for axis, name in zip(row, titles, strict=True):
            for i, (label, columns) in enumerate(members):
                steps, values = curve(columns, name)
                if len(steps) and name in names(columns):
                    # A line through one point is nothing to see.
                    marker = "o" if len(steps) == 1 else None
                    axis.plot(steps, values, color=f"C{i}", label=label, marker=marker)
            axis.set(title=f"{task}: {title(name).lower()}", xlabel="updates")
            axis.grid(alpha=0.3)
            if axis.lines:
                axis.legend(loc="best", fontsize="small")
            else:
                axis.set_axis_off()
    save(path)


def joined(group: Group) -> dict[str, NDArray[np.float64]]:
    """Return metrics.csv of all runs of a group, one below the other; nan where one lacks some.

    Rows of the group's seeds alone: its runs may have others, with settings of their own.
    """
    whole = [metrics.read(run.metrics) for run in group.runs if run.metrics.exists()]
    seeds = sorted(group.seeds)
    tables = [
        {name: column[np.isin(table["seed"], seeds)] for name, column in table.items()}
        for table in whole
    ]
    return {
        name: np.concatenate(
            [table.get(name, np.full(len(table["step"]), np.nan)) for table in tables]
        )
        for name in dict.fromkeys(name for table in tables for name in table)
    }
