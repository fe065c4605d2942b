"""Small Minari sets of any space, written by Minari itself, and changes of their metadata."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari as library
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from minari.data_collector import EpisodeBuffer

from gtp_fast.data.recording import Recording

ACTIONS = Box(-1.0, 1.0, (2,), np.float32)
SPACE = Dict(
    {
        "velocity": Box(-np.inf, np.inf, (2,), np.float32),
        "camera": Box(0, 255, (8, 8, 3), np.uint8),
        "arm": Dict({"joint": Box(-np.inf, np.inf, (3,), np.float64), "mode": Discrete(3)}),
        "count": Box(0, 9, (1,), np.int64),
    }
)
TAKEN = ("arm/joint", "count", "velocity")
FLAT = Box(-np.inf, np.inf, (3,), np.float64)


def observations(number: int, steps: int) -> dict[str, Any]:
    time = 10.0 * number + np.arange(steps + 1)[:, None]
    return {
        "velocity": (time + np.array([0.0, 0.5])).astype(np.float32),
        "camera": np.zeros((steps + 1, 8, 8, 3), np.uint8),
        "arm": {"joint": time - np.array([0.0, 0.25, 0.5]), "mode": np.zeros(steps + 1, np.int64)},
        "count": np.arange(steps + 1)[:, None] % 10,
    }


def episode(number: int, steps: int, space: gym.Space[Any] = FLAT) -> EpisodeBuffer:
    seen = observations(number, steps)
    return EpisodeBuffer(
        id=number,
        observations=seen if space != FLAT else seen["arm"]["joint"],
        actions=np.full((steps, 2), 0.1 * number, np.float32),
        rewards=number + np.arange(steps, dtype=np.float64),
        terminations=np.arange(steps) == steps - 1,
        truncations=np.zeros(steps, bool),
        infos={},
    )


def save(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    space: gym.Space[Any] = FLAT,
    steps: tuple[int, ...] = (3, 4, 2),
    **more: Any,
) -> Path:
    """Write the set user/set-v0 with the real library; returns its folder."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    buffers = [episode(number, length, space) for number, length in enumerate(steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.create_dataset_from_buffers(
            "user/set-v0", buffers, observation_space=space,
            **({"action_space": ACTIONS} | more),
        )  # fmt: skip
    return root / "user/set-v0"


def open_file(folder: Path) -> h5py.File:
    return h5py.File(folder / "data/main_data.hdf5", "a")


def change_facts(folder: Path, *dropped: str, **changed: Any) -> dict[str, Any]:
    """Rewrite the metadata; returns what they were."""
    path = folder / "data/metadata.json"
    facts: dict[str, Any] = json.loads(path.read_text())
    kept = {key: value for key, value in facts.items() if key not in dropped}
    path.write_text(json.dumps(kept | changed))
    return facts


def same(found: Recording, other: Recording) -> bool:
    keys = ("rows", "rewards", "terminals", "action_low", "action_high")
    return all(np.array_equal(getattr(found, key), getattr(other, key)) for key in keys)
