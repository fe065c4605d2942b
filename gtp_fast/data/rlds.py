"""Steps as RLDS stores them, whose marks tell of observations, made into transitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COPIED = ("observations", "actions", "rewards")


def last_of(starts: NDArray[Any]) -> NDArray[Any]:
    """Return the marks of last steps out of those of first ones, in their shape."""
    flat = starts.reshape(-1)
    return np.append(flat[1:], np.ones(min(1, len(flat)), flat.dtype)).reshape(starts.shape)


def transitions(
    arrays: Mapping[str, NDArray[Any]], last: NDArray[np.bool_], terminal: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """Return transitions with next observations, terminals and ends of episodes.

    arrays: [N, ...] by their canonical names; last, terminal [N]: last steps of episodes and steps
    at a terminal state. The last step has an observation alone, so it is s' of the one before and
    no transition, and its terminal mark is that transition's. Where next observations are stored
    every step is a transition, and its terminal mark its own.
    """
    last = np.append(last[:-1], True)
    if "next_observations" in arrays:
        kept = {key: arrays[key] for key in (*_COPIED, "next_observations")}
        return kept | {"terminals": terminal, "episode_ends": np.flatnonzero(last) + 1}
    rows = np.flatnonzero(~last)
    found = {key: arrays[key][rows] for key in _COPIED}
    found["next_observations"] = arrays["observations"][rows + 1]
    found["terminals"] = terminal[rows + 1]
    found["episode_ends"] = np.flatnonzero(last[rows + 1]) + 1
    return found
