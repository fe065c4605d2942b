"""What the forms of operations need of a run to be built."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Context(NamedTuple):
    """Chosen draws and network, and the arithmetic of a run."""

    normals: Callable[..., Tensor]
    mlp: Callable[..., Tensor]
    """The chosen form, for the operations that contain networks; reference for the mlp itself."""
    precision: str
    strict: bool
    """Whether a size beyond a kernel raises UserError instead of a warning."""
