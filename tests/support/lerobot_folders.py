"""Small LeRobot folders, versions 2 and 3; they need pyarrow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet


def frames(episode: int, length: int, solved: bool) -> dict[str, Any]:
    """Columns of one episode: its numbers tell episode and frame."""
    time = np.arange(length)
    state = 10.0 * episode + time[:, None] + [[0.0, 0.5]]
    stop = time == length - 1
    fixed = pa.list_(pa.float32(), 2)
    return {
        "observation.state": pa.array(state.astype(np.float32).tolist(), pa.list_(pa.float32())),
        "observation.environment_state": pa.array(np.tile(time[:, None], 2).tolist(), fixed),
        "observation.image": pa.array([{"bytes": b"png", "path": None}] * length),
        "action": pa.array((state / 100).astype(np.float32).tolist(), pa.list_(pa.float32())),
        "episode_index": pa.array(np.full(length, episode)),
        "frame_index": pa.array(time),
        "next.reward": pa.array((stop & solved).astype(np.float32)),
        "next.done": pa.array(stop),
        "next.success": pa.array(stop & solved),
    }


def write(root: Path, *, one_file: bool = False, drop: tuple[str, ...] = ()) -> Path:
    """Write three episodes of lengths 3, 4, 3, the middle one unsolved, as version 2 or 3."""
    folder = root / "pusht"
    (folder / "meta").mkdir(parents=True)
    (folder / "data/chunk-000").mkdir(parents=True)
    tables = [
        pa.table({k: v for k, v in frames(i, 3 + i % 2, i != 1).items() if k not in drop})
        for i in range(3)
    ]
    names = [f"episode_{i:06d}" for i in range(3)]
    if one_file:
        # From the last frame to the first: nothing promises an order.
        tables, names = [pa.concat_tables(tables).take(list(range(10))[::-1])], ["file-000"]
    for name, table in zip(names, tables, strict=True):
        parquet.write_table(table, folder / f"data/chunk-000/{name}.parquet")
    info = {"codebase_version": "v3.0" if one_file else "v2.1", "total_frames": 10, "features": {}}
    (folder / "meta/info.json").write_text(json.dumps(info))
    return folder
