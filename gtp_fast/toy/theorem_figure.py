"""python -m gtp_fast.toy theorem: what Theorem 1 says of the score approximation, and what not.

Left: loss and gradient gaps close with the square of t - u, whatever the order of the ideal
solver. Right: at a fixed u they stay, however fine that solver becomes. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gtp_fast import cli
from gtp_fast.toy import style
from gtp_fast.toy.theorem import gaps

ORDERS = {1: "Euler, order 1", 2: "Heun, order 2", 4: "Runge-Kutta, order 4"}
TIME, FIXED = 2.0, 1.0


@dataclass(frozen=True)
class Options:
    """Where the figure goes."""

    output: Path = Path("runs/toy/theorem.png")
    """File of the figure (.png, .svg or .pdf)."""


def main(argv: Sequence[str]) -> int:
    """Compute both sides and draw them; return the exit code."""
    options = cli.parse(Options, argv, "python -m gtp_fast.toy theorem", __doc__)
    figure, save = style.figure(9.6, 4.6)
    left, right = figure.subplots(1, 2, sharey=True)
    h = 2.0 ** -np.arange(0, 8)
    for order, name in ORDERS.items():
        near = np.array([gaps(TIME, TIME - x, 1, order) for x in h])
        _curves(left, h, near, order, name)
        counts = 2 ** np.arange(0, 7)
        fixed = np.array([gaps(TIME, FIXED, int(n), order) for n in counts])
        _curves(right, (TIME - FIXED) / counts, fixed, order, name)
    slope = 0.09 * h**2
    left.plot(h, slope, color="black", linewidth=1, linestyle=":")
    left.annotate("slope 2", (h[4], slope[4]), (6, -12), textcoords="offset points", fontsize=9)
    left.set_title(
        "u close to t: one step, h = t - u\nthe gap closes as $(t-u)^2$, for every order"
    )
    right.set_title("u fixed (t = 2, u = 1): solver step h\nthe gap stays, for every order")
    left.set_xlabel("t - u")
    right.set_xlabel("h")
    left.set_ylabel("gap between practical and ideal")
    for axis in (left, right):
        axis.set(xscale="log", yscale="log", ylim=(3e-6, 0.4))
        axis.grid(alpha=0.3)
    right.legend(loc="lower right", fontsize=9, title="solid: loss, dashed: gradient")
    save(options.output)
    print(f"figure {options.output}")
    return 0


def _curves(axis: Any, x: Any, values: Any, order: int, name: str) -> None:
    colour = style.COLOURS[{1: 0, 2: 1, 4: 2}[order]]
    marker = {1: "o", 2: "s", 4: "^"}[order]
    axis.plot(x, values[:, 0], marker + "-", color=colour, markersize=5, label=name)
    axis.plot(x, values[:, 1], marker + "--", color=colour, markersize=3.5, alpha=0.8)
