"""The toy's figures in words: one table for reading, one for machines."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from gtp_fast.studies.markdown import table
from gtp_fast.toy.experiment import STEPS, Result
from gtp_fast.toy.methods import METHODS


def markdown(results: Sequence[Result]) -> str:
    """Return a page with one table a target: W1, modes kept and strays for every K."""
    guided = ", ".join(method.name for method in METHODS if method.guided)
    parts = [
        "# Special cases of the flow map, measured",
        "Cells: W1 to the law of the data (sliced in the plane; of the first action where there "
        "are goals) / modes that got a quarter of their share or more (goals reached by walking) / "
        f"share of samples in none. Means over the seeds. {guided} follow the reward and are meant "
        "to leave the law of the data; they belong inside its modes all the same.",
    ]
    for target in dict.fromkeys(result.target for result in results):
        rows = []
        for result in results:
            if result.target == target:
                figures = (result.distance, result.modes, result.outside)
                cells = [
                    "{:.3f} / {:g} / {:.0%}".format(*(values[k] for values in figures))
                    for k in STEPS
                ]
                cost = f"{1e3 * result.seconds_per_update:.1f}"
                rows.append((result.method, *cells, cost, result.diverged or "-"))
        header = ("method", *(f"K = {k}" for k in STEPS), "ms per update", "diverged")
        parts.append(f"## {target}\n\n{table(header, rows, aligned=False)}")
    return "\n\n".join(parts) + "\n"


def comma_separated(results: Sequence[Result]) -> str:
    """Return every figure, one row a target, method and K."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("target", "method", "k", "w1", "modes", "outside", "seconds_per_update", "diverged")
    )
    for r in results:
        for k in STEPS:
            figures = (f"{x[k]:.6g}" for x in (r.distance, r.modes, r.outside))
            writer.writerow(
                (r.target, r.method, k, *figures, f"{r.seconds_per_update:.6g}", r.diverged)
            )
    return text.getvalue()
