"""LeRobot's local folders: meta/info.json and Parquet files of frames, versions 2 and 3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtp_fast.data import inside
from gtp_fast.data import keys as chosen
from gtp_fast.data.recording import Recording
from gtp_fast.data.steps import Steps, recording
from gtp_fast.errors import UNREADABLE, UserError, first_line

_INFO = Path("meta") / "info.json"
_FILES = "data/chunk-*/*.parquet"
_INDEX = ("episode_index", "frame_index")


def is_lerobot(path: Path) -> bool:
    """Whether a folder has LeRobot's structure."""
    return (path / _INFO).is_file() and any(path.glob(_FILES))


def read(path: Path, observation_keys: tuple[str, ...] | None) -> Recording:
    """Return all episodes of a folder.

    observation_keys: None takes every vector `observation.*`, in the order of the files' columns.
    s' is the next frame's observation. With `next.success` a frame is terminal where that and
    `next.done` hold; without it, as in `gtp_fast.data.robomimic.read`. Raises UserError when
    pyarrow or a column is missing, or a file is damaged.
    """
    name = path.resolve().name
    try:
        from pyarrow import ArrowException, concat_tables, parquet
    except ImportError as error:
        raise UserError(
            f"{path} is a LeRobot folder, which needs pyarrow; pip install 'gtp_fast[lerobot]'"
        ) from error
    files = sorted(path.glob(_FILES))
    try:
        info = json.loads((path / _INFO).read_text())
        for file in files:
            promised = 8 * parquet.read_metadata(file).num_rows
            inside.check_size(
                promised, file.stat().st_size, f"{file.name} promises {promised // 8}"
            )
        schema = parquet.read_schema(files[0])
        keys, notes = _keys(name, schema, observation_keys)
        wanted = [*keys, "action", "next.reward", *_INDEX]
        _check_columns(name, schema, wanted)
        flags = [key for key in ("next.done", "next.success") if key in schema.names]
        tables = [parquet.read_table(file, columns=[*wanted, *flags]) for file in files]
        table = concat_tables(tables)
    except UserError:
        raise
    except (*UNREADABLE, ArrowException) as error:
        raise UserError(
            f"{path} is damaged or not a LeRobot folder ({first_line(error)})"
        ) from error
    if not len(table):
        raise UserError(f"{name} holds no frame; give another folder with --dataset")
    expected = info.get("total_frames")
    if expected is not None and int(expected) != len(table):
        raise UserError(
            f"{name}: its info promises {expected} frames but the files hold {len(table)};"
            " fetch the folder again"
        )
    episode, frame = (_matrix(name, table, key)[:, 0].astype(np.int64) for key in _INDEX)
    order = np.lexsort((frame, episode))
    _check_whole(name, episode[order], frame[order])
    found = {key: _matrix(name, table, key)[order] for key in (*keys, "action", "next.reward")}
    marks = {key: _matrix(name, table, key)[order, 0] != 0 for key in flags}
    steps = Steps(
        np.concatenate([found[key] for key in keys], axis=1, dtype=np.float32),
        found["action"].astype(np.float32),
        found["next.reward"][:, 0],
        marks.get("next.done"),
        episode[order],
        success=marks.get("next.success"),
    )
    result = recording(name, steps)
    result.observation_keys = keys
    result.observation_widths = tuple(found[key].shape[1] for key in keys)
    result.description = "LeRobot episodes"
    result.notes[:0] = notes
    return result


def _keys(
    name: str, schema: Any, given: tuple[str, ...] | None
) -> tuple[tuple[str, ...], list[str]]:
    """Return the columns of the state and the notes on them."""
    if given is not None:
        return given, []
    seen = [key for key in schema.names if key.startswith("observation.")]
    taken = tuple(key for key in seen if _is_vector(schema.field(key).type))
    left = [key for key in seen if key not in taken]
    return taken, chosen.notes(name, taken, left, "it needs observation.state")


def _is_vector(kind: Any) -> bool:
    from pyarrow import types

    many = types.is_list(kind) or types.is_fixed_size_list(kind) or types.is_large_list(kind)
    inner = kind.value_type if many else kind
    return bool(types.is_floating(inner) or types.is_integer(inner))


def _check_columns(name: str, schema: Any, wanted: list[str]) -> None:
    if "next.reward" not in schema.names:
        raise UserError(
            f"{name} has no column next.reward: offline reinforcement learning needs the reward of"
            " each frame, so add one to the folder"
        )
    if missing := [key for key in wanted if key not in schema.names]:
        raise UserError(
            f"{name} has no column {', '.join(missing)}; its columns are {', '.join(schema.names)}"
        )


def _check_whole(name: str, episode: NDArray[np.int64], frame: NDArray[np.int64]) -> None:
    """Raise UserError where a frame [N] is not the one after the last of its episode."""
    wrong = (episode[1:] == episode[:-1]) & (np.diff(frame) != 1)
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"{name}, episode {episode[row]}: frame {frame[row]} is followed by frame"
            f" {frame[row + 1]}, so what comes after it is not known; keep every frame once, or"
            " give what lies behind the gap an episode_index of its own"
        )


def _matrix(name: str, table: Any, key: str) -> Any:
    """Return a column of numbers or of lists of one length as [N, width]."""
    column = table.column(key).combine_chunks()
    if column.null_count:
        raise UserError(f"{name}: {key} has {column.null_count} empty cells; fill or remove them")
    if not hasattr(column.type, "value_type"):
        return column.to_numpy(zero_copy_only=False)[:, None]
    if hasattr(column, "offsets") and len(np.unique(np.diff(column.offsets.to_numpy()))) > 1:
        raise UserError(f"{name}: {key} has lists of unequal lengths; make them equal")
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
