"""Options of `fit` in small, and a file of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import sets

SMALL: dict[str, Any] = {
    "steps": 20, "width": 16, "k": 2, "batch_size": 8, "episodes": 2, "log_every": 5,
    "device": "cpu", "processes": 1,
}  # fmt: skip


def robot(folder: Path) -> Path:
    """Write a flat file of one's own."""
    np.savez(folder / "my-robot.npz", **sets.flat(steps=40, width=3))
    return folder / "my-robot.npz"
