"""The action box: actions in the environment's units, and in [-1, 1], by one formula."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ends = NDArray[np.float32]


def scale(low: Ends, high: Ends) -> tuple[Ends, Ends]:
    """Return half the width of a box and its middle, [A] each.

    middle + half a never leaves the box for a in [-1, 1]. With half = (high - low) / 2, rounding
    puts middle + half outside in one box of five.
    """
    middle: Ends = (high + low) / np.float32(2)
    half: Ends = np.minimum(high - middle, middle - low)
    while (out := (middle + half > high) | (middle - half < low)).any():
        half = np.where(out, np.nextafter(half, np.float32(0)), half)
    return half, middle


def normalise(actions: NDArray[np.float32], low: Ends, high: Ends) -> None:
    """Map actions [N, A] from their box to [-1, 1], in place."""
    half, middle = scale(low, high)
    actions -= middle
    actions /= half


def denormalise(actions: Any, half: Any, middle: Any) -> Any:
    """Return actions [..., A] in the units of a box; half, middle: from `scale`."""
    return actions * half + middle
