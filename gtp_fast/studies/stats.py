"""Statistics over seeds and tasks: interquartile mean, bootstrap, probability of improvement.

A stratum is the scores of one task, one number a seed; resampling never leaves its stratum
(Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.float64]
Statistic = Callable[[Scores], Any]


def mean(values: ArrayLike) -> Any:
    """Return the mean over the last axis."""
    return np.asarray(values, dtype=np.float64).mean(-1)


def iqm(values: ArrayLike) -> Any:
    """Return the mean over the last axis without the lowest and highest quarter (rounded down)."""
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(-1)


def average(strata: Sequence[ArrayLike]) -> Statistic:
    """Return the mean that gives every task one weight, however many seeds each has.

    strata: of the scores that it is taken of, one below the other on the last axis.
    """
    cuts = np.cumsum([np.size(scores) for scores in strata])[:-1]
    return lambda values: np.mean([v.mean(-1) for v in np.split(values, cuts, axis=-1)], axis=0)


def bootstrap_interval(
    strata: Sequence[ArrayLike],
    statistic: Statistic = iqm,
    confidence: float = 0.95,
    repetitions: int = 5000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic; every stratum is resampled by itself.

    strata: one sequence of scores a task; statistic: reduces the last axis.
    Returns (nan, nan) when a stratum has a single score, for nothing is known of its spread.
    """
    scores = [np.asarray(stratum, dtype=np.float64) for stratum in strata]
    if min(len(s) for s in scores) < 2:
        return float("nan"), float("nan")
    draw = np.random.default_rng(seed)
    resampled = [s[draw.integers(len(s), size=(repetitions, len(s)))] for s in scores]
    values = statistic(np.concatenate(resampled, axis=-1))
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return float(low), float(high)


def probability_of_improvement(ours: Sequence[ArrayLike], theirs: Sequence[ArrayLike]) -> float:
    """Return P(ours > theirs) + P(equal) / 2 of two runs, averaged over the tasks.

    ours, theirs: one sequence of scores a task, tasks in the same order.
    """
    chances = []
    for x, y in zip(ours, theirs, strict=True):
        difference = (
            np.asarray(x, dtype=np.float64)[:, None] - np.asarray(y, dtype=np.float64)[None]
        )
        chances.append((difference > 0).mean() + 0.5 * (difference == 0).mean())
    return float(np.mean(chances))


def improvement_interval(
    ours: Sequence[ArrayLike],
    theirs: Sequence[ArrayLike],
    repetitions: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of `probability_of_improvement`; seeds are resampled.

    Returns (nan, nan) when a task has a single score of either.
    """
    pairs = [
        (np.asarray(x, float), np.asarray(y, float)) for x, y in zip(ours, theirs, strict=True)
    ]
    if min(min(len(x), len(y)) for x, y in pairs) < 2:
        return float("nan"), float("nan")
    draw = np.random.default_rng(seed)
    chances = []
    for x, y in pairs:
        first = x[draw.integers(len(x), size=(repetitions, len(x)))][:, :, None]
        second = y[draw.integers(len(y), size=(repetitions, len(y)))][:, None]
        chances.append(((first > second) + 0.5 * (first == second)).mean((1, 2)))
    low, high = np.percentile(np.mean(chances, axis=0), (2.5, 97.5))
    return float(low), float(high)
