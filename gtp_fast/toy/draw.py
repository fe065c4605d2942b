"""The toy's figure: one column a method, from its trajectories down to its distances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtp_fast.system.figure import figure as canvas
from gtp_fast.toy.experiment import STEPS, Result
from gtp_fast.toy.laws import TWO_MODES, Array
from gtp_fast.toy.methods import COLOURS, METHODS, Method
from gtp_fast.toy.targets import REACHED, Target, targets

_TRUTH, _LEARNED, _GUIDED = "#9a9a9a", COLOURS[0], COLOURS[1]
_WORST = 0.3
"""W1 at which a cell has its darkest colour: about that of one jump to the mean."""


def draw(results: Sequence[Result], path: Path) -> None:
    """Draw every method on every target into one file."""
    found = {(result.target, result.method): result for result in results}
    known = targets()
    figure, save = canvas(1.62 * len(METHODS) + 0.9, 11.6, dpi=100, colours=128)
    panels: list[tuple[str, str, Callable[[Any, Result, str], None]]] = [
        (
            "two modes",
            "two modes:\nline: one jump from\nT to every time;\ndots: 5 steps",
            _trajectories,
        ),
        ("two modes", "two modes:\nlaw of the actions\nfor K steps", _histograms),
        ("eight Gaussians", "eight Gaussians\nK = 1", _scatter(known["eight Gaussians"], 1)),
        ("eight Gaussians", "eight Gaussians\nK = 5", _scatter(known["eight Gaussians"], 5)),
        ("four goals", "four goals:\nwalks from the\nmiddle, K = 2", _walks(known["four goals"])),
    ]
    heights = [1.5, 1.35, 1.15, 1.15, 1.15, 1.75]
    axes = figure.subplots(
        len(heights), len(METHODS), gridspec_kw={"height_ratios": heights}, squeeze=False
    )
    for column, method in enumerate(METHODS):
        colour = _GUIDED if method.guided else _LEARNED
        for row, (target, label, panel) in enumerate(panels):
            axis = axes[row, column]
            result = found.get((target, method.name))
            axis.set(xticks=[], yticks=[])
            if result is None:
                axis.text(0.5, 0.5, "no reward\nhere", ha="center", va="center", color=_TRUTH)
                axis.set_frame_on(False)
            else:
                panel(axis, result, colour)
            if column == 0:
                axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=10)
        axes[0, column].set_title(method.name, fontsize=12, fontweight="bold", pad=38, color=colour)
        axes[0, column].text(
            0.5, 1.04, method.choice, transform=axes[0, column].transAxes, ha="center", va="bottom",
            fontsize=8.5,
        )  # fmt: skip
        _cells(axes[-1, column], method, found, labelled=column == 0)
    figure.suptitle(
        "One flow map, many methods: what each choice gains and loses (grey: the truth; blue: "
        "learns the law of the data; orange: follows the reward as well)",
        fontsize=13,
    )
    save(path)


def _scale(times: Array) -> Array:
    """Return the deviation of the noised law, which the trajectories are divided by."""
    spread: Array = np.sqrt(1 + (times / 0.62) ** 2)
    return spread


def _trajectories(axis: Any, result: Result, colour: str) -> None:
    paths = result.paths
    times, stops = paths["times"], paths["stops"]
    place = -(times ** (1 / 7))
    start = paths["jump"][0]
    exact = np.stack([TWO_MODES.flow(start, float(times[0]), float(t)) for t in times])
    axis.plot(place, exact / _scale(times)[:, None], color=_TRUTH, linewidth=2.2, alpha=0.6)
    learned = np.clip(paths["jump"] / _scale(times)[:, None], -1.6, 1.6)
    axis.plot(place, learned, color=colour, linewidth=0.9)
    steps = paths["steps"] / _scale(stops)[:, None]
    axis.plot(-(stops ** (1 / 7)), np.clip(steps, -1.6, 1.6), ".", color="black", markersize=2.8)
    axis.set(ylim=(-1.65, 1.65))
    axis.set_xlabel("t: 5 → 0", fontsize=8, labelpad=1)
    if result.diverged:
        axis.text(0.04, 0.04, "diverged", transform=axis.transAxes, fontsize=9, fontweight="bold")


def _histograms(axis: Any, result: Result, colour: str) -> None:
    edges = np.linspace(-1.01, 1.01, 64)
    middle = 0.5 * (edges[1:] + edges[:-1])
    exact = np.diff(TWO_MODES.cdf(edges, 0.0))
    for row, k in enumerate(STEPS):
        base = -float(row)
        drawn, _ = np.histogram(result.actions[k].clip(-1, 1), edges)
        share = np.minimum(drawn / drawn.sum() / (1.35 * exact.max()), 0.92)
        level = exact / (1.35 * exact.max())
        axis.fill_between(middle, base, base + level, color=_TRUTH, alpha=0.55, linewidth=0)
        axis.step(middle, base + share, where="mid", color=colour, linewidth=1.1)
    axis.set(xlim=(-1.03, 1.03), ylim=(-3.05, 1.0))
    if result.method == METHODS[0].name:
        axis.set_yticks([0.35 - row for row in range(len(STEPS))], [f"K={k}" for k in STEPS])
        axis.tick_params(length=0, labelsize=8)


def _scatter(target: Target, k: int) -> Callable[[Any, Result, str], None]:
    def panel(axis: Any, result: Result, colour: str) -> None:
        for mode in target.modes:
            axis.add_patch(_circle(mode, target.radius))
        points = result.actions[k][:700]
        axis.scatter(*points.T, s=1.5, color=colour, alpha=0.55, linewidths=0)
        _note(axis, f"{result.modes[k]:g} of {len(target.modes)}", result.outside[k])
        axis.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), aspect="equal")

    return panel


def _walks(target: Target) -> Callable[[Any, Result, str], None]:
    def panel(axis: Any, result: Result, colour: str) -> None:
        for goal in target.modes:
            axis.add_patch(_circle(goal, REACHED))
        walks = result.paths["walks"]
        axis.plot(walks[..., 0], walks[..., 1], color=colour, linewidth=0.5, alpha=0.6)
        axis.plot(walks[-1, :, 0], walks[-1, :, 1], ".", color="black", markersize=2)
        _note(axis, f"{result.modes[2]:g} of {len(target.modes)}", result.outside[2])
        axis.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), aspect="equal")

    return panel


def _circle(centre: Array, radius: float) -> Any:
    from matplotlib.patches import Circle

    return Circle((float(centre[0]), float(centre[1])), radius, color=_TRUTH, alpha=0.45, lw=0)


def _note(axis: Any, kept: str, outside: float) -> None:
    axis.set_xlabel(f"{kept} kept, {100 * outside:.0f} % astray", fontsize=7.5, labelpad=2)


def _cells(axis: Any, method: Method, found: dict[tuple[str, str], Result], labelled: bool) -> None:
    """Write W1 for every target and K as cells, darker the farther from the truth."""
    names = list(dict.fromkeys(target for target, _ in found))
    for column, target in enumerate(names):
        result = found.get((target, method.name))
        for row, k in enumerate(STEPS):
            value = None if result is None else result.distance[k]
            shade = 0.0 if value is None else min(value / _WORST, 1.0)
            if value is not None:
                axis.add_patch(_rectangle(column, -row, shade))
            text = "" if value is None else f"{value:.2f}".removeprefix("0")
            axis.text(
                column + 0.5, -row + 0.5, text, ha="center", va="center", fontsize=8.5,
                color="white" if shade > 0.55 else "black",
            )  # fmt: skip
    axis.set(
        xlim=(0, len(names)), ylim=(1 - len(STEPS), 1), xticks=np.arange(len(names)) + 0.5,
        yticks=[0.5 - row for row in range(len(STEPS))] if labelled else [],
    )  # fmt: skip
    axis.set_xticklabels([name.replace(" ", "\n") for name in names], fontsize=7)
    if labelled:
        axis.set_yticklabels([f"K={k}" for k in STEPS], fontsize=8)
        axis.set_ylabel("W1 to the\ntruth", rotation=0, ha="right", va="center", fontsize=10)
    axis.tick_params(length=0)


def _rectangle(x: float, y: float, shade: float) -> Any:
    from matplotlib.patches import Rectangle

    light, dark = np.array((1.0, 1.0, 0.9)), np.array((0.05, 0.12, 0.35))
    colour = tuple(light + shade * (dark - light))
    return Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="white", lw=1)
