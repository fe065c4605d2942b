"""Taking a checkpoint's tensors over into an agent."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gtp_fast.errors import UserError


def take(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Copy saved tensors into an agent's own; UserError when a shape or a name does not fit."""
    for name in sorted(own.keys() | saved.keys()):
        if name not in own or name not in saved:
            side = "lacks" if name in own else "has an unknown"
            raise UserError(
                f"The checkpoint {side} tensor {name!r}: it belongs to another agent or version."
            )
        if own[name].shape != saved[name].shape:
            raise UserError(
                f"The checkpoint's {name!r} is {list(saved[name].shape)} and this run's is "
                f"{list(own[name].shape)}: start it with the width, depth, seeds and dataset it "
                "was saved with."
            )
    for name, value in own.items():
        value.copy_(saved[name])
