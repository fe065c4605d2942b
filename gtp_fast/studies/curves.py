"""Learning curves beside what the data's own policy and behaviour cloning reach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gtp_fast.errors import UserError
from gtp_fast.studies import stats

if TYPE_CHECKING:
    from gtp_fast.report import Figures, Group


def draw(groups: Sequence[Group], path: Path) -> None:
    """Draw one panel a task into a file whose ending chooses the format.

    Lines are means over seeds, bands their 95 % bootstrap intervals. UserError without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "Plots need matplotlib: pip install 'gtp_fast[plot]', or leave --plot out."
        ) from error
    from gtp_fast.report import labels

    names = dict(zip(map(id, groups), labels(groups), strict=True))
    panels = list(dict.fromkeys(group.task.name for group in groups))
    figure = Figure(figsize=(6.4 * len(panels), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, task in zip(axes, panels, strict=True):
        members = [group for group in groups if group.task.name == task]
        colours = {id(group): f"C{i}" for i, group in enumerate(members)}
        end = max(group.steps()[-1] for group in members)
        for group in members:
            colour = colours[id(group)]
            steps = group.steps()
            if group.clones and not all(member.clones for member in members):
                values = _values(group, steps[-1])
                low, high = _band(values)
                axis.axhline(values.mean(), color=colour, linestyle="--", label="behaviour cloning")
                axis.axhspan(low, high, color=colour, alpha=0.12, linewidth=0)
                continue
            curves = [_values(group, step) for step in steps]
            axis.plot(steps, [v.mean() for v in curves], "o-", color=colour, label=names[id(group)])
            edges = np.array([_band(v) for v in curves])
            axis.fill_between(steps, edges[:, 0], edges[:, 1], color=colour, alpha=0.2, linewidth=0)
        level = next((m.data_level for m in members if m.data_level is not None), None)
        if level is not None:
            axis.axhline(level, color="black", linestyle=":", label="the data's own policy")
        goal = members[0].task.goal_reaching
        datasets = " / ".join(dict.fromkeys(member.dataset for member in members))
        axis.set(
            title=f"{task}, trained on {datasets}", xlabel="updates", xlim=(0, end * 1.02),
            ylabel="success rate (%)" if goal else "normalised return",
        )  # fmt: skip
        axis.grid(alpha=0.3)
        axis.legend(loc="best", fontsize="small")
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise UserError(f"The plot {path} cannot be written: {error}.") from error


def _values(group: Group, step: int) -> Figures:
    """Return what is plotted, one number a seed: success in percent for mazes, else the score."""
    if not group.task.goal_reaching:
        return group.values(step)
    return 100.0 * group.success(step)


def _band(values: Figures) -> tuple[float, float]:
    low, high = stats.bootstrap_interval([values], stats.mean)
    return (float(values.mean()),) * 2 if np.isnan(low) else (low, high)
