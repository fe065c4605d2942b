"""Health of the guidance, spread of the actions, and losses over the updates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gtp_fast.runs import guidance
from gtp_fast.studies import losses as losses_of
from gtp_fast.studies.page import html
from gtp_fast.studies.page.html import Html, tag
from gtp_fast.studies.page.read import Member, curve
from gtp_fast.studies.page.scores import tasks
from gtp_fast.studies.page.svg import Chart, Line, panels

_QUARTILES = ("worst", "2nd", "3rd", "best")


def health(members: Sequence[Member]) -> Html | None:
    """Return effective sample size, agreement and order of the weights, and error of the map."""
    parts: list[Html | None] = [_warnings(members)]
    shown: list[Member] = []
    for task in tasks(members):
        own = [m for m in members if m.task == task]
        charts = [
            Chart("Effective sample size", _over(own, "weight_ess", weighted=True),
                  "of the weights, share of rows",
                  [(guidance.LEAST_ESS, "noise below")], pinned=(0.0, 1.0)),
            Chart("Agreement", _over(own, "weight_correlation", weighted=True),
                  "correlation of two draws of the weights",
                  [(guidance.LEAST_CORRELATION, "noise below")], pinned=(0.0, 1.0)),
            Chart("Weight against score", _by_quartile(own), "mean weight",
                  names=_QUARTILES, x_label="quartile of episodes by score", pinned=(0.0,)),
            Chart("Error of the mean action",
                  [*_over(own, "map_error"), *_over(own, "euler_error", dashed=True)],
                  "line: K-step map, dashes: Euler", pinned=(0.0,)),
        ]  # fmt: skip
        drawn = panels(charts)
        if drawn is not None:
            several = len(tasks(members)) > 1
            parts += [tag("h3", task) if several else None, drawn]
            drawn_names = {line.name for chart in charts for line in chart.lines}
            shown += [m for m in own if m.name in drawn_names]
    if shown:
        names = list(dict.fromkeys((m.name, m.colour) for m in shown))
        parts.insert(1, html.legend(names))
        parts.append(html.note(
            "Means over seeds, bands from the lowest to the highest seed. A healthy run has an "
            "effective sample size and an agreement above the dotted levels, weights that rise "
            "from the worst quartile of episodes to the best (by success where the task has a "
            "goal, else by return), and a map no worse than Euler steps."
        ))  # fmt: skip
    return html.joined(parts) if any(parts) else None


def spread(members: Sequence[Member]) -> Html | None:
    """Return the standard deviation of the actions in one state, by task."""
    charts = []
    for task in tasks(members):
        own = [m for m in members if m.task == task]
        lines = [*_over(own, "action_std_k_steps"), *_over(own, "action_std_one_jump", dashed=True)]
        charts.append(Chart(task, lines, "standard deviation of the actions", pinned=(0.0,)))
    drawn = panels(charts)
    if drawn is None:
        return None
    names = [(m.name, m.colour) for m in members if curve(m, "action_std_k_steps") is not None]
    return html.joined([
        html.legend(list(dict.fromkeys(names))),
        drawn,
        html.note(
            "Of several actions in one state, mean over states. Line: K steps of the sampler, "
            "dashes: one jump. A spread near 0 is a policy that has collapsed to one action."
        ),
    ])  # fmt: skip


def losses(members: Sequence[Member]) -> Html | None:
    """Return the losses over the updates, folded away."""
    parts: list[Html | None] = []
    several = len(tasks(members)) > 1
    for task in tasks(members):
        own = [m for m in members if m.task == task]
        names = dict.fromkeys(n for m in own for n in losses_of.names(m.columns))
        charts = [
            Chart(losses_of.title(n), [
                Line(m.name, m.colour, *losses_of.curve(m.columns, n)) for m in own
                if n in losses_of.names(m.columns)
            ]) for n in names
        ]  # fmt: skip
        drawn = panels(charts)
        if drawn is not None:
            parts += [tag("h3", task) if several else None, drawn]
    if not parts:
        return None
    names_of = list(dict.fromkeys((m.name, m.colour) for m in members))
    return html.details("Show the losses", html.legend(names_of), *parts)


def _warnings(members: Sequence[Member]) -> Html | None:
    said = [
        (run.path.name, sentence)
        for member in members
        for run in member.group.runs
        for sentence in guidance.of_run(guidance.read(run.metrics), member.group.config).values()
    ]
    if not said:
        return None
    items = (tag("li", tag("b", name), ": ", text) for name, text in dict.fromkeys(said))
    return tag("ul", *items, class_="warnings")


def _over(
    members: Sequence[Member], name: str, dashed: bool = False, weighted: bool = False
) -> list[Line]:
    lines = []
    for member in members:
        found = curve(member, name, weighted)
        if found is not None:
            steps, mean, low, high = found
            lines.append(Line(member.name, member.colour, steps, mean, low, high, dashed))
    return lines


def _by_quartile(members: Sequence[Member]) -> list[Line]:
    lines = []
    for member in members:
        figures = guidance.last(guidance.rows(member.columns))
        values = np.array([figures.get(f"weight_quartile_{i}", np.nan) for i in range(1, 5)])
        # Episodes of one score share a quartile, and leave others empty.
        held = values[np.isfinite(values)]
        if len(held) and np.ptp(held) > 0:
            lines.append(Line(member.name, member.colour, np.arange(4.0), values))
    return lines
