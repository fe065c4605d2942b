"""python -m gtp_fast.report RUN...: scores with their intervals, datasets named, and learning
curves.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from gtp_fast import cli, runs, tasks
from gtp_fast.errors import UserError
from gtp_fast.runs import guidance
from gtp_fast.runs.evaluations import read
from gtp_fast.studies import stats

Figures = NDArray[np.float64]
_HEADER = (
    "task", "dataset", "agent", "updates", "checkpoint", "seeds", "episodes", "K", "num_candidates",
    "mean [95 %]", "IQM [95 %]", "success",
)  # fmt: skip
_NEEDED = ("task", "dataset", "agent", "agent_settings", "steps", "episodes")


@dataclass(frozen=True)
class Options:
    """Which runs are reported, and how."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """Run folders. Runs that differ in nothing but their seeds become one row."""
    plot: str | None = None
    """Write the learning curves into this file (.png, .svg or .pdf); runs with eta = 0 are drawn as
    the level of behaviour cloning."""


@dataclass
class Group:
    """Runs of one configuration: their scores by evaluated step, one a seed."""

    config: dict[str, Any]
    dataset: str
    """Name of the dataset."""
    scores: dict[int, dict[int, float]] = field(default_factory=dict)
    """Step -> seed -> mean score of its episodes."""
    successes: dict[int, dict[int, float]] = field(default_factory=dict)
    """Step -> seed -> share of successful episodes, nan where nobody tells."""
    episodes: int = 0
    k: Any = "-"
    """Steps of the sampler."""
    data_level: float | None = None
    """What the data's own policy reaches, in the figure that is plotted."""

    @property
    def task(self) -> tasks.Task:
        """The task of every run in the group."""
        return tasks.find(self.config["task"])

    @property
    def settings(self) -> dict[str, Any]:
        """The agent's settings."""
        settings: dict[str, Any] = self.config["agent_settings"]
        return settings

    @property
    def clones(self) -> bool:
        """Whether this is behaviour cloning: no value guidance for any seed."""
        return "eta" in self.settings and not np.any(self.settings["eta"])

    @property
    def seeds(self) -> set[int]:
        """Training seeds in the group."""
        return {seed for figures in self.scores.values() for seed in figures}

    def steps(self) -> list[int]:
        """Return the steps at which every seed was evaluated, ascending."""
        count = len(self.seeds)
        return sorted(step for step, figures in self.scores.items() if len(figures) == count)

    def best(self) -> int:
        """Return the step with the highest mean score."""
        return max(self.steps(), key=lambda step: float(np.mean(list(self.scores[step].values()))))

    def values(self, step: int) -> Figures:
        """Return the scores of all seeds at a step [S]."""
        return np.array([self.scores[step][seed] for seed in sorted(self.scores[step])])

    def success(self, step: int) -> Figures:
        """Return the success rates of all seeds at a step [S], nan where nobody tells."""
        return np.array([self.successes[step][seed] for seed in sorted(self.successes[step])])


def main(argv: Sequence[str]) -> int:
    """Report as the command line says; return the exit code."""
    options = cli.parse(Options, argv, "python -m gtp_fast.report", "Compare trained runs.")
    groups = collect(options.runs)
    print(table(groups))
    notes = [line for path in options.runs for line in guidance.report(runs.open_run(path))]
    if notes:
        print("\n" + "\n".join(notes))
    if options.plot is not None:
        from gtp_fast.studies import curves

        curves.draw(groups, Path(options.plot))
        print(f"\nplot: {options.plot}")
    return 0


def plot_learning_curve(
    run: runs.Run, clone: runs.Run | None = None, path: Path | None = None
) -> Path:
    """Draw the learning curve of a run beside its data's own policy and a clone's level.

    Returns the file, by default learning_curve.png in the run folder.
    """
    from gtp_fast.studies import curves

    path = path or run.path / "learning_curve.png"
    curves.draw(collect([str(r) for r in (run.path, clone and clone.path) if r is not None]), path)
    return path


