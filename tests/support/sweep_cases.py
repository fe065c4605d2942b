"""A sweep's file over a tiny flat dataset, and the parameters that its runs end with."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gtp_fast.runs import checkpoint
from gtp_fast.studies.jobs import Job
from gtp_fast.studies.sweeps import drive, plan

SMALL = {
    "env": "none", "steps": 60, "width": 8, "k": 2, "batch_size": 16, "checkpoint_every": 20,
    "log_every": 20,
}  # fmt: skip


def arrays(folder: Path) -> Path:
    """Write a file of 200 random transitions."""
    draw, count = np.random.default_rng(0), 200
    path = folder / "random.npz"
    np.savez(
        path,
        observations=draw.normal(size=(count, 3)),
        actions=draw.uniform(-1, 1, (count, 2)),
        rewards=draw.normal(size=count),
        terminals=np.arange(count) % 20 == 19,
    )
    return path


def write(folder: Path, **parts: Any) -> Path:
    """Write a sweep's file; its base trains on random transitions."""
    base = SMALL | {"dataset": str(arrays(folder))} | parts.pop("base", {})
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"base": base, **parts}))
    return path


def jobs_of(file: Path, folder: Path) -> list[Job]:
    """Return the jobs of a file on CPUs."""
    return drive.jobs_of(plan.read(file), "cpu", folder)


def digest(run: Path) -> str:
    """Return the digest of the parameters that a run has ended with."""
    last = checkpoint.last(run)
    assert last is not None and checkpoint.load(last).step == checkpoint.load(last).config["steps"]
    return hashlib.sha256((last / "state.safetensors").read_bytes()).hexdigest()
