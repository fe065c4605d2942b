"""Small synthetic datasets for the loader's tests."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pytest
from minari.data_collector import EpisodeBuffer

GOAL = np.array([5.0, 5.0])


def walk(number: int, steps: int, arrives: int | None, width: int = 27) -> EpisodeBuffer:
    """An ant-like episode whose numbers tell episode and time; at its goal from `arrives` on."""
    time = np.arange(steps + 1)
    there = np.zeros(steps + 1, bool) if arrives is None else time >= arrives
    achieved = np.where(there[:, None], GOAL + np.array([0.1 * number, 0.2]), [[0.0, -3.0]])
    body = 100.0 * number + time[:, None] + np.arange(width) / 100
    truncations = np.zeros(steps, bool)
    truncations[-1] = True
    return EpisodeBuffer(
        id=number,
        observations={
            "observation": body,
            "achieved_goal": achieved,
            "desired_goal": np.tile(GOAL + np.array([0.1 * number, 0.0]), (steps + 1, 1)),
        },
        actions=np.full((steps, 8), 0.01 * (number + 1), np.float32)
        * np.linspace(-1, 1, 8, dtype=np.float32),
        rewards=there[1:].astype(np.float64),
        terminations=np.zeros(steps, bool),
        truncations=truncations,
        infos={"success": there},
    )


def ant_space(width: int = 27) -> gym.spaces.Dict:
    """Observation space of AntMaze v4."""
    widths = {"observation": width, "achieved_goal": 2, "desired_goal": 2}
    boxes = {k: gym.spaces.Box(-np.inf, np.inf, (n,), np.float64) for k, n in widths.items()}
    return gym.spaces.Dict(boxes)


def save(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    dataset_id: str,
    episodes: list[EpisodeBuffer],
    observation_space: gym.Space[Any],
    actions: int,
    low: float = -1.0,
    high: float = 1.0,
) -> Path:
    """Write a Minari dataset below `root`, which becomes Minari's folder; returns its own."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            dataset_id, episodes, action_space=gym.spaces.Box(low, high, (actions,), np.float32),
            observation_space=observation_space,
        )  # fmt: skip
    return root / dataset_id


def flat(steps: int = 12, width: int = 3) -> dict[str, np.ndarray]:
    """D4RL arrays of three episodes: one ends, one times out, one is unfinished."""
    time = np.arange(steps)
    return {
        "observations": (10.0 * time[:, None] + np.arange(width)).astype(np.float32),
        "actions": np.linspace(-0.9, 0.9, 2 * steps, dtype=np.float32).reshape(steps, 2),
        "rewards": time.astype(np.float32),
        "terminals": time == 3,
        "timeouts": time == 7,
    }


def hopper(root: Path, monkeypatch: pytest.MonkeyPatch, level: str, steps: int) -> Path:
    """Write Minari's set of hopper at a level, one episode of so many steps; return its folder."""
    rng = np.random.default_rng(steps)
    episode = EpisodeBuffer(
        id=0, observations=rng.standard_normal((steps + 1, 11)),
        actions=rng.uniform(-1, 1, (steps, 3)).astype(np.float32), rewards=np.ones(steps),
        terminations=np.arange(steps) == steps - 1, truncations=np.zeros(steps, bool),
    )  # fmt: skip
    space = gym.spaces.Box(-np.inf, np.inf, (11,), np.float64)
    return save(root, monkeypatch, f"mujoco/hopper/{level}-v0", [episode], space, 3)
