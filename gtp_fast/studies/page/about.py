"""Throughput, settings that differ, and where the data come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gtp_fast.studies.page import html
from gtp_fast.studies.page.html import Html, tag
from gtp_fast.studies.page.read import Member, facts, figure, mapping, number
from gtp_fast.studies.page.svg import bar
from gtp_fast.system import nested

_GENERAL = ("steps", "episodes", "engine", "backend", "precision", "preset", "log_every",
            "evaluate_every")  # fmt: skip
_ABSENT = object()
_LOCAL = "made locally: do not compare its scores to published ones"


def throughput(members: Sequence[Member]) -> Html | None:
    """Return updates a second of every group, with what ran and on what."""
    rows = []
    for member in members:
        summaries = [run.summary() for run in member.group.runs]
        rates = [r for s in summaries if (r := number(s.get("updates_per_second"))) is not None]
        if not rates:
            continue
        about = [facts(run) for run in member.group.runs]
        places = dict.fromkeys(str(m.get("gpu") or m.get("processor") or "") for m in about)
        engines = dict.fromkeys(str(s.get("engine", "")).split(" (")[0] for s in summaries)
        seeds = dict.fromkeys(len(run.config().get("seeds", [])) for run in member.group.runs)
        rows.append((member, rates, " / ".join(engines), " / ".join(map(str, seeds)),
                     " / ".join(filter(None, places))))  # fmt: skip
    if not rows:
        return None
    fastest = max(max(rates) for _, rates, *_ in rows)
    machines = dict.fromkeys(machine for *_, machine in rows)
    one = len(machines) == 1
    cells = [
        (html.joined([html.swatch(m.colour), m.name]), m.task, _rates(rates),
         bar(sum(rates) / len(rates) / fastest, m.colour), seeds, engine, *[machine] * (not one))
        for m, rates, engine, seeds, machine in rows
    ]  # fmt: skip
    head = ("agent", "task", "updates/s", "", "seeds at once", "engine", *["machine"] * (not one))
    where = "".join(f"On {name}. " for name in machines if one and name)
    return html.joined([
        html.table(head, cells, "throughput", (2, 4)),
        html.note(
            f"{where}Evaluation left out; every update advances all seeds of its run. In brackets "
            "the slowest and the fastest run."
        ),
    ])  # fmt: skip


def _rates(rates: Sequence[float]) -> Html:
    text = f"{sum(rates) / len(rates):,.0f}"
    span = f" [{min(rates):,.0f}, {max(rates):,.0f}]" if len(rates) > 1 else None
    return html.joined([text, span and tag("small", span)])


def settings(members: Sequence[Member]) -> Html | None:
    """Return a table of the settings that differ, and a list of those that do not."""
    flat = [_flat(member.group.config) for member in members]
    names = list(dict.fromkeys(name for one in flat for name in one))
    differing = [
        name for name in names if len({_said(one[name]) for one in flat if name in one}) > 1
    ]
    shared = [name for name in names if name not in differing and all(name in one for one in flat)]
    columns: dict[tuple[str, ...], list[Member]] = {}
    for member, one in zip(members, flat, strict=True):
        key = (member.name, *(_said(one.get(name, _ABSENT)) for name in differing))
        columns.setdefault(key, []).append(member)
    alone = {name for name, *_ in columns if sum(key[0] == name for key in columns) == 1}
    heads = [
        key[0]
        if key[0] in alone
        else html.joined([key[0], tag("small", ", ".join(dict.fromkeys(m.task for m in own)))])
        for key, own in columns.items()
    ]
    parts: list[Html | None] = []
    if differing and len(columns) > 1:
        rows = [(name, *(key[1 + i] for key in columns)) for i, name in enumerate(differing)]
        parts.append(html.table(["setting", *heads], rows, "settings that differ"))
    if shared:
        title = "The same in all runs" if len(members) > 1 else "All settings"
        parts.append(
            html.details(title, html.pairs({name: _said(flat[0][name]) for name in shared}))
        )
    return html.joined(parts) if parts else None


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    rules = {f"rules/{k}": v for k, v in mapping(config.get("rules")).items()}
    general = {name: config[name] for name in _GENERAL if name in config}
    # Older runs lack the setting: they hold nothing out.
    general["hold_out"] = config.get("hold_out", 0.0)
    own = nested.flat(mapping(config.get("agent_settings")))
    return {"agent": config["agent"]} | own | general | rules


def _said(value: Any) -> str:
    if value is _ABSENT:
        return ""
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return f"{value:g}" if isinstance(value, float) else "-" if value is None else str(value)


def provenance(members: Sequence[Member]) -> Html | None:
    """Return what is known of every dataset, and which folders the page was made from."""
    parts = []
    for dataset in dict.fromkeys(member.group.dataset for member in members):
        own = [member for member in members if member.group.dataset == dataset]
        summaries = [s for m in own for run in m.group.runs if (s := run.summary())]
        first = summaries[0] if summaries else {}
        data, official = mapping(first.get("data")), first.get("official_dataset")
        known = {
            "origin": _LOCAL if official is False else "the published set" if official else None,
            "transitions": _count(data.get("transitions")),
            "return of its episodes": figure(first.get("data_return")),
            "success rate of its episodes": figure(first.get("data_success_rate")),
            "description": data.get("description"),
            "evaluated in": first.get("environment"),
        }  # fmt: skip
        known = {name: value for name, value in known.items() if value}
        parts += [tag("h3", dataset), html.pairs(known) if known else None]
    return html.joined([*parts, html.details("Run folders", _folders(members))])


def _folders(members: Sequence[Member]) -> Html:
    rows = []
    for member in members:
        for run in member.group.runs:
            about = facts(run)
            seeds = [seed for seed in run.config().get("seeds", []) if seed in member.group.named]
            rows.append((
                run.path.name, member.name, _said(seeds),
                _said(about.get("gtp_fast")), str(about.get("git") or "")[:10],
                _said(about.get("torch")),
            ))  # fmt: skip
    head = ("folder", "agent", "seeds", "gtp_fast", "revision", "torch")
    return html.table(head, rows, "run folders")


def _count(value: Any) -> str | None:
    found = number(value)
    return None if found is None else f"{found:,.0f}"
