"""D4RL's flat layout (observations, actions, rewards, terminals, timeouts): .hdf5 and .npz."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gtp_fast.data.recording import Recording, allocate
from gtp_fast.data.table import Columns
from gtp_fast.errors import UserError

REQUIRED = ("observations", "actions", "rewards", "terminals")
OPTIONAL = ("timeouts", "next_observations")


def read_d4rl(path: Path) -> Recording:
    """Read a D4RL .hdf5 file; UserError when it is truncated or of another layout."""
    try:
        with h5py.File(path, "r") as file:
            # D4RL's loader never used the stored next observations, which some files lack.
            arrays = {key: file[key][()] for key in (*REQUIRED, "timeouts") if key in file}
    except (OSError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path} is truncated or not an HDF5 file of D4RL's layout ({error}); fetch it again"
        ) from error
    recording = transitions(path.name, arrays)
    recording.description = "a D4RL file"
    recording.official = True
    return recording


def read_npz(path: Path) -> Recording:
    """Read an .npz under D4RL's key names; UserError when its arrays disagree."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in (*REQUIRED, *OPTIONAL) if key in file}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as an .npz of plain arrays ({error})") from error
    return transitions(path.name, arrays)


def transitions(name: str, arrays: Mapping[str, NDArray[Any]]) -> Recording:
    """Apply D4RL's rule: s' is the next row's, so timeout rows and the last go.

    With `next_observations` [N, O] given every row stays. Raises UserError on shapes that disagree.
    """
    count = _check_shapes(name, arrays)
    timeouts = np.asarray(arrays.get("timeouts", np.zeros(count)), np.bool_).reshape(count)
    terminals = np.asarray(arrays["terminals"], np.bool_).reshape(count)
    observations, actions = arrays["observations"], arrays["actions"]
    ends = terminals | timeouts
    # A cluster of terminal rows is one episode that went on after its goal, so it is not split.
    episode = np.cumsum(np.r_[False, (ends[:-1] & ~(terminals[:-1] & terminals[1:]))])
    if "next_observations" in arrays:
        keep = np.arange(count)
        following = np.asarray(arrays["next_observations"])
    else:
        keep = np.flatnonzero(~timeouts[:-1])
        # What follows a terminal row belongs to another episode; the mask hides this stand-in.
        following = observations[np.where(terminals[keep], keep, keep + 1)]
    o, a = observations.shape[1], actions.shape[1]
    rows, columns = allocate(len(keep), o, a), Columns.of(o, a)
    rows[:, columns.observation] = observations[keep]
    rows[:, columns.action] = actions[keep]
    rows[:, columns.next_observation] = following
    return Recording(
        name=name,
        rows=rows,
        observation_dim=o,
        action_dim=a,
        rewards=np.asarray(arrays["rewards"], np.float64).reshape(count)[keep],
        terminals=terminals[keep],
        episode=episode[keep].astype(np.int64),
        action_low=-np.ones(a),
        action_high=np.ones(a),
        description="a flat file of transitions",
    )


def _check_shapes(name: str, arrays: Mapping[str, NDArray[Any]]) -> int:
    missing = [key for key in REQUIRED if key not in arrays]
    if missing:
        raise UserError(
            f"{name} lacks {', '.join(missing)}; it needs the arrays {', '.join(REQUIRED)}"
            f" and may have {' and '.join(OPTIONAL)}"
        )
    count = len(arrays["observations"]) if arrays["observations"].ndim else 0
    for key in (*REQUIRED, *OPTIONAL):
        if key not in arrays:
            continue
        matrix = key in ("observations", "actions", "next_observations")
        shape = arrays[key].shape
        good = len(shape) == 2 if matrix else shape in ((count,), (count, 1))
        if not good or shape[0] != count:
            raise UserError(
                f"{name}: {key} has shape {shape}, but observations have {count} rows;"
                f" give it {'[N, width]' if matrix else '[N]'} with the same N"
            )
    if (
        "next_observations" in arrays
        and arrays["next_observations"].shape != arrays["observations"].shape
    ):
        raise UserError(
            f"{name}: next_observations and observations differ in shape; make them equal"
        )
    if (
        not np.any(arrays.get("timeouts", False))
        and not np.any(arrays["terminals"])
        and "next_observations" not in arrays
    ):
        raise UserError(
            f"{name} marks no end of an episode; give terminals and timeouts, or next_observations,"
            " so that no transition runs from one episode into the next"
        )
    return count