def collect(paths: Sequence[str]) -> list[Group]:
    """Read runs and join those that differ in their seeds only; UserError when one has no
    scores.
    """
    if not paths:
        raise UserError("Name at least one run folder to report.")
    groups: list[Group] = []
    for path in paths:
        run = runs.open_run(path)
        if not run.evaluations.exists():
            raise UserError(_unscored(run))
        single = _single(run)
        for group in groups:
            if _same(group, single):
                for mine, theirs in (
                    (group.scores, single.scores),
                    (group.successes, single.successes),
                ):
                    for step, figures in theirs.items():
                        mine.setdefault(step, {}).update(figures)
                break
        else:
            groups.append(single)
    return groups


def table(groups: Sequence[Group]) -> str:
    """Return the Markdown table of all groups; last and best evaluation have rows of their own."""
    names = labels(groups)
    rows: list[Sequence[str]] = [_HEADER]
    for group, name in zip(groups, names, strict=True):
        last, best = group.steps()[-1], group.best()
        for kind, step in (("last", last), ("best", best)):
            success = group.success(step).mean()
            rows.append((
                group.task.name, group.dataset, name, f"{step:,}", kind,
                str(len(group.seeds)), str(group.episodes), str(group.k),
                str(group.settings.get("num_candidates", 1)), *_figures([group.values(step)]),
                "-" if np.isnan(success) else f"{success:.3f}",
            ))  # fmt: skip
    for name in dict.fromkeys(names):
        members = [group for group, label in zip(groups, names, strict=True) if label == name]
        if len({group.task.name for group in members}) > 1:
            figures = _figures([group.values(group.steps()[-1]) for group in members])
            blank = ("",) * 4
            rows.append((f"all {len(members)}", "", name, "", "last", *blank, *figures, ""))
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines) + (
        "\n\nMean and IQM over seeds of the normalised return 100 (R - min) / (max - min); "
        "intervals: 95 % stratified bootstrap.\n"
        "success: share of episodes with a success. best: the evaluation with the highest mean, "
        "chosen on these same episodes."
    )


def labels(groups: Sequence[Group]) -> list[str]:
    """Return each group's agent, with the settings that tell it from others of its task."""
    names = []
    for group in groups:
        agent, settings = group.config["agent"], group.settings
        rivals = [
            other.settings
            for other in groups
            if (other.config["agent"], other.task.name) == (agent, group.task.name)
        ]
        differing = [key for key in settings if any(r.get(key) != settings[key] for r in rivals)]
        shown = [f"{key}={_short(settings[key])}" for key in differing]
        names.append(f"{agent} ({', '.join(shown)})" if shown else agent)
    return names


def _single(run: runs.Run) -> Group:
    rows, config, summary = read(run.evaluations), run.config(), run.summary()
    if missing := [key for key in _NEEDED if key not in config]:
        raise UserError(f"{run.path}/config.yaml lacks {', '.join(missing)}: restore it.")
    dataset = summary.get("dataset", config["dataset"])
    k = summary.get("k", config["agent_settings"].get("k", "-"))
    group = Group(config, dataset, episodes=config["episodes"], k=k)
    task = group.task
    for step in np.unique(rows["step"]).tolist():
        for seed in np.unique(rows["seed"]).tolist():
            at = (rows["step"] == step) & (rows["seed"] == seed)
            if at.any():
                score = float(task.score(rows["return"][at]).mean())
                group.scores.setdefault(step, {})[seed] = score
                group.successes.setdefault(step, {})[seed] = float(rows["success"][at].mean())
    if not group.scores:
        raise UserError(_unscored(run))
    level = summary.get("data_success_rate" if task.goal_reaching else "data_return")
    if level is not None:
        group.data_level = 100 * level if task.goal_reaching else float(task.score(level))
    return group


def _unscored(run: runs.Run) -> str:
    return f"{run.path} has not been evaluated yet: train it to its first evaluation."


def _same(one: Group, other: Group) -> bool:
    alike = all(one.config.get(key) == other.config.get(key) for key in (*_NEEDED, "rules"))
    return alike and not one.seeds & other.seeds


def _figures(strata: Sequence[Figures]) -> list[str]:
    cells = []
    for statistic in (stats.mean, stats.iqm):
        value = float(statistic(np.concatenate(strata)))
        low, high = stats.bootstrap_interval(strata, statistic)
        cells.append(f"{value:.1f}" + ("" if np.isnan(low) else f" [{low:.1f}, {high:.1f}]"))
    return cells


def _short(value: Any) -> str:
    return "/".join(f"{v:g}" for v in value) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    sys.exit(cli.run(main))
