"""Minari datasets, read episode by episode straight into one preallocated float32 array."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from gtp_fast.data import inside, minari_spaces
from gtp_fast.data.minari_episodes import Episodes, Loaded, Stored
from gtp_fast.data.minari_spaces import GOALS, Box, Layout
from gtp_fast.data.recording import Float64, Recording, allocate
from gtp_fast.data.table import Columns
from gtp_fast.errors import UserError, untrusted
from gtp_fast.system import closing

_MAIN_FILE = Path("data") / "main_data.hdf5"
_METADATA = Path("data") / "metadata.json"


def is_dataset(folder: Path) -> bool:
    """Whether `folder` holds a Minari dataset: HDF5, of any version, or Arrow or Parquet."""
    if (folder / _MAIN_FILE).is_file():
        return True
    if not (folder / _METADATA).is_file():
        return False
    try:
        return _format(metadata(folder)) != "hdf5"
    except UserError:
        return False


def metadata(folder: Path) -> dict[str, Any]:
    """Return the dataset's metadata; raises UserError when they cannot be read.

    Before Minari 0.5 they were attributes of the HDF5 file.
    """
    try:
        if not (folder / _METADATA).is_file():
            inside.check_open(folder / _MAIN_FILE)
            with h5py.File(folder / _MAIN_FILE, "r") as file:
                return {key: _plain(value) for key, value in file.attrs.items()}
        content = json.loads((folder / _METADATA).read_text())
        if not isinstance(content, dict):
            raise ValueError("they are no JSON object")
    except UserError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"the metadata of {folder} cannot be read ({error}); fetch the dataset again"
        ) from error
    return content


def states_box(folder: Path) -> bool:
    """Return whether the dataset in `folder` states its action space."""
    return metadata(folder).get("action_space") is not None


def read(
    folder: Path,
    observation_keys: tuple[str, ...] | None,
    positions: bool = False,
    box: Box | None = None,
) -> Recording:
    """Return the dataset in `folder`.

    observation_keys: None takes every vector among the observations, in the order of their space;
    () means flat observations. positions: also read achieved and desired goals [N, 2] in float64.
    box: both ends of the action box [A], for a dataset that states none. Raises UserError when the
    dataset does not fit, is damaged, or needs an environment or a package that is not available.
    """
    facts = metadata(folder)
    if _format(facts) != "hdf5":
        return _with_library(folder, facts, observation_keys, positions)
    return _read_hdf5(folder, facts, observation_keys, positions, box, None)


def read_object(
    dataset: Any, observation_keys: tuple[str, ...] | None, positions: bool = False
) -> Recording:
    """Return a minari.MinariDataset, its selected episodes only; see `read`."""
    storage = dataset.storage
    at, chosen = Path(storage.data_path), np.asarray(dataset.episode_indices)
    facts = storage.read_raw_metadata(at)
    count = int(storage.total_episodes)
    whole = np.array_equal(chosen, np.arange(count))
    if at.name == "data" and (at.parent / _MAIN_FILE).is_file():
        numbers = None if whole else chosen.tolist()
        found = _read_hdf5(at.parent, facts, observation_keys, positions, None, numbers)
    else:
        found = _read_loaded(dataset, facts, observation_keys, positions, whole)
    if not whole:
        found.notes.append(f"{found.name}: {len(chosen)} of its {count} episodes are selected")
    return found


def _read_hdf5(
    folder: Path,
    facts: dict[str, Any],
    keys: tuple[str, ...] | None,
    positions: bool,
    box: Box | None,
    numbers: Sequence[int] | None,
) -> Recording:
    name = str(facts.get("dataset_id", folder.name))
    observation, action = minari_spaces.stated(facts, name, box)
    inside.check_open(folder / _MAIN_FILE)
    damaged = f"{name}: its file {folder / _MAIN_FILE} is truncated or damaged"
    with untrusted(damaged, "remove the folder and fetch or collect the dataset again"):
        source = Stored(folder / _MAIN_FILE, numbers)
        space = observation or source.observation_space()
        layout = minari_spaces.layout(name, space, keys, positions)
        ends = minari_spaces.action_box(name, action)
        recording = _read_episodes(source, name, layout, ends, positions)
        source.close()
    if observation is None:
        recording.notes.append(f"{name}: its observation space follows from its arrays")
    return _with_facts(recording, facts, whole=numbers is None)


def _with_library(
    folder: Path, facts: dict[str, Any], keys: tuple[str, ...] | None, positions: bool
) -> Recording:
    """Read Arrow and Parquet with the minari package."""
    name = str(facts.get("dataset_id", folder.name))
    if not {"observation_space", "action_space"} <= set(facts):
        # Minari would build the environment whatever its code.
        closing.close(minari_spaces.built(facts, name), f"the environment of {name}")
    try:
        import minari

        at = folder / "data"
        numbers = sorted(int(part.name) for part in at.iterdir() if part.name.isdecimal())
        dataset = minari.MinariDataset(at, np.asarray(numbers, np.int64))
        return _read_loaded(dataset, facts, keys, positions, whole=True)
    except ImportError as error:
        raise UserError(
            f"{name} is stored as {_format(facts)}, which needs pyarrow; pip install pyarrow"
        ) from error
    except UserError:
        raise
    except (OSError, KeyError, ValueError, TypeError, AssertionError) as error:
        raise UserError(
            f"{name} is truncated or damaged, or this Minari cannot read it ({error});"
            " fetch the dataset again, or upgrade minari"
        ) from error


def _read_loaded(
    dataset: Any,
    facts: dict[str, Any],
    keys: tuple[str, ...] | None,
    positions: bool,
    whole: bool,
) -> Recording:
    name = str(dataset.id)
    space = minari_spaces.described(dataset.observation_space)
    layout = minari_spaces.layout(name, space, keys, positions)
    ends = minari_spaces.action_box(name, minari_spaces.described(dataset.action_space))
    below = [_path(key) for key in (*layout.keys, *(GOALS if positions else ()))]
    paths = (*below, "actions", "rewards", "terminations")
    source = Loaded(dataset.iterate_episodes(), paths)
    recording = _read_episodes(source, name, layout, ends, positions)
    return _with_facts(recording, facts, whole)


def _with_facts(recording: Recording, facts: dict[str, Any], whole: bool) -> Recording:
    name, expected = recording.name, facts.get("total_steps")
    found = len(recording.rows)
    if whole and expected is not None and expected not in (found, str(found)):
        raise UserError(
            f"{name}: the metadata promises {expected} steps but the file holds"
            f" {found}; remove the folder and fetch or collect the dataset again"
        )
    with untrusted(f"{name}: its environment is not JSON", "fetch the dataset again"):
        recording.environment = minari_spaces.specification(facts.get("env_spec"))
        judged = minari_spaces.specification(facts.get("eval_env_spec"))
    recording.evaluation_environment = judged or recording.environment
    recording.description = str(facts.get("description", ""))
    local = "not the official data" in recording.description.lower()
    recording.official = not (local or name.startswith("local/"))
    return recording


def _read_episodes(
    source: Episodes, name: str, layout: Layout, ends: tuple[Float64, Float64], positions: bool
) -> Recording:
    lengths, (low, high) = source.lengths, ends
    total, longest = sum(lengths), max(lengths, default=0)
    o, a = sum(layout.widths), len(low)
    rows = allocate(total, o, a)
    rewards, terminals = np.empty(total), np.empty(total, np.bool_)
    goals = {key: np.empty((total, 2)) for key in GOALS if positions}
    widths = dict.fromkeys(goals, 2) | dict(zip(layout.keys, layout.widths, strict=True))
    columns = Columns.of(o, a)
    offsets = dict(zip(layout.keys, np.cumsum((0, *layout.widths)).tolist(), strict=False))
    scratch = {width: np.empty((longest + 1, width)) for width in {*widths.values(), a}}
    begin = 0
    for at, length in enumerate(lengths):
        where, end = f"{name}, episode {source.numbers[at]}", begin + length
        for key, width in widths.items():
            values = source.fill(at, _path(key), scratch[width][: length + 1], where)
            if key in goals:
                goals[key][begin:end] = values[1:]
            if key in offsets:
                # A goal seen before a step may be one already reached: the one after was in force.
                before = values[1:] if key == "desired_goal" else values[:-1]
                to = slice(offsets[key], offsets[key] + width)
                rows[begin:end, columns.observation][:, to] = before
                rows[begin:end, columns.next_observation][:, to] = values[1:]
        rows[begin:end, columns.action] = source.fill(at, "actions", scratch[a][:length], where)
        source.fill(at, "rewards", rewards[begin:end], where)
        source.fill(at, "terminations", terminals[begin:end], where)
        begin = end
    numbers = np.asarray(source.numbers, np.int64)
    if (np.diff(numbers) <= 0).any():
        numbers = np.arange(len(numbers))
    return Recording(
        name=name,
        rows=rows,
        observation_dim=o,
        action_dim=a,
        rewards=rewards,
        terminals=terminals,
        episode=np.repeat(numbers, lengths),
        action_low=low,
        action_high=high,
        observation_keys=layout.taken,
        observation_widths=layout.widths if layout.taken else (),
        achieved=goals.get("achieved_goal"),
        desired=goals.get("desired_goal"),
        notes=list(layout.notes),
    )


def _path(key: str) -> str:
    """Path of an observation key inside an episode."""
    return f"observations/{key}" if key else "observations"


def _format(facts: dict[str, Any]) -> str:
    return str(facts.get("data_format", "hdf5"))


def _plain(value: Any) -> Any:
    """Attribute of an HDF5 file as a plain Python value."""
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value
