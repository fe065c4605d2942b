"""python -m gtp_fast.latency RUN: how long a trained policy takes to act, on this machine.

What is timed is one `Policy.act` with NumPy in and out, as a control loop calls it: checks, noise,
transfers and scaling to the environment's units are inside.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise, product
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from gtp_fast import cli, policy, runs
from gtp_fast.errors import UserError
from gtp_fast.ops.candidates import Rule
from gtp_fast.studies import latency_figure
from gtp_fast.system.files import write_atomically

_WARM_CALLS, _WARM_SECONDS = 20, 0.2
_LEAST = 100
_BINS, _BAR = 12, 50
_HEADER = (
    "batch", "K", "candidates", "device", "backend", "calls", "p50", "p99", "p99.9", "actions/s",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What is timed, and for how long."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder, one of its checkpoints, or an exported policy.gtp."""
    batch: tuple[int, ...] = (1, 16, 256, 4096)
    """Observations in one call; 1 is a single observation [O]."""
    k: tuple[int, ...] = ()
    """Numbers of sampler steps; by default the run's own."""
    device: tuple[str, ...] = ()
    """cpu, cuda or both; by default those present."""
    backend: tuple[str, ...] = ("auto",)
    """auto, reference, fused: several are timed side by side."""
    precision: tuple[str, ...] = ("fp32",)
    """fp32, bf16, int8 (on the CPU hidden weights rounded to bfloat16, or to 8 bits) or several."""
    seconds: float = 2.0
    """Time spent on each row of the table."""
    rounds: int = 20
    """Rounds over all rows, so that a disturbance of the machine meets every row alike."""
    seed_index: int = 0
    """Which of the run's seeds acts."""
    checkpoint: str = "last"
    """last, best, or the path of a checkpoint."""
    weights: str | None = None
    """ema (the moving average) or online; by default those that were evaluated."""
    num_candidates: int | None = None
    """Actions drawn for each decision; by default as the run was evaluated."""
    candidate_rule: Rule | None = None
    """softmax or argmax of the target critic, or mean; by default as the run was evaluated."""
    plot: str | None = None
    """Draw distributions and throughput into this file (.png, .svg or .pdf)."""
    json: str | None = None
    """Write the figures into this file."""


class Case(NamedTuple):
    """One row of the table: a policy and the size of its batch."""

    batch: int
    k: int
    candidates: int
    device: str
    backend: str
    act: Callable[[NDArray[np.float32]], Any]
    observations: list[NDArray[np.float32]]


