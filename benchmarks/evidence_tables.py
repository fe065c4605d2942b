"""Tables of the evidence: scores by task and label, and P(GTP better)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.evidence_runs import Campaign, Record
from gtp_fast.studies import stats
from gtp_fast.studies.markdown import table as markdown

OURS = "gtp"


@dataclass(frozen=True)
class Row:
    """All runs of one label at one length and one width."""

    name: str
    main: bool
    """Whether length and width are those of the campaign."""
    runs: Mapping[str, Sequence[Record]]
    """Task -> records."""

    @property
    def first(self) -> Record:
        """A record; all of a row share length and width."""
        return next(iter(self.runs.values()))[0]

    def scores(self, task: str) -> list[float]:
        """Return the last score of every seed on a task."""
        return [score for record in self.runs[task] for score in record["scores"]]


def rows(records: Sequence[Record], campaign: Campaign) -> list[Row]:
    """Return a row for every label, length and width, those of the campaign first."""
    labels = list(dict.fromkeys([*campaign.labels, *(record["label"] for record in records)]))
    found: dict[tuple[bool, int, int, int], dict[str, list[Record]]] = {}
    for record in records:
        steps, width = record["steps"], record["width"]
        other = (steps, width) != (campaign.steps, campaign.width)
        key = (other, labels.index(record["label"]), steps, width)
        found.setdefault(key, {}).setdefault(record["task"], []).append(record)
    table = []
    for (other, place, steps, width), runs in sorted(found.items()):
        name = labels[place]
        name += f", {steps:,}" if steps != campaign.steps else ""
        name += f", width {width}" if width != campaign.width else ""
        table.append(Row(name, not other, runs))
    return table


def order_of(table: Sequence[Row], campaign: Campaign) -> list[str]:
    """Return the tasks that have runs: those of the campaign, then the others."""
    found = sorted({task for row in table for task in row.runs})
    return [t for t in campaign.tasks if t in found] + [t for t in found if t not in campaign.tasks]


def common_tasks(table: Sequence[Row], order: Sequence[str]) -> list[str]:
    """Return the tasks that every label has at the campaign's length and width.

    A label with runs of less than half of the tasks does not count: it has no average.
    """
    main = [row for row in table if row.main and 2 * len(row.runs) >= len(order)]
    return [task for task in order if main and all(task in row.runs for row in main)]


def score_table(
    table: Sequence[Row], order: Sequence[str], common: Sequence[str], records: Sequence[Record]
) -> str:
    """Return the table of tasks by labels, with averages of common and of all tasks."""
    levels = {record["task"]: record["data_level"] for record in records}
    lines = []
    for task in order:
        level = "-" if levels[task] is None else f"{levels[task]:.1f}"
        lines.append([task, level, *(_cell(row.runs.get(task, ())) for row in table)])
    lines += _means(table, common, "")
    if len(common) < len(order):
        lines += _means(table, order, f", all {len(order)} tasks")
    return markdown(["task", "data", *(row.name for row in table)], lines, aligned=False)


def _means(table: Sequence[Row], tasks: Sequence[str], which: str) -> list[list[str]]:
    """Return the lines of average and IQM over tasks; a label without one of them has none."""
    lines = []
    for name, of in (("average", stats.average), ("IQM", lambda strata: stats.iqm)):
        cells = []
        for row in table:
            strata = [row.scores(task) for task in tasks if task in row.runs]
            whole = len(strata) == len(tasks) > 0
            cells.append(_figure(strata, of(strata)) if whole else "-")
        lines.append([f"**{name}{which}**", "", *cells])
    return lines


def _cell(records: Sequence[Record]) -> str:
    """Return mean, interval and number of seeds of a cell."""
    scores = [score for record in records for score in record["scores"]]
    if not scores:
        return "-"
    if len(scores) > 1:
        return f"{_figure([scores], stats.mean)} ({len(scores)})"
    interval = records[0]["intervals"][0]
    return f"{scores[0]:.1f}" + (_interval(*interval) if interval else "") + " (1)"


def _figure(strata: Sequence[Sequence[float]], statistic: stats.Statistic) -> str:
    """Return a statistic with its interval, which needs two seeds of every task."""
    value = f"{float(statistic(np.concatenate(strata))):.1f}"
    if min(map(len, strata)) < 2:
        return value
    return value + _interval(*stats.bootstrap_interval(strata, statistic))


def _interval(low: float, high: float) -> str:
    return f" [{low:.1f}, {high:.1f}]"


def sum_table(table: Sequence[Row], order: Sequence[str]) -> str:
    """Return the Markdown table of runs, chances and hours, a line a label."""
    ours = next((row for row in table if row.main and row.name == OURS), None)
    head = ["label", "updates", "tasks", "runs", f"P({OURS} better)", "hours per seed"]
    lines = []
    for row in table:
        members = [record for runs in row.runs.values() for record in runs]
        # A run that an interruption kept from its summary knows no rate.
        hours = [h for r in members if (h := r["hours_per_seed"]) is not None for _ in r["seeds"]]
        seeds = sum(len(record["seeds"]) for record in members)
        lines.append([
            row.name, f"{row.first['steps']:,}", str(len(row.runs)), str(seeds),
            "-" if ours in (None, row) else chance(ours, row, order),
            f"{np.mean(hours):.2f}" if hours else "-",
        ])  # fmt: skip
    return markdown(head, lines, aligned=False)


def chance(ours: Row, theirs: Row, order: Sequence[str]) -> str:
    """Return P(a run of ours > one of theirs), mean over common tasks, or -."""
    both = [task for task in order if task in ours.runs and task in theirs.runs]
    if not both:
        return "-"
    pairs = [[row.scores(task) for task in both] for row in (ours, theirs)]
    return f"{stats.probability_of_improvement(*pairs):.2f}"
