"""The action box: how actions in [-1, 1] are carried to the environment's own units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ends = NDArray[np.float32]


def scale(low: Ends, high: Ends) -> tuple[Ends, Ends]:
    """Return half the width of a box [A] and its middle, [A] each: middle + half a for a in [-1, 1]
    never leaves the box.

    With half = (high - low) / 2, rounding puts middle + half outside in one box of five.
    """
    middle: Ends = (high + low) / np.float32(2)
    half: Ends = np.minimum(high - middle, middle - low)
    while (out := (middle + half > high) | (middle - half < low)).any():
        half = np.where(out, np.nextafter(half, np.float32(0)), half)
    return half, middle
