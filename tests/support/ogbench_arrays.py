"""Small files of OGBench's layout; they need its package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from gtp_fast.environments import ogbench_names
from gtp_fast.environments.ogbench_package import required

POINT = "pointmaze-medium-navigate-singletask-v0"


def written(path: Path, name: str, **left_out: Any) -> Path:
    """Write a file of OGBench's layout: 3 episodes, of which the second passes the goal."""
    required(name)
    single = ogbench_names.find(name)
    env: Any = gym.make(single.environment)
    env.reset(seed=0)
    draw, lengths = np.random.default_rng(0), (5, 8, 4)
    n, size, actions = sum(lengths), env.observation_space.shape[0], env.action_space.shape[0]
    arrays: dict[str, Any] = {
        "observations": draw.standard_normal((n, size)).astype(np.float32),
        "actions": draw.uniform(-1, 1, (n, actions)).astype(np.float32),
        "terminals": np.isin(np.arange(n), np.cumsum(lengths) - 1),
    }
    inner = env.unwrapped
    if single.body == "pointmaze":
        arrays["qpos"] = np.full((n, 2), -50.0, np.float32)
        arrays["qpos"][8:10] = inner.cur_goal_xy
    else:
        arrays["qpos"] = np.zeros((n, 23), np.float32)
        target = inner._target_button_states
        arrays["button_states"] = np.where(draw.random((n, len(target))) < 0.5, target, 1 - target)
        arrays["button_states"][8:10] = target
    for key in left_out:
        del arrays[key]
    np.savez(path, **arrays)
    np.savez(path.with_name(f"{path.stem}-val.npz"), **arrays)
    return path
