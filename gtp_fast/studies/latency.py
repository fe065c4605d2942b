"""How long a policy takes to act: cases, timings, tables, facts of the machine."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import chain, cycle, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gtp_fast.studies.costs import in_turns
from gtp_fast.studies.tables import acting, unusual
from gtp_fast.system.machine import environment

_WARM_CALLS, _WARM_SECONDS = 20, 0.2
_LEAST = 100
_BINS, _BAR = 12, 50
_KIND = ("batch", "K", "candidates", "device", "backend")
_FIGURES = ("calls", "p50", "p99", "p99.9", "actions/s")


@dataclass(frozen=True)
class Row:
    """The subject of a table row: a batch size, and how the policy acts."""

    batch: int
    k: int
    candidates: int
    device: str
    backend: str
    rule: str | None
    """What acts of several candidates; None where there is one."""
    noise_scale: float
    act_by: str | None
    """What acts of a flow map; None where there is no choice."""

    @property
    def way(self) -> dict[str, Any]:
        """How it acts besides K and candidates, by the names of a table."""
        return {
            "candidate_rule": self.rule, "noise_scale": self.noise_scale, "act_by": self.act_by,
        }  # fmt: skip

    def row(self) -> dict[str, Any]:
        """Return these fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(Row)}


@dataclass(frozen=True)
class Case(Row):
    """A policy that can be timed, and what it observes."""

    act: Callable[[NDArray[np.float32]], Any]
    observations: list[NDArray[np.float32]]


@dataclass(frozen=True)
class Timing(Row):
    """The durations of a case's calls, in nanoseconds [N]."""

    nanoseconds: NDArray[np.int64]

    def percentile(self, percent: float) -> float | None:
        """Return a percentile in microseconds; None where no call would lie above it."""
        if len(self.nanoseconds) * (100 - percent) < 99.9:
            return None
        return float(np.percentile(self.nanoseconds, percent)) / 1e3

    @property
    def rate(self) -> float:
        """Actions a second, over all calls."""
        return self.batch * len(self.nanoseconds) / max(float(self.nanoseconds.sum()) / 1e9, 1e-9)

    def figures(self) -> dict[str, Any]:
        """Return the row as plain values."""
        return {
            "batch": self.batch, "k": self.k, "num_candidates": self.candidates,
            "device": self.device, "backend": self.backend, **self.way,
            "calls": len(self.nanoseconds),
            "min_us": float(self.nanoseconds.min()) / 1e3,
            "p50_us": self.percentile(50), "p99_us": self.percentile(99),
            "p99.9_us": self.percentile(99.9),
            "max_us": float(self.nanoseconds.max()) / 1e3,
            "actions_per_second": self.rate,
            "histogram": dict(zip(("edges_us", "counts"), bins(self), strict=True)),
        }  # fmt: skip


