"""Learning curves, with the levels of the data's own policy and of behaviour cloning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gtp_fast.evaluation.record import Figures
from gtp_fast.runs import Run
from gtp_fast.studies import stats
from gtp_fast.studies.group import SUCCESS, Group
from gtp_fast.studies.groups import collect, labels
from gtp_fast.system.figure import figure as canvas


def learning_curve(run: Run, clone: Run | None = None, path: Path | None = None) -> Path:
    """Draw a run's learning curve with the levels of its data and a clone.

    Returns the file, by default learning_curve.png in the run folder.
    """
    path = path or run.path / "learning_curve.png"
    draw(collect([str(r) for r in (run.path, clone and clone.path) if r is not None]), path)
    return path


def draw(groups: Sequence[Group], path: Path) -> None:
    """Draw one panel a task and unit into a file; its ending chooses the format.

    Lines are means over seeds, bands their 95 % bootstrap intervals. UserError without matplotlib,
    or when the file cannot be written.
    """
    names = dict(zip(map(id, groups), labels(groups), strict=True))
    panels = list(dict.fromkeys((group.task.name, unit(group)) for group in groups))
    figure, save = canvas(6.4 * len(panels), 4.2)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (task, measure) in zip(axes, panels, strict=True):
        members = [group for group in groups if (group.task.name, unit(group)) == (task, measure)]
        colours = {id(group): f"C{i}" for i, group in enumerate(members)}
        end = max(group.steps()[-1] for group in members)
        for group in members:
            colour = colours[id(group)]
            steps = group.steps()
            if group.clones and not all(member.clones for member in members):
                values = plotted(group, steps[-1])
                low, high = band(values)
                axis.axhline(values.mean(), color=colour, linestyle="--", label="behaviour cloning")
                axis.axhspan(low, high, color=colour, alpha=0.12, linewidth=0)
                continue
            curves = [plotted(group, step) for step in steps]
            axis.plot(steps, [v.mean() for v in curves], "o-", color=colour, label=names[id(group)])
            edges = np.array([band(v) for v in curves])
            axis.fill_between(steps, edges[:, 0], edges[:, 1], color=colour, alpha=0.2, linewidth=0)
        level = next((m.data_level for m in members if m.data_level is not None), None)
        if level is not None:
            axis.axhline(level, color="black", linestyle=":", label="the data's own policy")
        datasets = " / ".join(dict.fromkeys(member.dataset for member in members))
        axis.set(
            title=f"{task}, trained on {datasets}", xlabel="updates", xlim=(0, end * 1.02),
            ylabel=measure,
        )  # fmt: skip
        axis.grid(alpha=0.3)
        axis.legend(loc="best", fontsize="small")
    save(path)


def unit(group: Group) -> str:
    """Return the unit of what `plotted` returns."""
    return SUCCESS if group.task.goal_reaching else group.unit


def plotted(group: Group, step: int) -> Figures:
    """Return the plotted figure of each seed [S]: success in percent for mazes, else scores."""
    if not group.task.goal_reaching:
        return group.values(step)
    return 100.0 * group.success(step)


def band(values: Figures) -> tuple[float, float]:
    """Return the 95 % interval of the mean of seeds [S]; the mean itself for a single seed."""
    low, high = stats.bootstrap_interval([values], stats.mean)
    return (float(values.mean()),) * 2 if np.isnan(low) else (low, high)
