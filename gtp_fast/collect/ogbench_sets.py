"""Data of OGBench's layout, made here by the scripted policies that its package includes.

The loops follow those of OGBench's repository (data_gen_scripts), which its package leaves out. Its
ants and humanoids were moved by networks that it does not include, so they cannot be collected.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from gtp_fast.collect import ogbench_arm, ogbench_maze
from gtp_fast.collect.ogbench_steps import Arrays, Steps
from gtp_fast.collect.storage import alone, check
from gtp_fast.data.ogbench_files import COLLECTED, SETTINGS_KEY, can_collect, folder, made_here
from gtp_fast.environments.ogbench_names import Single
from gtp_fast.environments.ogbench_package import Numbers, required
from gtp_fast.errors import UserError
from gtp_fast.evaluation.vector import make
from gtp_fast.system.files import make_folder_of, write_atomically
from gtp_fast.system.progress import bar

_TRANSITIONS = 100_000
# Rows of an episode; the last one has no next state, so it has one transition less.
_LIMITS = {"stitch": 201}
_LIMIT = 1001


def collect(
    single: Single,
    transitions: int | None = None,
    seed: int = 0,
    noise: float | None = None,
    output: Path | None = None,
    progress: bool = True,
) -> tuple[Path, bool]:
    """Make the task's file below `output` (default: OGBench's folder), or reuse it.

    Returns the path and whether it was there. A tenth as many transitions go into the file of
    OGBench's second set, `-val`. Raises UserError when a file is there with other settings, cannot
    be written, or the task cannot be collected.
    """
    if not can_collect(single):
        able = "; ".join(f"{body} ({', '.join(data)})" for body, data in COLLECTED.items())
        raise UserError(
            f"{single.dataset} cannot be collected: ogbench includes no policy that made it;"
            f" it does for {able}"
        )
    default = ogbench_maze.NOISE if single.body == "pointmaze" else ogbench_arm.NOISE
    settings: dict[str, Any] = {
        "dataset": single.dataset,
        "transitions": _TRANSITIONS if transitions is None else transitions,
        "seed": seed,
        "noise": default if noise is None else noise,
    }
    check(settings)
    path = (output or folder()) / f"{single.dataset}.npz"
    if _is_there(path, settings):
        return path, True
    make_folder_of(path)
    with alone(path):
        # Whoever held the place may have collected the same.
        if _is_there(path, settings):
            return path, True
        # A collection that was killed leaves the second file alone, which is made again.
        _is_there(_second(path), settings)
        _write(path, single, settings, progress)
    return path, False


def _is_there(path: Path, settings: dict[str, Any]) -> bool:
    """Return whether a file was collected; UserError where it is another."""
    if path.exists() and made_here(path) != settings:
        raise UserError(
            f"{path} is there already, made with other settings or by OGBench;"
            " remove it, or choose another folder with --output"
        )
    return path.exists()


def _second(path: Path) -> Path:
    return path.with_name(f"{path.stem}-val.npz")


def _write(path: Path, single: Single, settings: dict[str, Any], progress: bool) -> None:
    count = settings["transitions"]
    parts = (
        (_second(path), max(1, count // 10), settings["seed"] + 1),
        (path, count, settings["seed"]),
    )
    required(single.name)
    env = make(_specification(single))
    play = _behaviour(env, single, settings["noise"])
    # The task's file comes last: where it is, the collection is whole.
    for place, most, seed in parts:
        arrays = _gathered(env, play, most, seed, progress)
        data = io.BytesIO()
        arrays[SETTINGS_KEY] = np.array(json.dumps(settings))
        np.savez_compressed(data, allow_pickle=False, **arrays)
        write_atomically(place, data.getvalue())
    env.close()


def _gathered(
    env: gym.Env[Any, Any], play: Callable[[], Steps], most: int, seed: int, progress: bool
) -> Arrays:
    episodes: list[Arrays] = []
    label = "collecting (locally made, not OGBench's data)"
    with (
        Numbers().drawn(seed),
        bar(most, " steps", label=label, keep=True, shown=progress) as told,
    ):
        env.action_space.seed(seed)
        env.reset(seed=seed)
        left = most
        while left > 0:
            rows = play().finish(left + 1)
            left -= len(rows["actions"]) - 1
            episodes.append(rows)
            told.update(len(rows["actions"]) - 1)
    return {name: np.concatenate([one[name] for one in episodes]) for name in episodes[0]}


def _behaviour(env: gym.Env[Any, Any], single: Single, noise: float) -> Callable[[], Steps]:
    """Return the function that plays one episode."""
    if single.body == "pointmaze":
        guide = ogbench_maze.Guide(env.unwrapped)
        return lambda: ogbench_maze.episode(env, guide, single.data, noise)
    agents = ogbench_arm.oracles(env, single, noise)
    return lambda: ogbench_arm.episode(env, agents, single, noise)


def _specification(single: Single) -> EnvSpec:
    spec = copy.deepcopy(gym.spec(single.collection))
    spec.kwargs["terminate_at_goal"] = False
    if single.body != "pointmaze":
        spec.kwargs["mode"] = "data_collection"
    spec.max_episode_steps = _LIMITS.get(single.data, _LIMIT)
    return spec
