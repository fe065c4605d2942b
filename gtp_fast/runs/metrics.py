"""metrics.csv: one row per step and seed, one column per metric.

`pandas.read_csv(path)` is ready to plot.

Figures that belong to one step may come in several calls; each call writes its own rows and leaves
the other columns empty, so `frame.groupby(["step", "seed"]).first()` joins them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtp_fast.errors import UserError, untrusted
from gtp_fast.system.files import unwritable, write_atomically

_INDEX = ["step", "seed"]


def read(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """Return the columns of a metrics table, nan for empty cells; UserError for another file."""
    rows = _rows(Path(path)) or [_INDEX]
    body = [row for row in rows[1:] if len(row) == len(rows[0])]
    with _numbers(path):
        figures = np.array([[float(cell or "nan") for cell in row] for row in body])
    return dict(zip(rows[0], figures.reshape(-1, len(rows[0])).T, strict=True))


class MetricsLog:
    """Appends to a metrics table.

    resume_step: rows beyond it, and a last line that a crash cut short, are dropped from an
    existing table. A metric that was never seen before adds a column: the table is then rewritten
    once with the wider header.
    """

    def __init__(
        self,
        path: str | Path,
        seeds: Sequence[int],
        resume_step: int = 0,
    ):
        self.path, self.seeds = Path(path), tuple(seeds)
        self.columns = list(_INDEX)
        if self.path.exists():
            self._trim(resume_step)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one row a seed; values: name -> one number, or one a seed [S]."""
        table = {
            name: np.broadcast_to(np.asarray(v, dtype=np.float64), len(self.seeds))
            for name, v in values.items()
        }
        if new := [name for name in table if name not in self.columns]:
            self._widen(new)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for i, seed in enumerate(self.seeds):
            figures = {name: f"{column[i]:.9g}" for name, column in table.items()}
            writer.writerow([step, seed, *(figures.get(name, "") for name in self.columns[2:])])
        try:
            with self.path.open("a") as file:
                file.write(text.getvalue())
        except OSError as error:
            raise UserError(unwritable(self.path, error)) from error

    def _trim(self, step: int) -> None:
        rows = _rows(self.path)
        if not rows:
            return
        self.columns = rows[0]
        whole = [row for row in rows[1:] if len(row) == len(self.columns)]
        with _numbers(self.path):
            # int, so that nan is no step.
            kept = [row for row in whole if int(float(row[0])) <= step]
        self._replace(kept)

    def _widen(self, new: list[str]) -> None:
        rows = _rows(self.path)[1:] if self.path.exists() else []
        self.columns += new
        self._replace([row + [""] * len(new) for row in rows])

    def _replace(self, rows: list[list[str]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *rows])
        write_atomically(self.path, text.getvalue())


def _numbers(path: str | Path) -> AbstractContextManager[None]:
    return untrusted(f"{path} holds something else than numbers", "move it away")


def _rows(path: Path) -> list[list[str]]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: move it away and go on with --resume.") from error
    # Only what ends in a line feed was written whole.
    rows = list(csv.reader(text.splitlines(keepends=True)[: text.count("\n")]))
    if rows and rows[0][:2] != _INDEX:
        raise UserError(f"{path} is no table of ours: move it away and go on with --resume.")
    return rows
