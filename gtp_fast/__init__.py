"""Generative Trajectory Policies for offline reinforcement learning, fast and checked."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a checkout the kernels lie next to the package; an install maps them inside it.
if not (Path(__file__).parent / "kernels").exists():
    __path__.append(str(Path(__file__).parent.parent))

# OpenMP busy-waits by default, which starves our native threads; not spinning at all halves
# PyTorch's speed. It is read once, when torch is imported. The user's own settings win.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from gtp_fast.errors import UserError
    from gtp_fast.policy import Policy
    from gtp_fast.training.callbacks import Callback
    from gtp_fast.training.fit import TrainedRun

__all__ = ["Callback", "TrainedRun", "UserError", "__version__", "fit", "load"]

_LAZY = {
    "Callback": "gtp_fast.training.callbacks",
    "TrainedRun": "gtp_fast.training.fit",
    "UserError": "gtp_fast.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'gtp_fast' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def fit(dataset: Any = None, **options: Any) -> TrainedRun:
    """Train an agent on a dataset and return its run; see `gtp_fast.training.fit.fit`.

    `gtp_fast.fit("my.npz", agent="gtp", env="Hopper-v5", steps=50_000, seeds=(0, 1), eta=2.0)`
    """
    from gtp_fast.training import fit as training

    return training.fit(dataset, **options)


def load(path: str | Path, device: str = "cpu", **options: Any) -> Policy:
    """Load a trained policy: a run folder, a checkpoint or a policy.gtp; see `policy.load`."""
    from gtp_fast import policy

    return policy.load(path, device=device, **options)
