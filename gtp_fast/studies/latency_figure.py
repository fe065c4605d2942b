"""The figure of `gtp_fast.latency`: distributions of the calls, and throughput over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gtp_fast.studies.latency import Timing, by
from gtp_fast.system.figure import figure as canvas

_BAR = 0.015


def draw(timings: Sequence[Timing], processor: str, path: Path) -> None:
    """Draw the rows of one table into a file; its ending chooses the format.

    UserError without matplotlib, or when the file cannot be written.
    """
    figure, save = canvas(11, 0.42 * len(timings) + 3.2)
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    kinds = list(dict.fromkeys(map(_kind, timings)))
    names = [f"{d}, K = {k}, candidates: {n}, {backend}{way}" for d, backend, k, n, way in kinds]
    for row, timing in enumerate(timings):
        colour = f"C{kinds.index(_kind(timing))}"
        values = timing.nanoseconds / 1e3
        low, median, high = np.percentile(values, (1, 50, 99))
        span = float(np.log10(values.min() * 0.98)), float(np.log10(values.max() * 1.02))
        # Bars of one width in every row, however narrow the distribution.
        counts, edges = np.histogram(
            np.log10(values), max(int((span[1] - span[0]) / _BAR), 1), span
        )
        density = 0.8 * counts / counts.max()
        left.stairs(row - density, 10**edges, baseline=row, fill=True, color=colour, alpha=0.35)
        left.plot((low, high), (row, row), color=colour, linewidth=1.5)
        left.plot(median, row, "o", color=colour, markersize=4)
        left.plot(high, row, "|", color=colour, markersize=9)
    left.set_yticks(range(len(timings)), [f"batch {t.batch}" for t in timings])
    left.set_ylim(len(timings) - 0.7, -1)
    left.set(
        xscale="log", xlabel="duration of one call of Policy.act (microseconds)",
        title="dot: median, line: 1st to 99th percentile",
    )  # fmt: skip
    for kind, name in zip(kinds, names, strict=True):
        mine = sorted((t for t in timings if _kind(t) == kind), key=lambda t: t.batch)
        right.plot([t.batch for t in mine], [t.rate for t in mine], "o-", label=name)
    right.set(
        xscale="log", yscale="log", xlabel="batch", ylabel="actions a second", title="throughput"
    )
    batches = sorted({t.batch for t in timings})
    right.set_xticks(batches, [f"{b:,}" for b in batches])
    for axis in (left.xaxis, right.xaxis, right.yaxis):
        axis.set_minor_locator(NullLocator())
    for axis in (left.xaxis, right.yaxis):
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    right.legend(loc="best", fontsize="small")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(processor, fontsize="medium")
    save(path)


def _kind(timing: Timing) -> tuple[str, str, int, int, str]:
    return timing.device, timing.backend, timing.k, timing.candidates, by(timing)
