"""robomimic's low-dimensional .hdf5: groups data/demo_N of obs, actions, rewards and dones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from gtp_fast.data import inside
from gtp_fast.data import keys as chosen
from gtp_fast.data.recording import Recording
from gtp_fast.data.steps import Steps, recording
from gtp_fast.errors import UNREADABLE, UserError, untrusted

_DEMO = re.compile(r"demo_(\d+)$")


def is_robomimic(path: Path) -> bool:
    """Whether a file has robomimic's structure: a group `data` of demonstrations."""
    try:
        with h5py.File(path, "r") as file:
            group = file.get("data")
            return isinstance(group, h5py.Group) and bool(_demos(group))
    except UNREADABLE:
        return False


def read(path: Path, observation_keys: tuple[str, ...] | None) -> Recording:
    """Return all demonstrations of a file, in numeric order.

    observation_keys: None takes every vector below `obs`, sorted by name. s' is `next_obs`; without
    it, the observation of the next row. What `dones` mark depends on how the file was made: success
    or the end of a recording. If every demonstration ends in a mark, a marked step is terminal only
    where its reward is positive. If some demonstration does not, every marked step is terminal.
    Raises UserError when rewards are missing, arrays disagree or the file is damaged.
    """
    damaged = untrusted(f"{path} is truncated or not a robomimic file", "fetch it again")
    with damaged, h5py.File(path, "r") as file:
        found = _read(path.name, file, observation_keys)
    return found


def _read(name: str, file: Any, keys: tuple[str, ...] | None) -> Recording:
    data = file["data"]
    demos = _demos(data)
    if not demos:
        raise UserError(f"{name} holds no demonstration data/demo_N; give another with --dataset")
    lacking = [
        f"{demo}/{key}" for demo in demos for key in ("obs", "rewards") if key not in data[demo]
    ]
    if lacking:
        raise UserError(
            f"{name} lacks data/{lacking[0]}: make observations and rewards with robomimic's"
            " dataset_states_to_obs.py"
        )
    notes: list[str] = []
    if keys is None:
        keys = _inferred(name, data[demos[0]]["obs"], notes)
    followed = all(all(f"next_obs/{key}" in data[demo] for key in keys) for demo in demos)
    marked = all("dones" in data[demo] for demo in demos)
    own = inside.number(file.id)
    parts = [_demo(data[demo], f"{name}, {demo}", keys, followed, marked, own) for demo in demos]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    observation, action, reward, done, following = columns
    steps = Steps(
        observation, action, reward, done if marked else None,
        np.repeat([int(demo[5:]) for demo in demos], [len(part[1]) for part in parts]),
        following if followed else None,
    )  # fmt: skip
    found = recording(name, steps)
    found.observation_keys = keys
    stored = data[demos[0]]["obs"]
    found.observation_widths = tuple(stored[key].shape[1] for key in keys)
    found.description = "robomimic demonstrations"
    found.notes[:0] = notes
    if "mask" in file:
        found.notes.append(f"{name}: its filter keys are not used: all {len(demos)} demos are read")
    if (environment := _environment(data)) is not None:
        found.notes.append(
            f"{name}: collected in {environment}, which is not rebuilt for evaluation"
        )
    return found


def _demos(data: Any) -> list[str]:
    """Names of the demonstrations in numeric order."""
    return sorted((key for key in data if _DEMO.match(key)), key=lambda key: int(key[5:]))


def _inferred(name: str, group: Any, notes: list[str]) -> tuple[str, ...]:
    """Return the vectors among the observations; `notes` gets what is left out."""
    arrays = {key: group[key] for key in sorted(group) if isinstance(group[key], h5py.Dataset)}
    taken = tuple(k for k, v in arrays.items() if v.ndim == 2 and v.dtype.kind in "fiu")
    left = [f"{k} (shape {v.shape[1:]})" for k, v in arrays.items() if k not in taken]
    notes += chosen.notes(name, taken, left, "use the low-dimensional file of the task")
    return taken


def _demo(
    group: Any, where: str, keys: tuple[str, ...], followed: bool, marked: bool, own: int
) -> tuple[Any, ...]:
    """Observation, action, reward, done and next observation of one demonstration."""
    action = _inside(group["actions"], own, where).astype(np.float32)
    count = len(action)
    if action.ndim != 2:
        raise UserError(f"{where}: actions have shape {action.shape}; they must be [steps, width]")
    observation = _state(group["obs"], keys, count, where, own)
    following = _state(group["next_obs"], keys, count, where, own) if followed else observation[:0]
    reward = _column(_inside(group["rewards"], own, where), count, f"{where}: rewards")
    done = (
        _column(_inside(group["dones"], own, where), count, f"{where}: dones") != 0
        if marked
        else reward[:0] != 0
    )
    return observation, action, reward, done, following


def _inside(stored: Any, own: int, where: str) -> Any:
    inside.sized(inside.checked(stored.id, own, f"{where}: an array"), f"{where}: an array")
    return stored[()]


def _state(group: Any, keys: tuple[str, ...], count: int, where: str, own: int) -> Any:
    for key in keys:
        if key not in group or group[key].ndim != 2 or len(group[key]) != count:
            has = f"shape {group[key].shape}" if key in group else f"only {', '.join(group)}"
            raise UserError(
                f"{where}: {group.name.split('/')[-1]}/{key} must be [{count}, width], one row for"
                f" each action, but there is {has}"
            )
    return np.concatenate(
        [_inside(group[key], own, where).astype(np.float32) for key in keys], axis=1
    )


def _column(stored: Any, count: int, what: str) -> Any:
    values = np.asarray(stored, np.float64)
    if values.shape not in ((count,), (count, 1)):
        raise UserError(f"{what} have shape {values.shape} where ({count},) is expected")
    return values.reshape(count)


def _environment(data: Any) -> str | None:
    """Name of the environment in the attribute env_args."""
    try:
        return str(json.loads(data.attrs["env_args"])["env_name"])
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
