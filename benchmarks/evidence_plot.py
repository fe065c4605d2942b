"""The figure of the evidence: learning curves of every label, a panel a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtp_fast.system.figure import figure as canvas

Figures = NDArray[np.float64]
Rows = Sequence[tuple[str, Mapping[str, Sequence[Mapping[str, Any]]]]]
_COLUMNS = 4
# Colours for colour-blind readers too; the two compared labels stand out.
_LOOKS = {
    "gtp": ("#d55e00", "-", "o"),
    "gtp-clone": ("#000000", "--", "o"),
    "bc": ("#7f7f7f", "-", "s"),
    "iql": ("#0072b2", "-", "^"),
    "diffusion-ql": ("#009e73", "-", "v"),
    "consistency-ac": ("#56b4e9", "-", "D"),
    "fql": ("#cc79a7", "-", "P"),
    "sscql": ("#b8860b", "-", "X"),
}
# The same label, compared at another width.
_WIDER = {"gtp": ("#f0a35e", "-", "h"), "gtp-clone": ("#5e4fa2", "--", "h")}
_OTHERS = ("#8c564b", "#9467bd", "#17becf", "#bcbd22")
_PROMINENT = ("gtp", "gtp-clone")
"""Labels of thick lines, at every width."""


def draw(rows: Rows, tasks: Sequence[str], path: Path) -> None:
    """Draw means over seeds, and bands from the lowest seed to the highest.

    A star with such a band is the score of checkpoints that were evaluated again. Where most labels
    were evaluated at their end alone, their scores stand side by side.
    rows: name and task -> records of each label. UserError without matplotlib or where the file
    cannot be written.
    """
    panels = [task for task in tasks if any(task in runs for _, runs in rows)]
    if not panels:
        path.unlink(missing_ok=True)
        return
    looks = _looks([name for name, _ in rows])
    columns = min(len(panels), _COLUMNS)
    lines = -(-len(panels) // columns)
    figure, save = canvas(4.2 * columns, 3.6 * lines + 0.9, dpi=120)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    handles: dict[str, Any] = {}
    for axis, task in zip(axes, panels, strict=False):
        here = [(name, runs[task]) for name, runs in rows if task in runs]
        side_by_side = sum(len(curve(records)[0]) < 2 for _, records in here) > len(here) / 2
        for place, (name, records) in enumerate(here):
            if side_by_side:
                mark = _score(axis, place, records, looks[name])
            else:
                mark = _curve(axis, records, looks[name], name.split(",")[0] in _PROMINENT)
            handles.setdefault(name, mark)
        _finish(axis, task, [r for _, records in here for r in records], handles, side_by_side)
    for axis in axes[len(panels) :]:
        axis.remove()
    names = [name for name in (*(name for name, _ in rows), "data") if name in handles]
    figure.legend(
        [handles[name] for name in names], names, loc="outside lower center",
        ncols=len(names) if columns > 2 else 3, fontsize=13, frameon=False, columnspacing=1.4,
    )  # fmt: skip
    save(path)


def _looks(names: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Return colour, dash and marker of every name, no two alike among those of GTP."""
    looks = dict(_LOOKS)
    for name in names:
        look = _OTHERS[(len(looks) - len(_LOOKS)) % len(_OTHERS)], "-", "*"
        wider = _WIDER.get(name.split(",")[0], look) if "," in name else look
        looks.setdefault(name, look if wider in looks.values() else wider)
    return looks


def curve(records: Sequence[Mapping[str, Any]]) -> tuple[list[int], Figures]:
    """Return the steps at which every seed was evaluated, and the scores there [steps, S]."""
    curves: list[dict[int, float]] = []
    for record in records:
        evaluated, scores = record["curve"]["steps"], record["curve"]["scores"]
        curves += [dict(zip(evaluated, own, strict=True)) for own in zip(*scores, strict=True)]
    steps = sorted(set.intersection(*(set(one) for one in curves)))
    return steps, np.array([[one[step] for one in curves] for step in steps])


def _curve(
    axis: Any, records: Sequence[Mapping[str, Any]], look: tuple[str, str, str], prominent: bool
) -> Any:
    colour, dash, marker = look
    steps, scores = curve(records)
    (line,) = axis.plot(
        steps, scores.mean(1), color=colour, linestyle=dash, marker=marker,
        linewidth=2.8 if prominent else 1.5, markersize=6 if prominent else 5,
        zorder=3 if prominent else 2,
    )  # fmt: skip
    axis.fill_between(steps, scores.min(1), scores.max(1), color=colour, alpha=0.13, linewidth=0)
    if any(record.get("evaluated_again") for record in records):
        axis.errorbar(
            steps[-1], *_end(records),
            color=colour, marker="*", markersize=15, markeredgecolor="white", capsize=4, zorder=4,
        )  # fmt: skip
    return line


def _score(
    axis: Any, place: int, records: Sequence[Mapping[str, Any]], look: tuple[str, str, str]
) -> Any:
    """Draw the mean of the last scores, with a bar over the seeds."""
    colour, dash, marker = look
    axis.errorbar(place, *_end(records), color=colour, marker=marker, markersize=9, capsize=4)
    # Curves of other panels have a dash, which the legend shows.
    return axis.plot([], [], color=colour, linestyle=dash, marker=marker)[0]


def _end(records: Sequence[Mapping[str, Any]]) -> tuple[float, Figures]:
    """Return the mean of the last scores, and the bar around it [2, 1]."""
    scores = np.array([score for record in records for score in record["scores"]])
    mean = float(scores.mean())
    # The mean of equal numbers may lie beside them, and a bar has no negative length.
    return mean, np.maximum([[mean - scores.min()], [scores.max() - mean]], 0.0)


def _finish(
    axis: Any,
    task: str,
    records: Sequence[Mapping[str, Any]],
    handles: dict[str, Any],
    side_by_side: bool,
) -> None:
    """Give a panel its words, and the level of the data."""
    level = records[0]["data_level"]
    if level is not None:
        handles["data"] = axis.axhline(level, color="black", linestyle=":", linewidth=1.3)
    axis.set_title(task, fontsize=14)
    percent = "percent" in records[0]["measure"]
    axis.set_ylabel("success (%)" if percent else "normalised return", fontsize=12)
    if percent:
        axis.set_ylim(-4.0, 104.0)
    if side_by_side:
        axis.set_xlabel("at the end, in the legend's order", fontsize=12)
        axis.set_xticks([])
        axis.margins(x=0.08)
    else:
        axis.set_xlabel("updates", fontsize=12)
        axis.set_xlim(left=0)
        axis.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}")
    axis.tick_params(labelsize=11)
    axis.grid(alpha=0.3)
