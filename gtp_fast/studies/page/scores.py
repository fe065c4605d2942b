"""Scores, probability of improvement and learning curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gtp_fast.evaluation.record import Figures
from gtp_fast.studies import stats
from gtp_fast.studies.curves import band, plotted, unit
from gtp_fast.studies.group import RETURN, SCORE, SUCCESS
from gtp_fast.studies.page import html
from gtp_fast.studies.page.html import Html, tag
from gtp_fast.studies.page.read import Member
from gtp_fast.studies.page.svg import Chart, Line, drawable, panels, strip
from gtp_fast.studies.tables import interval

_HEAD = (
    "agent", "", "mean [95 %]", "IQM [95 %]", "best", "seeds", "episodes", "updates", "K",
    "candidates", "success",
)  # fmt: skip
_NUMBERS = tuple(range(2, len(_HEAD)))


def tasks(members: Sequence[Member]) -> list[str]:
    """Return the names of the tasks in the order of the runs."""
    return list(dict.fromkeys(member.task for member in members))


def scores(members: Sequence[Member]) -> Html | None:
    """Return the table of scores: one part a task, then parts over tasks."""
    members = [member for member in members if member.scored]
    if not members:
        return None
    # The last column stands only where some environment reports successes.
    tells = any(not np.isnan(m.group.success(m.group.steps()[-1])).all() for m in members)
    head = _HEAD if tells else _HEAD[:-1]
    parts = dict.fromkeys((m.task, m.group.unit) for m in members)
    bodies = [
        _task(name, [m for m in members if (m.task, m.group.unit) == (name, unit)], tells)
        for name, unit in parts
    ]
    titles = tag("tr", *(html.cell("th", c or " ", i, _NUMBERS, "col") for i, c in enumerate(head)))
    table = tag("table", tag("thead", titles), *bodies, *_over_tasks(members, tells))
    units = {m.group.unit for m in members}
    said = {
        SCORE: "normalised return 100 (R - min) / (max - min)",
        SUCCESS: "success rate in percent, where a task has no reference returns",
        RETURN: "return, where a task has neither reference returns nor successes",
    }
    meant = "; ".join(said[unit] for unit in said if unit in units)
    return html.joined([
        _warnings(members),
        html.scrolling(table, "scores"),
        html.note(
            f"Last checkpoint. Mean and interquartile mean (IQM) over seeds of the {meant}. "
            "Over tasks the mean gives every task one weight, the IQM every seed. "
            "Intervals: 95 % stratified bootstrap over seeds, none for a single seed. best: the "
            "highest mean of all evaluations, chosen on these same episodes. The bar shows the "
            "mean with its interval, on one scale within a task."
        ),
    ])  # fmt: skip


def _task(name: str, members: Sequence[Member], tells: bool) -> Html:
    lasts = [m.group.values(m.group.steps()[-1]) for m in members]
    rows = []
    span = _span(lasts)
    for member, values in zip(members, lasts, strict=True):
        group, step = member.group, member.group.steps()[-1]
        success = group.success(step).mean()
        best = group.best()
        rows.append(_row(member, [values], span, (
            html.joined([f"{group.values(best).mean():.1f}", tag("small", f" at {best:,}")]),
            len(group.seeds), group.played.get(step, group.episodes), f"{step:,}", group.k,
            group.num_candidates, *["" if np.isnan(success) else f"{success:.3f}"] * tells,
        )))  # fmt: skip
    datasets = " / ".join(dict.fromkeys(m.group.dataset for m in members))
    return _part(name, f"{members[0].group.unit}, trained on {datasets}", rows)


def _part(title: str, about: str, rows: Sequence[Html]) -> Html:
    heading = tag("span", title, tag("small", about))
    head = tag("th", heading, colspan=len(_HEAD), scope="rowgroup")
    return tag("tbody", tag("tr", head), *rows)


def _over_tasks(members: Sequence[Member], tells: bool) -> list[Html]:
    """Return one part for each set of tasks, with all agents that have it."""
    own: dict[str, dict[str, Member]] = {}
    for member in members:
        if member.group.unit == SCORE:
            own.setdefault(member.name, {})[member.task] = member
    sets = dict.fromkeys(frozenset(has) for has in own.values() if len(has) > 1)
    parts = []
    for shared in sorted(sets, key=len, reverse=True):
        strata = {
            name: [has[task].group.values(has[task].group.steps()[-1]) for task in sorted(shared)]
            for name, has in own.items()
            if shared <= has.keys()
        }
        span = _span([np.concatenate(values) for values in strata.values()])
        rows = [
            _row(next(iter(own[name].values())), values, span, ("",) * (6 + tells))
            for name, values in strata.items()
        ]
        about = ", ".join(sorted(shared)) if len(sets) > 1 else SCORE
        parts.append(_part(f"Over {len(shared)} tasks", about, rows))
    return parts


def _warnings(members: Sequence[Member]) -> Html | None:
    """Return which agents lack their last evaluation, and which of their seeds diverged."""
    said = [
        (m, f"{m.group.steps()[-1]:,} of {m.group.config['steps']:,} updates are evaluated.")
        for m in members
        if m.group.steps()[-1] < m.group.config["steps"]
    ]
    said += [
        (m, f"{', '.join(m.group.lost)} diverged and was evaluated as before.")
        for m in members
        if m.group.lost
    ]
    items = [tag("li", tag("b", f"{m.name} on {m.task}"), f": {text}") for m, text in said]
    return tag("ul", *items, class_="warnings") if items else None


def _row(
    member: Member, strata: Sequence[Figures], span: tuple[float, float], rest: Sequence[object]
) -> Html:
    values = np.concatenate(strata)
    mean = stats.average(strata)
    low, high = stats.bootstrap_interval(strata, mean)
    head = tag("th", html.swatch(member.colour), member.name, scope="row")
    drawn = drawable(values).all()
    cells = [strip(float(mean(values)), low, high, span, member.colour) if drawn else ""]
    cells += [
        _with_interval(interval(float(statistic(values)), strata, statistic))
        for statistic in (mean, stats.iqm)
    ]
    found = (html.cell("td", c, i, _NUMBERS) for i, c in enumerate((*cells, *rest), 1))
    return tag("tr", head, *found)


def _with_interval(text: str) -> Html:
    value, _, rest = text.partition(" ")
    return html.joined([value, tag("small", f" {rest}") if rest else None])


def _span(parts: Sequence[Figures]) -> tuple[float, float]:
    """Return the ends of a scale: from 0, or below it, to the highest score."""
    values = np.concatenate(parts)
    values = np.concatenate([values[drawable(values)], [0.0, 1e-9]])
    return float(values.min()), float(values.max())


def improvement(members: Sequence[Member]) -> Html | None:
    """Return the matrix of probabilities of improvement; None for a single agent."""
    members = [m for m in members if m.scored]
    names = {m.name: m.colour for m in members}
    found = {
        (one, other): chance
        for one in names
        for other in names
        if one != other and (chance := _chance(members, one, other)) is not None
    }
    if not found:
        return None
    rows = [
        [html.joined([html.swatch(colour), one])]
        + [found.get((one, other), "" if one != other else "-") for other in names]
        for one, colour in names.items()
    ]
    made = html.table(["", *names], rows, "probability of improvement", range(1, len(names) + 1))
    return html.joined([
        tag("div", made, class_="matrix"),
        html.note(
            "Probability that a run of the row's agent scores higher than one of the column's on "
            "the same task; ties count half, tasks count alike. In brackets the 95 % bootstrap "
            "interval over seeds, and the number of tasks where there are several."
        ),
    ])  # fmt: skip


def _chance(members: Sequence[Member], one: str, other: str) -> Html | None:
    ours, theirs = [], []
    for task in tasks(members):
        mine, rival = (
            next((m for m in members if (m.task, m.name) == (task, n)), None) for n in (one, other)
        )
        if mine is not None and rival is not None and mine.group.unit == rival.group.unit:
            ours.append(mine.group.values(mine.group.steps()[-1]))
            theirs.append(rival.group.values(rival.group.steps()[-1]))
    if not ours:
        return None
    low, high = stats.improvement_interval(ours, theirs)
    about = [] if np.isnan(low) else [f"{low:.2f}, {high:.2f}"]
    about += [f"{len(ours)} tasks"] * (len(ours) > 1)
    chance = stats.probability_of_improvement(ours, theirs)
    small = tag("small", f" [{'; '.join(about)}]") if about else None
    return html.joined([f"{chance:.2f}", small])


def curves(members: Sequence[Member]) -> Html | None:
    """Return one learning curve a task, with the level of the data's own policy."""
    members = [m for m in members if m.scored]
    charts = []
    for task, measure in dict.fromkeys((m.task, unit(m.group)) for m in members):
        own = [m for m in members if (m.task, unit(m.group)) == (task, measure)]
        lines = []
        for member in own:
            steps = member.group.steps()
            values = [plotted(member.group, step) for step in steps]
            edges = np.array([band(v) for v in values])
            mean = np.array([v.mean() for v in values])
            lines.append(Line(member.name, member.colour, np.array(steps, float), mean, *edges.T))
        level = next((m.group.data_level for m in own if m.group.data_level is not None), None)
        levels = [] if level is None else [(level, "the data's own policy")]
        # One evaluation is no curve; the table has it.
        if any(len(line.x) > 1 for line in lines):
            charts.append(Chart(task, lines, measure, levels, pinned=(0.0,)))
    drawn = panels(charts, least=1, most=2)
    if drawn is None:
        return None
    names = list(dict.fromkeys((line.name, line.colour) for c in charts for line in c.lines))
    return html.joined(
        [html.legend(names), drawn, html.note("Mean over seeds, and its 95 % bootstrap interval.")]
    )
