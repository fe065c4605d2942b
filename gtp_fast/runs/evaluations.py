"""evaluations.npz: one row for each evaluated episode of a run."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gtp_fast.errors import untrusted
from gtp_fast.evaluation.record import Evaluation, Figures, told
from gtp_fast.system.files import write_atomically

_COLUMNS = ("step", "seed", "episode", "return", "length", "success", "environment_seed")


class EvaluationLog:
    """Appends to evaluations.npz: one row an episode.

    Columns: step, seed, episode, return, length, success, environment_seed.
    `pandas.DataFrame(dict(numpy.load(path)))` is a tidy table. Rows beyond resume_step are dropped
    on opening.
    """

    def __init__(self, path: str | Path, resume_step: int = 0):
        self.path = Path(path)
        if self.path.exists():
            rows = read(self.path)
            self._write(
                {name: column[rows["step"] <= resume_step] for name, column in rows.items()}
            )

    def append(self, step: int, evaluation: Evaluation) -> None:
        """Add every episode of an evaluation after `step` updates, in place of earlier ones."""
        policies, episodes = evaluation.returns.shape
        new = {
            "step": np.full(policies * episodes, step),
            "seed": np.repeat(np.array(evaluation.seeds), episodes),
            "episode": np.tile(np.arange(episodes), policies),
            "return": evaluation.returns.ravel(),
            "length": evaluation.lengths.ravel(),
            "success": evaluation.successes.ravel(),
            "environment_seed": np.tile(evaluation.environment_seeds, policies),
        }
        old = read(self.path) if self.path.exists() else {}
        if old:
            others = old["step"] != step
            old = {name: column[others] for name, column in old.items()}
        self._write(
            {
                name: np.concatenate([old[name], new[name]]) if old else new[name]
                for name in _COLUMNS
            }
        )

    def at(
        self, step: int, seeds: Sequence[int], reference: tuple[float, float] | None
    ) -> Evaluation | None:
        """Return the evaluation after `step` updates, or None; seeds: of its policies, in order."""
        rows = read(self.path) if self.path.exists() else {}
        if not rows or not (rows["step"] == step).any():
            return None
        there = {name: column[rows["step"] == step] for name, column in rows.items()}
        episodes = len(there["seed"]) // len(seeds)
        if there["seed"].tolist() != np.repeat(np.array(seeds), episodes).tolist():
            return None
        returns, lengths, successes = (
            there[name].reshape(len(seeds), episodes) for name in ("return", "length", "success")
        )
        drawn = there["environment_seed"][:episodes]
        return Evaluation(tuple(seeds), returns, lengths, successes, drawn, reference)

    def _write(self, rows: dict[str, Any]) -> None:
        data = io.BytesIO()
        np.savez(data, **rows)
        write_atomically(self.path, data.getvalue())


def read(path: str | Path) -> dict[str, Any]:
    """Return the columns of evaluations.npz; UserError when it is damaged.

    A success that is not reported is a failure where any episode of the run reports one.
    """
    mend = "move it away and evaluate the run again"
    with untrusted(f"{path} cannot be read", mend), np.load(path, allow_pickle=False) as file:
        columns = {name: file[name] for name in _COLUMNS}
        if len({column.shape for column in columns.values()}) > 1 or columns["step"].ndim != 1:
            raise ValueError("its columns differ in length")
        _check(columns)
    columns["success"] = told(columns["success"])
    return columns


def _check(columns: dict[str, Any]) -> None:
    """Raise ValueError unless every seed has finite returns at every step."""
    if not all(columns[name].dtype.kind in "iu" for name in ("step", "seed")):
        raise ValueError("its steps and seeds are no integers")
    if not np.isfinite(columns["return"]).all():
        raise ValueError("its returns are not finite")
    pairs = {*zip(columns["step"].tolist(), columns["seed"].tolist(), strict=True)}
    if len(pairs) != math.prod(len(np.unique(columns[name])) for name in ("step", "seed")):
        raise ValueError("some steps lack seeds")


def by_step(rows: dict[str, Any], column: str) -> tuple[list[int], list[Figures]]:
    """Return the evaluated steps, ascending, and for each the seeds' means of a column [S]."""
    steps = sorted(set(rows["step"].tolist()))
    means = []
    for step in steps:
        at = rows["step"] == step
        seeds: Sequence[int] = sorted(set(rows["seed"][at].tolist()))
        means.append(np.array([rows[column][at & (rows["seed"] == seed)].mean() for seed in seeds]))
    return steps, means


def mean_of_last_three(rows: dict[str, Any], column: str = "success") -> Figures | None:
    """Return each seed's mean of a column over the last three evaluations [S], as FQL reports it.

    None where there are fewer than three.
    """
    means = by_step(rows, column)[1][-3:]
    return np.mean(means, axis=0) if len(means) == 3 else None
