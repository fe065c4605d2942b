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
from gtp_fast.system.figure import figure as canvas
from gtp_fast.system.figure import require_name
from gtp_fast.system.files import make_folder_of
from gtp_fast.toy.methods import COLOURS
from gtp_fast.toy.theorem import gaps, ideal, teacher

ORDERS = {1: "Euler, order 1", 2: "Heun, order 2", 4: "Runge-Kutta, order 4"}
_LOOK = {
    1: (COLOURS[0], "o", 11), 2: (COLOURS[1], "s", 7), 4: (COLOURS[2], "^", 4)
}  # fmt: skip
TIME, FIXED = 2.0, 1.0


@dataclass(frozen=True)
class Options:
    """Where the figure goes."""

    output: Path = Path("runs/toy/theorem.png")
    """File of the figure (.png, .svg or .pdf)."""


def main(argv: Sequence[str]) -> int:
    """Compute both sides and draw them; return the exit code."""
    options = cli.parse(Options, argv, "python -m gtp_fast.toy theorem", __doc__)
    require_name(options.output)
    make_folder_of(options.output)
    figure, save = canvas(9.6, 4.6, dpi=110, colours=128)
    left, right = figure.subplots(1, 2, sharey=True)
    near_h, counts = 2.0 ** -np.arange(0, 9), 2 ** np.arange(0, 8)
    step = (TIME - FIXED) / counts
    limit, _ = ideal(TIME, FIXED, teacher, 400, 4)
    for order, name in ORDERS.items():
        near = np.array([gaps(TIME, TIME - x, 1, order) for x in near_h])
        fixed = np.array([gaps(TIME, FIXED, int(n), order) for n in counts])
        own = [abs(ideal(TIME, FIXED, teacher, int(n), order)[0] - limit) for n in counts]
        _curves(left, near_h, near, order, name)
        _curves(right, step, fixed, order, name)
        right.plot(step, own, ":", color=_LOOK[order][0], linewidth=1.6)
    slope = 0.09 * near_h**2
    left.plot(near_h, slope, color="black", linewidth=1, linestyle=":")
    left.text(near_h[5], slope[5] * 1.7, "slope 2", fontsize=10, ha="right")
    left.set_title(
        "u close to t, one step h = t - u:\nthe gap closes as $(t-u)^2$ whatever the order"
    )
    right.set_title("u fixed (t = 2, u = 1), solver step h:\nthe gap stays whatever the order")
    right.text(
        0.985, 0.66, "dotted: the ideal loss against its own\nlimit, all that is O($h^p$)",
        transform=right.transAxes, ha="right", fontsize=9,
    )  # fmt: skip
    left.set_xlabel("t - u")
    right.set_xlabel("h")
    left.set_ylabel("gap between practical and ideal")
    for axis in (left, right):
        axis.set(xscale="log", yscale="log", ylim=(8e-7, 0.4))
        axis.grid(alpha=0.3)
    left.legend(loc="lower right", fontsize=9, title="solid: loss, dashed: gradient")
    save(options.output)
    print(f"figure {options.output}")
    return 0


def _curves(axis: Any, x: Any, values: Any, order: int, name: str) -> None:
    colour, marker, size = _LOOK[order]
    # The curves lie on each other: hollow markers of three sizes keep all of them in sight.
    look = {"color": colour, "markerfacecolor": "none", "markersize": size, "linewidth": 1.2}
    axis.plot(x, values[:, 0], marker + "-", label=name, **look)
    axis.plot(x, values[:, 1], "--", color=colour, linewidth=1.2)
