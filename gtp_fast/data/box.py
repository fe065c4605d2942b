"""The action box: actions in the environment's units, and in [-1, 1], by one formula."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ends = NDArray[np.float32]


def is_box(low: Ends, high: Ends) -> bool:
    """Return whether low < high everywhere, and their sum and difference are finite."""
    if low.shape != high.shape:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(low + high).all() and np.isfinite(high - low).all()
        return bool((low < high).all() and finite)


def shown(differ: NDArray[np.bool_], box: NDArray[Any]) -> str:
    """Return the ends of the first action that differs; differ: [A]; box: both ends [2, A]."""
    low, high = box[:, int(differ.argmax())]
    return f"[{low:g}, {high:g}]"


def scale(low: Ends, high: Ends) -> tuple[Ends, Ends]:
    """Return half the width of a box and its middle, [A] each.

    middle + half a never leaves the box for a in [-1, 1]. With half = (high - low) / 2, rounding
    puts middle + half outside in one box of five. ValueError for what `is_box` denies.
    """
    if not is_box(low, high):
        raise ValueError(f"{low.tolist()} to {high.tolist()} is no box of float32")
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
