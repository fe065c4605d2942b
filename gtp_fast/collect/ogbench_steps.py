"""The steps of one collected episode, in OGBench's layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
_KINDS = {"terminals": np.bool_, "button_states": np.int64}


class Steps:
    """Rows of an episode: the state before each action, the action, and the simulator's state."""

    def __init__(self) -> None:
        self._rows: dict[str, list[NDArray[Any]]] = {}

    def __len__(self) -> int:
        return len(self._rows.get("actions", ()))

    def add(self, observation: NDArray[Any], action: NDArray[Any], info: Mapping[str, Any]) -> None:
        """Add one step; info: what the environment returned with it."""
        row = {"observations": observation, "actions": action}
        for name in ("qpos", "qvel", "button_states"):
            if f"prev_{name}" in info:
                row[name] = info[f"prev_{name}"]
        for name, value in row.items():
            self._rows.setdefault(name, []).append(np.array(value))

    def finish(self, most: int) -> Arrays:
        """Return the first `most` rows; the last is terminal, and no transition starts there."""
        arrays: Arrays = {
            name: np.array(rows[:most], _KINDS.get(name, np.float32))
            for name, rows in self._rows.items()
        }
        ends = np.zeros(len(arrays["actions"]), np.bool_)
        ends[-1] = True
        return arrays | {"terminals": ends}
