"""What the page reads of run folders, which may lack any piece.

They may come from anybody: nothing in them is trusted.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtp_fast.runs import Run
from gtp_fast.studies import losses
from gtp_fast.studies.group import Group
from gtp_fast.studies.groups import collect, labels

_KINDS = {".mp4": "video/mp4", ".webm": "video/webm"}
_MOST_BYTES, _MOST_IN_ALL = 8 << 20, 32 << 20
_MOST_JSON = 4 << 20


@dataclass(frozen=True)
class Member:
    """A group of runs with its name on the page and its colour."""

    group: Group
    name: str
    colour: int
    columns: Mapping[str, NDArray[np.float64]]
    """metrics.csv of all its runs, one below the other."""

    @property
    def scored(self) -> bool:
        """Whether it has been evaluated."""
        return bool(self.group.steps())

    @property
    def task(self) -> str:
        """Name of its task."""
        return self.group.task.name


@dataclass(frozen=True)
class Video:
    """A recording inside a run folder."""

    run: str
    name: str
    link: str
    """Its content as a data link."""


def members(paths: Sequence[str]) -> list[Member]:
    """Return the runs of a page, joined over their seeds; colours go by name."""
    found = collect(paths, unscored=True)
    names = labels(found)
    colours = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return [
        Member(group, name, colours[name], losses.joined(group))
        for group, name in zip(found, names, strict=True)
    ]


def curve(
    member: Member, name: str, weighted: bool = False
) -> tuple[NDArray[np.float64], ...] | None:
    """Return steps, and mean, least and largest of a metric there; None without a figure.

    weighted: only where the weights of a seed are not all the same.
    """
    if name not in member.columns:
        return None
    values, steps = member.columns[name], member.columns["step"]
    held = np.isfinite(values) & np.isfinite(steps)
    if weighted:
        held &= member.columns.get("weight_ess", np.ones(len(steps))) < 1.0
    if not held.any():
        return None
    order = np.argsort(steps[held], kind="stable")
    found, starts = np.unique(steps[held][order], return_index=True)
    parts = np.split(values[held][order], starts[1:])
    figures = ([f(part) for part in parts] for f in (np.mean, np.min, np.max))
    return found, *(np.array(figure) for figure in figures)


def number(value: Any) -> float | None:
    """Return a finite number, or None for everything else."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if good and math.isfinite(value) else None


def figure(value: Any) -> str | None:
    """Return a number in four digits, or None for everything else."""
    found = number(value)
    return None if found is None else f"{found:.4g}"


def mapping(value: Any) -> Mapping[Any, Any]:
    """Return a mapping, an empty one for everything else."""
    return value if isinstance(value, Mapping) else {}


def facts(run: Run) -> Mapping[Any, Any]:
    """Return a run's environment.json; empty where it cannot be read."""
    return mapping(_json(run, run.path / "environment.json"))


def latencies(run: Run) -> Iterator[Mapping[Any, Any]]:
    """Yield what `gtp_fast latency RUN --json RUN/latency.json` has measured."""
    for path in sorted(run.path.glob("latency*.json")):
        found = mapping(_json(run, path))
        if isinstance(found.get("rows"), list):
            yield found


def videos(runs: Sequence[Run]) -> tuple[list[Video], int]:
    """Return the recordings below run folders, and how many are too large for a page."""
    found, size, left = [], 0, 0
    for run in runs:
        for path in sorted(run.path.rglob("*")):
            if path.suffix.lower() not in _KINDS or not _inside(run, path):
                continue
            length = path.stat().st_size
            if length > _MOST_BYTES or size + length > _MOST_IN_ALL:
                left += 1
                continue
            size += length
            content = base64.b64encode(path.read_bytes()).decode()
            link = f"data:{_KINDS[path.suffix.lower()]};base64,{content}"
            found.append(Video(run.path.name, path.stem, link))
    return found, left


def _inside(run: Run, path: Path) -> bool:
    """Whether a path is a plain file in the run folder once links are followed."""
    return path.is_file() and path.resolve().is_relative_to(run.path.resolve())


def _json(run: Run, path: Path) -> Any:
    try:
        if not _inside(run, path) or path.stat().st_size > _MOST_JSON:
            return None
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
