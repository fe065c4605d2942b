"""The device that a user names, checked once for every command."""

from __future__ import annotations

import torch

from gtp_fast.errors import UserError


def chosen_device(name: torch.device | str) -> torch.device:
    """Return the device of that name; `auto` takes the GPU where there is one.

    Raises UserError for a device that gtp_fast or this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"There is no device {str(name)!r}: choose cpu, cuda or auto.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("PyTorch sees no CUDA GPU here: choose the device cpu.")
    return device