def measure(cases: Sequence[Case], seconds: float, rounds: int) -> list[Timing]:
    """Time single calls of every case, for `seconds` and 100 calls at least, in turns."""
    for case in cases:
        _call(case, _WARM_SECONDS, _WARM_CALLS)
    share = (seconds / rounds, -(-_LEAST // rounds))
    taken = in_turns(
        {number: functools.partial(_call, case, *share) for number, case in enumerate(cases)},
        rounds,
    )
    return [
        Timing(**case.row(), nanoseconds=np.array(list(chain(*durations)), np.int64))
        for case, durations in zip(cases, taken.values(), strict=True)
    ]


def _call(case: Case, seconds: float, least: int) -> list[int]:
    """Call for some seconds and at least `least` times; return durations in nanoseconds."""
    clock, act = time.perf_counter_ns, case.act
    durations: list[int] = []
    end = clock() + int(seconds * 1e9)
    for observation in cycle(case.observations):
        start = clock()
        act(observation)
        now = clock()
        durations.append(now - start)
        if now >= end and len(durations) >= least:
            break
    return durations


def machine() -> dict[str, str]:
    """Return the facts of the machine that the figures depend on."""
    facts = environment()
    about = {"processor": str(facts["processor"])}
    if facts["gpu"]:
        about["gpu"] = str(facts["gpu"])
    about["versions"] = ", ".join(
        f"{name} {facts[name]}" for name in ("gtp_fast", "python", "torch", "numpy")
    )
    about["native"] = str(facts["native"])
    about["threads"] = f"PyTorch may use {torch.get_num_threads()}"
    if hasattr(os, "getloadavg"):
        load = os.getloadavg()[0]
        cores = os.cpu_count() or 1
        busy = "; other programs disturb the figures" if load > 0.5 * cores else ""
        about["load"] = f"{load:.1f} on {cores} cores before the start{busy}"
    readings = np.array([time.perf_counter_ns() for _ in range(10_000)])
    steps = np.diff(readings)
    resolution = time.get_clock_info("perf_counter").resolution * 1e9
    about["clock"] = (
        f"perf_counter, resolution {resolution:g} ns; reading it takes {np.median(steps):.0f} ns, "
        "which is inside every figure"
    )
    return about


def table(timings: Sequence[Timing]) -> str:
    """Return the rows as an aligned table; `-` where a percentile needs more calls."""
    ways = [t.way for t in timings]
    extra = unusual(ways)
    head = (*_KIND, *extra, *_FIGURES)
    rows: list[Sequence[str]] = [head]
    for t, way in zip(timings, ways, strict=True):
        percentiles = (t.percentile(50), t.percentile(99), t.percentile(99.9))
        durations = ("-" if value is None else _duration(value) for value in percentiles)
        kind = (str(t.batch), str(t.k), str(t.candidates), t.device, t.backend)
        calls, rate = f"{len(t.nanoseconds):,}", f"{t.rate:,.0f}"
        rows.append((*kind, *acting(way, extra), calls, *durations, rate))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            cell.ljust(width) if name in ("device", "backend") else cell.rjust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def bins(timing: Timing) -> tuple[list[float], list[int]]:
    """Return the edges of a histogram in microseconds [B + 1], and its counts [B].

    Even bins up to twice the median, or the 99th percentile before it, then one for the rest.
    """
    values = timing.nanoseconds / 1e3
    median, upper = np.percentile(values, (50, 99))
    low, high = float(values.min()), float(min(upper, 2 * median))
    edges = np.linspace(low, max(high, low + 1e-3), _BINS + 1)
    counts = np.histogram(values, edges)[0].tolist()
    longest = max(float(values.max()), float(edges[-1]) + 1e-3)
    return [*edges.tolist(), longest], [*counts, len(values) - sum(counts)]


def histogram(timing: Timing) -> str:
    """Return the distribution as bars: even bins up to twice the median, then the rest."""
    edges, counts = bins(timing)
    labels = [f"{_duration(a)} to {_duration(b)}" for a, b in pairwise(edges)]
    labels[-1] = f"to {_duration(edges[-1])}, the longest"
    width, tallest = max(map(len, labels)), max(counts)
    lines = [
        f"batch {timing.batch}, K {timing.k}, candidates {timing.candidates}, {timing.device}, "
        f"{timing.backend}{by(timing)}: {len(timing.nanoseconds):,} calls"
    ]
    for label, count in zip(labels, counts, strict=True):
        # A bin with any call shows at least a dot.
        bar = "#" * round(_BAR * count / tallest) or "." * (count > 0)
        lines.append(f"  {label.rjust(width)} |{bar.ljust(_BAR)} {count:,}")
    return "\n".join(lines)


def by(row: Row) -> str:
    """Return how a row acts, where that is not by the map; else an empty string."""
    return ", by Euler steps" if row.act_by == "euler" else ""


def _duration(microseconds: float) -> str:
    if microseconds < 1e3:
        return f"{microseconds:.1f} us"
    return f"{microseconds / 1e3:.2f} ms" if microseconds < 1e6 else f"{microseconds / 1e6:.2f} s"
