"""A Minari dataset shaped like AntMaze's, made of random numbers in seconds."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

DATASET = "local/antmaze/benchmark-v0"
KEYS = ("achieved_goal", "observation", "desired_goal")
EPISODE, OBSERVATIONS, ACTIONS = 1000, 27, 8
RADIUS = 0.45


def make(root: Path, transitions: int) -> Path:
    """Write a dataset of so many transitions below `root`; returns its folder.

    Every fourth episode ends at its goal. Needs minari.
    """
    import minari
    from gymnasium.spaces import Box, Dict
    from minari.data_collector import EpisodeBuffer

    draw = np.random.default_rng(0)
    lengths = [EPISODE] * (transitions // EPISODE) + [transitions % EPISODE] * (
        transitions % EPISODE > 0
    )
    episodes = [
        EpisodeBuffer(id=i, **_episode(draw, length, i)) for i, length in enumerate(lengths)
    ]
    space = {"achieved_goal": 2, "desired_goal": 2, "observation": OBSERVATIONS}
    with mock.patch.dict(os.environ, MINARI_DATASETS_PATH=str(root)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            dataset_id=DATASET,
            buffer=episodes,
            observation_space=Dict(
                {k: Box(-np.inf, np.inf, (n,), np.float64) for k, n in space.items()}
            ),
            action_space=Box(-1.0, 1.0, (ACTIONS,), np.float32),
            algorithm_name="random numbers",
            author="gtp_fast benchmarks",
            author_email="none@example.org",
            code_permalink="benchmarks/synthetic.py",
            description="Random numbers for a benchmark; not the official data of any name.",
        )
    return root / DATASET


def _episode(draw: np.random.Generator, length: int, number: int) -> dict[str, Any]:
    goal = draw.uniform(-20, 20, 2)
    achieved = goal + 5 + draw.uniform(0, 10, (length + 1, 2))
    if number % 4 == 0:
        achieved[-1] = goal
    ended = np.zeros(length, np.bool_)
    ended[-1] = True
    return {
        "seed": number,
        "observations": {
            "achieved_goal": achieved,
            "desired_goal": np.tile(goal, (length + 1, 1)),
            "observation": draw.normal(size=(length + 1, OBSERVATIONS)),
        },
        "actions": draw.uniform(-1, 1, (length, ACTIONS)).astype(np.float32),
        "rewards": np.zeros(length),
        "terminations": np.zeros(length, np.bool_),
        "truncations": ended,
    }