@dataclass(frozen=True)
class Timing:
    """The durations of a case's calls, in nanoseconds [N]."""

    batch: int
    k: int
    candidates: int
    device: str
    backend: str
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
            "device": self.device, "backend": self.backend, "calls": len(self.nanoseconds),
            "min_us": float(self.nanoseconds.min()) / 1e3,
            "p50_us": self.percentile(50), "p99_us": self.percentile(99),
            "p99.9_us": self.percentile(99.9),
            "max_us": float(self.nanoseconds.max()) / 1e3,
            "actions_per_second": self.rate,
        }  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Time as the command line says; return the exit code."""
    options = cli.parse(
        Options, argv, "python -m gtp_fast.latency", "Time a trained policy on this machine."
    )
    check(options)
    about = machine()
    cases = prepare(options)
    for name, value in about.items():
        print(f"{name:10s}{value}")
    timings = measure(cases, options.seconds, options.rounds)
    print(f"\n{table(timings)}")
    smallest = min(options.batch)
    for timing in timings:
        if timing.batch == smallest:
            print(f"\n{histogram(timing)}")
    if options.json is not None:
        content = {"machine": about, "rows": [timing.figures() for timing in timings]}
        write_atomically(Path(options.json), json.dumps(content, indent=1) + "\n")
        print(f"\nfigures: {options.json}")
    if options.plot is not None:
        latency_figure.draw(timings, about["processor"], Path(options.plot))
        print(f"\nplot: {options.plot}")
    return 0


def check(options: Options) -> None:
    """Raise UserError for a number that cannot be timed, before anything is."""
    if not options.batch or min(options.batch) < 1:
        raise UserError("--batch takes numbers of observations from 1 upwards.")
    if not options.seconds > 0 or options.rounds < 1:
        raise UserError("--seconds must be positive and --rounds at least 1.")
    for path in (options.plot, options.json):
        if path is not None and not Path(path).resolve().parent.is_dir():
            raise UserError(f"There is no folder {Path(path).parent} to write {path} into.")
    if options.plot is not None:
        latency_figure.require()


def prepare(options: Options) -> list[Case]:
    """Load every policy that is timed, and draw its observations."""
    present = ("cpu", *(["cuda"] if torch.cuda.is_available() else []))
    cases = []
    for device, backend, precision, k in product(
        options.device or present, options.backend, options.precision, options.k or (None,)
    ):
        loaded = policy.load(
            options.run, device, options.seed_index, options.checkpoint, k, backend,
            options.weights, options.num_candidates, precision, None, options.candidate_rule,
        )  # fmt: skip
        draw = np.random.default_rng(0)
        for batch in dict.fromkeys(options.batch):
            rows = list(draw.standard_normal((4, batch, loaded.observation_dim), np.float32))
            one = [row[0] for row in rows] if batch == 1 else rows
            kind = loaded.k, loaded.num_candidates, device, loaded.backend
            cases.append(Case(batch, *kind, loaded.act, one))
    return cases


def measure(cases: Sequence[Case], seconds: float, rounds: int) -> list[Timing]:
    """Time every case for `seconds` and 100 calls, in interleaved rounds, each call by itself."""
    taken: list[list[int]] = [[] for _ in cases]
    for case in cases:
        _call(case, _WARM_SECONDS, _WARM_CALLS)
    for _ in range(rounds):
        for case, durations in zip(cases, taken, strict=True):
            durations += _call(case, seconds / rounds, -(-_LEAST // rounds))
    return [
        Timing(*case[:5], np.array(durations, np.int64))
        for case, durations in zip(cases, taken, strict=True)
    ]


def _call(case: Case, seconds: float, least: int) -> list[int]:
    """Call for some seconds, `least` times at the least; return the durations in nanoseconds."""
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
    """Return what the figures depend on besides the policy."""
    facts = machine.environment()
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
    """Return the rows as an aligned table; `-` where too few calls were made for a percentile."""
    rows = [_HEADER]
    for t in timings:
        percentiles = (t.percentile(50), t.percentile(99), t.percentile(99.9))
        cells = ("-" if value is None else _duration(value) for value in percentiles)
        calls, rate = f"{len(t.nanoseconds):,}", f"{t.rate:,.0f}"
        kind = str(t.batch), str(t.k), str(t.candidates)
        rows.append((*kind, t.device, t.backend, calls, *cells, rate))  # type: ignore[arg-type]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    lines = []
    for row in rows:
        cells = (
            cell.ljust(width) if name in ("device", "backend") else cell.rjust(width)
            for name, cell, width in zip(_HEADER, row, widths, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def histogram(timing: Timing) -> str:
    """Return the distribution as bars: even bins up to twice the median, then the rest."""
    values = timing.nanoseconds / 1e3
    median, upper = np.percentile(values, (50, 99))
    low, high = float(values.min()), float(min(upper, 2 * median))
    edges = np.linspace(low, max(high, low + 1e-3), _BINS + 1)
    counts = np.histogram(values, edges)[0].tolist()
    labels = [f"{_duration(a)} to {_duration(b)}" for a, b in pairwise(edges.tolist())]
    counts.append(len(values) - sum(counts))
    labels.append(f"to {_duration(float(values.max()))}, the longest")
    width, tallest = max(map(len, labels)), max(counts)
    lines = [
        f"batch {timing.batch}, K {timing.k}, candidates {timing.candidates}, {timing.device}, "
        f"{timing.backend}: "
        f"{len(values):,} calls"
    ]
    for label, count in zip(labels, counts, strict=True):
        # A bin that is not empty is seen, however small its share.
        bar = "#" * round(_BAR * count / tallest) or "." * (count > 0)
        lines.append(f"  {label.rjust(width)} |{bar.ljust(_BAR)} {count:,}")
    return "\n".join(lines)


def _duration(microseconds: float) -> str:
    if microseconds < 1e3:
        return f"{microseconds:.1f} us"
    return f"{microseconds / 1e3:.2f} ms" if microseconds < 1e6 else f"{microseconds / 1e6:.2f} s"


if __name__ == "__main__":
    sys.exit(cli.run(main))
