"""The record of one evaluation: every episode of every policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtp_fast.tasks import normalise

Figures = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """Every episode of S policies; returns are undiscounted sums of rewards."""

    seeds: tuple[int, ...]
    """Training seed of each policy [S]."""
    returns: Figures
    """[S, N]"""
    lengths: NDArray[np.int64]
    """Steps [S, N]."""
    successes: Figures
    """1 if any step was a success, else 0; nan if no episode reports any: [S, N]."""
    environment_seeds: NDArray[np.int64]
    """Seed of each episode's reset, the same for every policy [N]."""
    reference: tuple[float, float] | None = None
    """Returns that count as score 0 and 100."""

    @property
    def scores(self) -> Figures:
        """Normalised score of each episode [S, N]; nan without reference returns."""
        return normalise(self.returns, self.reference)

    @property
    def tells_success(self) -> bool:
        """Whether the environment reports success."""
        return not bool(np.isnan(self.successes).any())

    def headline(self) -> tuple[str, list[float]]:
        """Return name and means of the figure that a policy is judged by.

        The score where there are reference returns, else the success rate where the environment
        reports it, else the return.
        """
        return headline(self.means())

    def means(self) -> dict[str, list[float]]:
        """Return each seed's mean return and length, and score and success_rate if known."""
        figures: dict[str, Any] = {"return": self.returns, "length": self.lengths}
        if self.reference is not None:
            figures["score"] = self.scores
        if self.tells_success:
            figures["success_rate"] = self.successes
        return {name: values.mean(1).tolist() for name, values in figures.items()}


def told(successes: Figures) -> Figures:
    """Return successes with failures where an episode reports none and another one does.

    Some environments report a success only when it happens.
    """
    return successes if np.isnan(successes).all() else np.nan_to_num(successes)


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Return one evaluation out of several of the same episodes, policy after policy."""
    first = parts[0]
    returns, lengths, successes = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("returns", "lengths", "successes")
    )
    seeds = tuple(seed for part in parts for seed in part.seeds)
    successes = told(successes)
    return Evaluation(seeds, returns, lengths, successes, first.environment_seeds, first.reference)


def headline(means: Mapping[str, list[float]]) -> tuple[str, list[float]]:
    """Return name and values of the figure that a policy is judged by."""
    name = next(name for name in ("score", "success_rate", "return") if name in means)
    return name, means[name]
