"""One episode in the making, in the layout Minari stores: one more observation than actions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Observation = dict[str, NDArray[np.float64]]
Stored = dict[str, Any]


class Episode:
    """Collects steps; `finish` gives plain arrays that travel between processes."""

    def __init__(self, seed: int, observation: Observation, info: dict[str, Any]) -> None:
        self._seed = seed
        self._observations = [observation]
        self._infos = [info]
        self._actions: list[NDArray[np.float32]] = []
        self._rewards: list[float] = []
        self._terminated: list[bool] = []

    def __len__(self) -> int:
        return len(self._actions)

    def add(
        self,
        action: NDArray[np.float32],
        observation: Observation,
        reward: float,
        terminated: bool,
        info: dict[str, Any],
    ) -> None:
        """Append one step."""
        self._actions.append(action)
        self._observations.append(observation)
        self._infos.append(info)
        self._rewards.append(float(reward))
        self._terminated.append(bool(terminated))

    def finish(self, limit: int | None = None) -> Stored:
        """Arrays of the first `limit` steps, the last of them truncated unless it terminates."""
        count = min(len(self), limit or len(self))
        terminations = np.array(self._terminated[:count], np.bool_)
        truncations = np.zeros(count, np.bool_)
        truncations[-1] = not terminations[-1]
        return {
            "seed": self._seed,
            "observations": _stack(self._observations[: count + 1]),
            "actions": np.array(self._actions[:count], np.float32),
            "rewards": np.array(self._rewards[:count], np.float64),
            "terminations": terminations,
            "truncations": truncations,
            "infos": _stack(self._infos[: count + 1]),
        }


def shorten(episode: Stored, limit: int) -> Stored:
    """The first `limit` steps of a finished episode, ending in a truncation."""
    out: Stored = {"seed": episode["seed"]}
    for key in ("actions", "rewards", "terminations", "truncations"):
        out[key] = episode[key][:limit].copy()
    for key in ("observations", "infos"):
        out[key] = {name: values[: limit + 1] for name, values in episode[key].items()}
    out["truncations"][-1] = not out["terminations"][-1]
    return out


def _stack(steps: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    return {key: np.array([step[key] for step in steps]) for key in steps[0]}
