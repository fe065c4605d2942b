"""Generative Trajectory Policies for offline reinforcement learning, fast and checked."""

from __future__ import annotations

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
    from gtp_fast.policy import Policy

__all__ = ["__version__", "load"]


def load(path: str | Path, device: str = "cpu", **options: Any) -> Policy:
    """Load a trained policy: a run folder, a checkpoint or a policy.gtp; see `policy.load`."""
    from gtp_fast import policy

    return policy.load(path, device=device, **options)
