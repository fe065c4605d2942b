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
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"There is no device {str(name)!r}: choose cpu, cuda or auto.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("PyTorch sees no CUDA GPU here: choose the device cpu.")
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        known = ", ".join(f"cuda:{i}" for i in range(count))
        raise UserError(f"There is no device {str(name)!r} here: choose {known} or cpu.")
    return device


def current_device(name: torch.device | str) -> torch.device:
    """Return `chosen_device`, made the one that this process uses where none is named."""
    device = chosen_device(name)
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def synchronise(device: torch.device) -> None:
    """Wait for a GPU; nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def elsewhere(wanted: torch.device | str, own: torch.device) -> bool:
    """Return whether a device is another one than a tensor's own."""
    wanted = torch.device(wanted)
    return wanted.type != own.type or wanted.index not in (None, own.index)
