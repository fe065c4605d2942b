"""python -m gtp_fast.toy tables: write the tables of docs/theory.md from what computes them.

Nothing is trained: the fixed points of the law of u are recursions, the unified view is the table
of methods that the toy trains.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from gtp_fast import cli, reference
from gtp_fast.errors import UserError
from gtp_fast.studies import markdown
from gtp_fast.system.files import write_atomically
from gtp_fast.toy.fixed_points import TableMap, gaussian_recursion, karras
from gtp_fast.toy.laws import TWO_MODES, Array, judge, normal_scores
from gtp_fast.toy.methods import METHODS

SD = 0.5
NODES = (11, 41, 161, 1281)
MIXTURE_ROWS = ((11, 5), (41, 1), (41, 5), (161, 1), (161, 2), (161, 5))


@dataclass(frozen=True)
class Options:
    """Which page is rewritten."""

    page: Path = Path("docs/theory.md")
    """Page with the markers `<!-- NAME:begin -->` and `<!-- NAME:end -->`."""


def main(argv: Sequence[str]) -> int:
    """Rewrite every table between its markers; return the exit code."""
    options = cli.parse(Options, argv, "python -m gtp_fast.toy tables", __doc__)
    try:
        text = options.page.read_text()
    except OSError as error:
        raise UserError(f"{options.page} cannot be read: {error.strerror}.") from error
    for name, make in TABLES.items():
        text = between_markers(text, name, make())
    write_atomically(options.page, text)
    print(f"{options.page}: {', '.join(TABLES)}")
    return 0


def between_markers(text: str, name: str, table: str) -> str:
    """Return the text with a table put between its markers; UserError when they are missing."""
    pattern = re.compile(f"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
    if not pattern.search(text):
        raise UserError(
            f"The page lacks the markers <!-- {name}:begin --> and <!-- {name}:end -->."
        )
    return pattern.sub(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", text)


def unified_view() -> str:
    """Return which choice of (tau, u, target, comparison) gives which method."""
    return markdown.table(
        ("method", "`--objective`", "tau", "u", "what the jump is held against", "compared"),
        [
            (m.name, f"`{m.settings.get('objective', 'gtp')}`", m.tau, m.u, m.target, m.compared)
            for m in METHODS
        ],
        aligned=False,
    )


def one_jump_deviation(count: int, t_max: float, u_mode: str) -> float:
    """Return the standard deviation of the one-jump sample at the fixed point, data N(0, 0.5^2)."""
    times = karras(count, t_max, first=0.002)
    return float(t_max * gaussian_recursion(times, SD, u_mode)[-1, 0])


def gaussian_table(nodes: Sequence[int] = NODES) -> str:
    """Return the one-jump deviations by the law of u; the truth is 0.5."""
    cases = [(t_max, u_mode) for t_max in (80.0, 5.0) for u_mode in reference.U_MODES]
    return markdown.table(
        ("N", *(f"T = {t_max:g}, u {u_mode}" for t_max, u_mode in cases)),
        [
            (str(n), *(f"{one_jump_deviation(n, *case):.4f}" for case in cases))
            for n in nodes
        ],
        aligned=False,
    )  # fmt: skip


def mixture_table(rows: Sequence[tuple[int, int]] = MIXTURE_ROWS) -> str:
    """Return W1, mass in |x| < 0.25 and deviation of the two-mode fixed points."""
    scores = normal_scores(4001)
    maps = {
        (n, u_mode): TableMap(TWO_MODES, n, u_mode, 601 if u_mode == "adjacent" else 401)
        for n in sorted({n for n, _ in rows})
        for u_mode in reference.U_MODES
    }
    cells = []
    for n, k in rows:
        samples = [maps[n, u_mode].sample(scores, k) for u_mode in reference.U_MODES]
        samples.append(denoiser_euler(scores, k))
        cells.append((f"{n}, {k}", *(_figures(sample) for sample in samples)))
    truth = _figures(TWO_MODES.flow(80 * scores, 80.0, 0.0))
    header = ("N, K", *(f"u {mode}" for mode in reference.U_MODES), "denoiser, Euler steps")
    return markdown.table(header, [*cells, ("truth", truth, truth, truth)], aligned=False)


def denoiser_euler(noise: Array, k: int) -> Array:
    """Return what K Euler steps of the exact field make of T noise."""
    times = reference.sampling_times(k).double().numpy()
    x: Array = times[0] * noise
    for t, tau in pairwise(times):
        x = tau / t * x + (1 - tau / t) * TWO_MODES.denoiser(x, float(t))
    return x


def _figures(samples: Array) -> str:
    shape = judge(np.asarray(samples))
    return f"{shape.distance:.3f} / {shape.middle:.3f} / {shape.deviation:.3f}"


TABLES: dict[str, Callable[[], str]] = {
    "unified-view": unified_view,
    "gaussian": gaussian_table,
    "two-modes": mixture_table,
}
