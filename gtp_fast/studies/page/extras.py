"""Latency and videos, where a run folder has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gtp_fast.studies.page import html
from gtp_fast.studies.page.html import Html, tag
from gtp_fast.studies.page.read import Member, latencies, mapping, number, videos
from gtp_fast.studies.page.svg import histogram

_FIGURES = ("p50_us", "p99_us", "p99.9_us", "actions_per_second")
_MOST_BINS = 200


def latency(members: Sequence[Member]) -> Html | None:
    """Return how long the runs' policies take to act, where that was measured."""
    rows, charts, processors = [], [], []
    # Seeds with settings of their own make a run part of several agents.
    first = {run: member for member in reversed(members) for run in member.group.runs}
    for member in members:
        for run in (run for run in member.group.runs if first[run] is member):
            for found in latencies(run):
                processors.append(str(mapping(found.get("machine")).get("processor", "")))
                for row in map(mapping, found["rows"]):
                    kind = [str(row.get(key, "")) for key in ("batch", "k", "device", "backend")]
                    values = [number(row.get(key)) for key in _FIGURES]
                    shown = ("-" if v is None else f"{v:,.1f}" for v in values[:-1])
                    rate = "-" if values[-1] is None else f"{values[-1]:,.0f}"
                    name = html.joined([html.swatch(member.colour), member.name])
                    rows.append((name, run.path.name, *kind, *shown, rate))
                    title = f"{member.name}, batch {kind[0]}, {kind[2]}, {kind[3]}"
                    charts.append(_histogram(row, title))
    if not rows:
        return None
    head = ("agent", "run", "batch", "K", "device", "backend", "median (us)", "99 %", "99.9 %",
            "actions/s")  # fmt: skip
    drawn = [chart for chart in charts if chart is not None]
    where = ", ".join(filter(None, dict.fromkeys(processors)))
    return html.joined([
        tag("div", *drawn, class_="panels columns3") if drawn else None,
        html.table(head, rows, "latency", (2, 3, 6, 7, 8, 9)),
        html.note(
            f"Duration of one call of Policy.act{f', on {where}' if where else ''}. The last bar "
            "of a histogram holds all longer calls."
        ),
    ])  # fmt: skip


def _histogram(row: Mapping[Any, Any], title: str) -> Html | None:
    stored = mapping(row.get("histogram"))
    edges, counts = (stored.get(name) for name in ("edges_us", "counts"))
    if not (isinstance(edges, list) and isinstance(counts, list)):
        return None
    good = [number(v) for v in (*edges, *counts)]
    fits = 0 < len(counts) == len(edges) - 1 <= _MOST_BINS
    if None in good or not fits or min(counts) < 0 or (np.diff(edges) <= 0).any():
        return None
    return histogram(np.array(edges, float), np.array(counts, float), title, "microseconds")


def recordings(members: Sequence[Member]) -> Html | None:
    """Return the videos of the run folders, as part of the page."""
    found, left = videos(list(dict.fromkeys(run for m in members for run in m.group.runs)))
    if not found:
        return None
    figures = [
        tag("figure",
            tag("video", src=video.link, controls="", preload="metadata", muted="", loop="",
                playsinline="", aria_label=f"{video.name} of {video.run}"),
            tag("figcaption", tag("strong", video.name), f" {video.run}"))
        for video in found
    ]  # fmt: skip
    said = f"{left} larger videos stay in their run folders." if left else None
    return html.joined([
        tag("div", *figures, class_="panels columns3"), html.note(said) if said else None
    ])  # fmt: skip
