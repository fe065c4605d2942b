"""Numbers as they are printed: a count with its noun, a mean with its deviation."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def many(count: int, noun: str) -> str:
    """Return `1 seed` or `1,000 seeds`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def mean_and_deviation(values: ArrayLike, places: int, width: int = 0) -> str:
    """Return `3.79 +- 0.12`, mean and sample standard deviation; of one value the value.

    width: at least that of the mean.
    """
    given = np.asarray(values, np.float64)
    mean = f"{given.mean():{width}.{places}f}"
    return mean if given.size == 1 else f"{mean} +- {given.std(ddof=1):.{places}f}"
