"""Tables of scores and costs: of single runs, and of a comparison of agents."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtp_fast.evaluation.record import Figures
from gtp_fast.runs import plain
from gtp_fast.studies import markdown, stats
from gtp_fast.studies.group import CLONE, SCORE, Group
from gtp_fast.studies.groups import labels
from gtp_fast.system.files import write_atomically
from gtp_fast.system.numbers import many

OURS = "gtp"
_CANDIDATES = (
    "num_candidates: actions drawn for each decision; the target critic chooses one of them."
)
_CLONES = f"{CLONE} is gtp with eta = 0: the same agent without value guidance."
_BY_EPISODES = "gtp is guided by whole episodes and trains no critic (docs/guidance.md)"
_ACTING = {"candidate_rule": "softmax", "noise_scale": 1.0, "act_by": "map"}
"""How a policy acts by default."""
_HEADER = (
    "task", "dataset", "agent", "updates", "checkpoint", "seeds", "episodes", "K", "num_candidates",
)  # fmt: skip


def unusual(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return which ways of acting differ from their default in some row.

    A row without a value, or with None, acts as by default.
    """
    return [n for n, usual in _ACTING.items() if any(r.get(n) not in (None, usual) for r in rows)]


def acting(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return a row's cells of the columns that `unusual` names."""
    values = [row.get(name) for name in names]
    return [
        "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        for value in values
    ]


def run_table(groups: Sequence[Group]) -> str:
    """Return the table of groups of runs; last and best evaluation have a row each."""
    names, ways = labels(groups), [_ways(group) for group in groups]
    extra = unusual(ways)
    rows: list[Sequence[str]] = []
    for group, name, way in zip(groups, names, ways, strict=True):
        last, best = group.steps()[-1], group.best()
        for kind, step in (("last", last), ("best", best)):
            success = group.success(step).mean()
            rows.append((
                group.task.name, group.dataset, name, f"{step:,}", kind, str(len(group.seeds)),
                str(group.played.get(step, group.episodes)), str(group.k),
                str(group.num_candidates), *acting(way, extra),
                *_figures([group.values(step)]), "-" if np.isnan(success) else f"{success:.3f}",
            ))  # fmt: skip
    over = False
    for name in dict.fromkeys(names):
        members = [g for g, n in zip(groups, names, strict=True) if n == name and g.unit == SCORE]
        if len({group.task.name for group in members}) > 1:
            over = True
            figures = _figures([group.values(group.steps()[-1]) for group in members])
            blank = ("",) * (4 + len(extra))
            rows.append((f"all {len(members)}", "", name, "", "last", *blank, *figures, ""))
    head = (*_HEADER, *extra, "mean [95 %]", "IQM [95 %]", "success")
    others = _without_reference(groups, names)
    lost = [
        f"{group.task.name}, {name}, {', '.join(group.lost)}"
        for group, name in zip(groups, names, strict=True)
        if group.lost
    ]
    diverged = f"\n{_diverged_note(lost)}" if lost else ""
    if over and others:
        others.append(" all: over the tasks with references alone.")
    if over:
        others.append(" all: every task has one weight in the mean, every seed in the IQM.")
    return markdown.table(head, rows) + (
        "\n\nMean and IQM over seeds of the normalised return 100 (R - min) / (max - min); "
        f"intervals: 95 % stratified bootstrap.{''.join(others)}\n"
        "success: share of episodes with a success. best: the evaluation with the highest mean, "
        f"chosen on these same episodes.{diverged}"
    )


def _without_reference(groups: Sequence[Group], names: Sequence[str]) -> list[str]:
    """Return the notes on rows that hold something else than normalised returns."""
    units: dict[str, set[str]] = {}
    for group in groups:
        units.setdefault(group.task.name, set()).add(group.unit)
    rows = dict.fromkeys(
        (group.task.name if len(units[group.task.name]) == 1 else f"{group.task.name}, {name}",
         group.unit)
        for group, name in zip(groups, names, strict=True) if group.unit != SCORE
    )  # fmt: skip
    return [f" {row}: of the {unit}, for want of references." for row, unit in rows]


def _ways(group: Group) -> dict[str, Any]:
    """Return how a group's policies act; a rule counts only among several candidates."""
    rule = group.settings.get("candidate_rule") if group.num_candidates > 1 else None
    return {"candidate_rule": rule} | {n: group.settings.get(n) for n in ("noise_scale", "act_by")}


def _figures(strata: Sequence[Figures]) -> list[str]:
    return [
        interval(float(statistic(np.concatenate(strata))), strata, statistic)
        for statistic in (stats.average(strata), stats.iqm)
    ]


def interval(value: float, strata: Sequence[Any], statistic: stats.Statistic) -> str:
    """Return a figure with its 95 % bootstrap interval, if every task has two scores."""
    return _interval(value, *stats.bootstrap_interval(strata, statistic))


def _diverged_note(lost: Sequence[str]) -> str:
    return f"Diverged, and evaluated as before: {'; '.join(lost)}."


def guidance_note(published: bool) -> str:
    """Return what a table with GTP guided by episodes is to be read with.

    published: whether published scores stand beside it.
    """
    return _BY_EPISODES + ("; the published gtp has a critic's weights." if published else ".")


def score_rows(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row of figures for each agent; found: agent -> scores [seeds] and protocol."""
    rows = []
    for agent, result in found.items():
        scores = np.array(result["scores"], dtype=np.float64)
        low, high = stats.bootstrap_interval([scores], stats.mean)
        iqm_low, iqm_high = stats.bootstrap_interval([scores], stats.iqm)
        chance = None
        if OURS in found and agent != OURS:
            chance = stats.probability_of_improvement([found[OURS]["scores"]], [scores])
        rows.append({
            "agent": agent, "mean": scores.mean(), "low": low, "high": high,
            "iqm": stats.iqm(scores), "iqm_low": iqm_low, "iqm_high": iqm_high,
            "gtp_better": chance, "published": result["published"], "seeds": len(scores),
            **{key: result[key] for key in ("updates", "k", "num_candidates", "episodes")},
            **{key: result.get(key) for key in (*_ACTING, "width")},
            "diverged": ", ".join(result.get("diverged", ())),
        })  # fmt: skip
    return rows


def score_table(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> str:
    """Return the Markdown table of scores with what it must be read with."""
    published = any(row["published"] is not None for row in rows)
    head = ["agent", "mean [95 %]", "IQM [95 %]", "P(gtp better)"]
    extra = unusual(rows)
    head += ["published"] * published + ["updates", "K", "num_candidates", *extra]
    lines = []
    for row in rows:
        cells = [
            row["agent"],
            _interval(row["mean"], row["low"], row["high"]),
            _interval(row["iqm"], row["iqm_low"], row["iqm_high"]),
            _number(row["gtp_better"], "{:.2f}"),
        ]
        cells += [_number(row["published"], "{:.1f}")] * published
        cells += [f"{row['updates']:,}", str(row["k"]), str(row["num_candidates"])]
        lines.append([*cells, *acting(row, extra)])
    first = rows[0]
    notes = [
        f"Last checkpoint, {many(first['seeds'], 'seed')}, {many(first['episodes'], 'episode')} "
        "each, in "
        f"{about['environment']}. Normalised return 100 (R - min) / (max - min); intervals: 95 % "
        "bootstrap over seeds. P(gtp better): probability that a run of gtp scores higher than one "
        f"of the agent. {_CANDIDATES}",
        _dataset_note(about, published),
    ]
    if lost := [f"{row['agent']}, {row['diverged']}" for row in rows if row["diverged"]]:
        notes.append(_diverged_note(lost))
    if about.get("by_episodes") and any(row["agent"] == OURS for row in rows):
        notes.append(guidance_note(published))
    widths = {row["agent"]: row["width"] for row in rows if row["agent"] in (OURS, CLONE)}
    if CLONE in widths:
        notes.append(_CLONES)
    if len(set(widths.values())) > 1:
        said = " and ".join(f"{name} {width}" for name, width in widths.items())
        notes.append(f"Guidance is not all that tells them apart: their widths are {said}.")
    if about["common"]:
        said = ", ".join(f"{name} {value}" for name, value in about["common"].items())
        notes.append(f"Instead of their own settings all agents have {said}.")
    return f"{markdown.table(head, lines)}\n\n" + "\n".join(notes)


def cost_table(costs: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any]) -> str:
    """Return the Markdown table of training time and latency."""
    extra = unusual(list(costs.values()))
    head = ["agent", "hours for 2M updates", "ms per update", "ms per action", "K"]
    head += ["num_candidates", *extra, "batch", "network"]
    lines = [
        [
            name,
            f"{cost['hours']:.1f}",
            f"{1e3 * cost['seconds_per_update']:.2f}",
            f"{cost['milliseconds_per_action']:.3f}",
            str(cost["k"]),
            str(cost["num_candidates"]),
            *acting(cost, extra),
            str(cost["batch_size"]),
            cost["network"],
        ]
        for name, cost in costs.items()
    ]
    note = (
        f"One seed on {about['machine']}, all agents in turns in one run; "
        f"{many(about['rounds'], 'round')} of {many(about['timed_updates'], 'update')}, "
        "extrapolated to 2,000,000 updates. An action: one observation through Policy.act. "
        f"{_CANDIDATES}"
    )
    if about.get("by_episodes") and OURS in costs:
        note += f"\n{guidance_note(False)}"
    if CLONE in costs:
        note += f"\n{_CLONES}"
    return f"{markdown.table(head, lines)}\n\n{note}"


def write(
    folder: Path,
    found: Mapping[str, Mapping[str, Any]],
    costs: Mapping[str, Mapping[str, Any]],
    about: Mapping[str, Any],
) -> list[str]:
    """Write both tables as Markdown, CSV and JSON; return the Markdown of those there are."""
    rows = score_rows(found)
    said = []
    if rows:
        said.append(score_table(rows, about))
        write_atomically(folder / "scores.md", said[-1] + "\n")
        write_atomically(folder / "scores.csv", _csv(rows))
    if costs:
        said.append(cost_table(costs, about))
        write_atomically(folder / "costs.md", said[-1] + "\n")
        write_atomically(
            folder / "costs.csv", _csv([{"agent": n, **cost} for n, cost in costs.items()])
        )
    whole = json.dumps(plain({"about": about, "scores": rows, "results": found, "costs": costs}))
    # JSON has no NaN, which stands for the interval of a single seed.
    strict = json.loads(whole, parse_constant=lambda _: None)
    write_atomically(folder / "comparison.json", json.dumps(strict, indent=1) + "\n")
    return said


def _dataset_note(about: Mapping[str, Any], published: bool) -> str:
    said = f"Dataset: {about['dataset']}, {about['transitions']:,} transitions"
    if published:
        return f"{said}. Published: {about['published_source']}; their environments were older."
    if not about["official"]:
        said += ", made locally"
    return f"{said}; not the published set, so published scores do not compare."


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.1f}" + ("" if np.isnan(low) else f" [{low:.1f}, {high:.1f}]")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
