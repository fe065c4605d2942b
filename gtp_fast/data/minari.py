"""Minari datasets, read episode by episode straight into one preallocated float32 array."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from h5py import h5d, h5f, h5g, h5s

from gtp_fast.data.recording import Float64, Recording, allocate
from gtp_fast.data.table import Columns
from gtp_fast.errors import UserError

_MAIN_FILE = Path("data") / "main_data.hdf5"
_METADATA = Path("data") / "metadata.json"


@dataclass(frozen=True)
class _Layout:
    keys: tuple[str, ...]
    """Groups below `observations` in the order of the state; one empty key if flat."""
    widths: tuple[int, ...]


def is_dataset(folder: Path) -> bool:
    """Whether `folder` holds a Minari dataset in HDF5 format."""
    return (folder / _MAIN_FILE).is_file() and (folder / _METADATA).is_file()


def data_file(folder: Path) -> Path:
    """Return the file that identifies the content by its size and time."""
    return folder / _MAIN_FILE


def metadata(folder: Path) -> dict[str, Any]:
    """The dataset's metadata; raises UserError when it cannot be read."""
    try:
        content: dict[str, Any] = json.loads((folder / _METADATA).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"the metadata of {folder} cannot be read ({error}); fetch the dataset again"
        ) from error
    return content


def read(folder: Path, observation_keys: tuple[str, ...], positions: bool) -> Recording:
    """The dataset in `folder`; `positions` also reads achieved and desired goals in float64."""
    facts = metadata(folder)
    name = str(facts.get("dataset_id", folder.name))
    layout = _layout(name, json.loads(facts["observation_space"]), observation_keys)
    low, high = _action_box(name, json.loads(facts["action_space"]))
    try:
        file = h5f.open(str(folder / _MAIN_FILE).encode(), h5f.ACC_RDONLY)
        recording = _read_episodes(file, name, layout, low, high, positions)
        file.close()
    except (OSError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{name}: its file {folder / _MAIN_FILE} is truncated or damaged ({error});"
            " remove the folder and fetch or collect the dataset again"
        ) from error
    expected = facts.get("total_steps")
    if expected is not None and int(expected) != len(recording.rows):
        raise UserError(
            f"{name}: the metadata promises {expected} steps but the file holds"
            f" {len(recording.rows)}; remove the folder and fetch or collect the dataset again"
        )
    recording.observation_keys = observation_keys
    recording.environment = facts.get("env_spec")
    recording.evaluation_environment = facts.get("eval_env_spec") or facts.get("env_spec")
    recording.description = str(facts.get("description", ""))
    local = "not the official data" in recording.description.lower()
    recording.official = not (local or name.startswith("local/"))
    return recording


def _layout(name: str, space: dict[str, Any], keys: tuple[str, ...]) -> _Layout:
    subspaces = space["subspaces"] if space.get("type") == "Dict" else None
    if subspaces is None and not keys and space.get("type") == "Box" and len(space["shape"]) == 1:
        return _Layout(("",), (int(space["shape"][0]),))
    if (
        subspaces is not None
        and keys
        and all(len(subspaces.get(k, {}).get("shape", ())) == 1 for k in keys)
    ):
        return _Layout(keys, tuple(int(subspaces[k]["shape"][0]) for k in keys))
    has = (
        f"the keys {', '.join(subspaces)}"
        if subspaces
        else f"a flat {space.get('type')} of shape {space.get('shape')}"
    )
    wants = f"vectors under the keys {', '.join(keys)}" if keys else "a flat vector"
    raise UserError(
        f"{name} does not fit this task: its observations have {has}, the task needs {wants};"
        " choose the task that the dataset was made for"
    )


def _action_box(name: str, space: dict[str, Any]) -> tuple[Float64, Float64]:
    if space.get("type") != "Box" or len(space["shape"]) != 1:
        raise UserError(
            f"{name} has {space.get('type')} actions; only vectors in a box are supported"
        )
    return np.asarray(space["low"], np.float64), np.asarray(space["high"], np.float64)


def _read_episodes(
    file: Any, name: str, layout: _Layout, low: Float64, high: Float64, positions: bool
) -> Recording:
    count = _root(file).get_num_objs()
    groups = [h5g.open(file, f"episode_{number}".encode()) for number in range(count)]
    lengths = [h5d.open(group, b"actions").shape[0] for group in groups]
    total, longest = sum(lengths), max(lengths, default=0)
    o, a = sum(layout.widths), len(low)
    rows = allocate(total, o, a)
    rewards, terminals = np.empty(total), np.empty(total, np.bool_)
    goals = {key: np.empty((total, 2)) for key in ("achieved_goal", "desired_goal") if positions}
    widths = dict.fromkeys(goals, 2) | dict(zip(layout.keys, layout.widths, strict=True))
    columns = Columns.of(o, a)
    offsets = dict(zip(layout.keys, np.cumsum((0, *layout.widths)).tolist(), strict=False))
    scratch = {width: np.empty((longest + 1, width)) for width in {*widths.values(), a}}
    begin = 0
    for number, (group, length) in enumerate(zip(groups, lengths, strict=True)):
        where, end = f"{name}, episode {number}", begin + length
        for key, width in widths.items():
            path = f"observations/{key}" if key else "observations"
            values = _fill(group, path, scratch[width][: length + 1], where)
            if key in goals:
                goals[key][begin:end] = values[1:]
            if key in offsets:
                # A goal seen before a step may be one already reached: the one after was in force.
                before = values[1:] if key == "desired_goal" else values[:-1]
                at = slice(offsets[key], offsets[key] + width)
                rows[begin:end, columns.observation][:, at] = before
                rows[begin:end, columns.next_observation][:, at] = values[1:]
        rows[begin:end, columns.action] = _fill(group, "actions", scratch[a][:length], where)
        _fill(group, "rewards", rewards[begin:end], where)
        _fill(group, "terminations", terminals[begin:end], where)
        begin = end
    return Recording(
        name=name,
        rows=rows,
        observation_dim=o,
        action_dim=a,
        rewards=rewards,
        terminals=terminals,
        episode=np.repeat(np.arange(count), lengths),
        action_low=low,
        action_high=high,
        achieved=goals.get("achieved_goal"),
        desired=goals.get("desired_goal"),
    )


def _root(file: Any) -> Any:
    """Root group of an open low-level file."""
    return h5g.open(file, b"/")


def _fill(group: Any, path: str, out: Any, where: str) -> Any:
    stored = h5d.open(group, path.encode())
    if stored.shape != out.shape:
        raise UserError(
            f"{where}: {path} has shape {stored.shape} where {out.shape} is expected"
            " (one more observation than actions); the dataset is damaged, fetch it again"
        )
    stored.read(h5s.ALL, h5s.ALL, out)
    return out
