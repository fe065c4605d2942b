"""The data of OGBench's single tasks, as OGBench loads and labels them."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from gtp_fast.data import rules
from gtp_fast.data.ogbench_files import made_here
from gtp_fast.data.recording import Recording, joined
from gtp_fast.data.table import Provenance, Statistics, TransitionTable
from gtp_fast.environments import ogbench_names
from gtp_fast.environments.ogbench_names import Single
from gtp_fast.environments.ogbench_package import Numbers, required
from gtp_fast.environments.singletask import evaluation_spec
from gtp_fast.errors import UNREADABLE, UserError, first_line
from gtp_fast.system.files import temporary_files_removed
from gtp_fast.tasks import Rules, Task


def table(chosen: Task, path: Path, asked: Rules) -> TransitionTable:
    """Return a file of OGBench's layout, loaded and labelled by OGBench, as one table.

    A row has OGBench's reward and mask of its state: where the state is at the goal the mask is 0
    and stops the bootstrap. An episode ends where OGBench's terminals do, not at the goal. Raises
    UserError for other rules, a file that OGBench cannot load, or data without any success.
    """
    if asked != chosen.rules:
        raise UserError(
            f"{chosen.name} has the rewards and masks that OGBench gives it: leave out the options"
            " of the data's rules"
        )
    single = ogbench_names.find(chosen.name)
    here = made_here(path)
    arrays = _labelled(single, path)
    recording = _recording(path.name, arrays)
    rules.check(recording)
    rules.scale_actions(recording, clip=False)
    columns, rows = recording.columns, recording.rows
    rows[:, columns.reward], rows[:, columns.mask] = arrays["rewards"], arrays["masks"]
    episode = recording.episode
    won = np.bincount(episode, arrays["masks"] == 0.0) > 0
    if not won.any():
        raise UserError(
            f"{path.name}: no state of it is at the goal of {chosen.name}, so no reward tells good"
            " from bad; take another task of this environment, or more data"
        )
    made = "as OGBench loads and labels it"
    if here is not None:
        made = f"made locally by gtp_fast ({here}), not OGBench's own, labelled by OGBench"
    return TransitionTable(
        rows=torch.from_numpy(rows),
        episode=torch.from_numpy(episode.astype(np.int32)),
        observation_dim=recording.observation_dim,
        action_dim=recording.action_dim,
        observation_keys=(),
        action_low=tuple(recording.action_low.tolist()),
        action_high=tuple(recording.action_high.tolist()),
        task=chosen.name,
        rules=asked,
        statistics=Statistics(
            transitions=len(rows),
            episodes=len(won),
            terminals=int((arrays["masks"] == 0.0).sum()),
            mean_return=float(won.mean()),
            mean_length=len(rows) / len(won),
            success_rate=float(won.mean()),
        ),
        provenance=Provenance(path.name, here is None, made),
        evaluation_environment=evaluation_spec(single).to_json(),
    )


def _labelled(single: Single, path: Path) -> dict[str, NDArray[np.float32]]:
    """Return OGBench's regular dataset [N, ...] with its rewards and masks of the task."""
    package = required(single.name)
    from ogbench import relabel_utils

    with temporary_files_removed():
        env = gym.make(single.environment)
    try:
        arrays: dict[str, NDArray[np.float32]] = package.load_dataset(str(path), add_info=True)
        # Setting the task draws numbers, which the goal does not depend on.
        with Numbers().drawn(0):
            relabel_utils.relabel_dataset(single.environment, env, arrays)
        _check_shapes(arrays)
    except UNREADABLE as error:
        raise UserError(
            f"{path.name} is no file of {single.dataset} as OGBench lays it out "
            f"({first_line(error)}); it needs observations, actions, terminals, qpos and, with "
            "buttons, button_states"
        ) from error
    finally:
        env.close()
    return arrays


def _check_shapes(arrays: dict[str, NDArray[np.float32]]) -> None:
    """Raise ValueError unless the arrays are [N, width] or [N] of one N."""
    wide = [arrays[name] for name in ("observations", "next_observations", "actions")]
    flat = [arrays[name] for name in ("rewards", "masks", "terminals")]
    axes = [array.ndim for array in (*wide, *flat)]
    if axes != [2, 2, 2, 1, 1, 1] or len({len(array) for array in (*wide, *flat)}) > 1:
        raise ValueError(f"its arrays are of {[array.shape for array in (*wide, *flat)]}")


def _recording(name: str, arrays: dict[str, NDArray[np.float32]]) -> Recording:
    observations, actions = arrays["observations"], arrays["actions"]
    ends = arrays["terminals"] > 0.0
    o, a = observations.shape[1], actions.shape[1]
    return Recording(
        name=name,
        rows=joined(observations, actions, arrays["next_observations"]),
        observation_dim=o,
        action_dim=a,
        rewards=arrays["rewards"].astype(np.float64),
        terminals=arrays["masks"] == 0.0,
        episode=np.cumsum(np.r_[0, ends[:-1]]).astype(np.int64),
        action_low=-np.ones(a),
        action_high=np.ones(a),
    )
