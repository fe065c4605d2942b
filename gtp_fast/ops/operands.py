"""The check before native code reads or writes a tensor by its address."""

from __future__ import annotations

import torch
from torch import Tensor

from gtp_fast.errors import UserError


def operand(
    x: Tensor, shape: tuple[int, ...], name: str, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return x, copied if it has gaps; UserError for another shape, dtype or device than the CPU.

    shape: its exact shape, for nothing is broadcast. name: of the argument, for the message.
    """
    if x.dtype is not dtype or x.shape != shape or not x.is_cpu:
        raise misfit(x, shape, name, dtype)
    return x.contiguous()


def output(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return fresh memory for native code to write: on the CPU, whatever PyTorch's defaults."""
    return torch.empty(shape, dtype=dtype, device="cpu")


def buffer(
    x: Tensor, shape: tuple[int, ...], name: str, dtype: torch.dtype = torch.float32
) -> None:
    """Check what is written in place as `operand` does; UserError also where it has gaps."""
    if operand(x, shape, name, dtype) is not x:
        raise UserError(f"{name} must be contiguous: native code writes it in place.")


def seed_keys(keys: Tensor) -> Tensor:
    """Return the keys of a draw [S] int64 as `operand` does."""
    return operand(keys, (keys.numel(),), "keys", torch.int64)


def misfit(
    x: Tensor, shape: tuple[int, ...], name: str, dtype: torch.dtype = torch.float32
) -> UserError:
    """Return the error of a tensor that native code cannot read."""
    kind = str(dtype).removeprefix("torch.")
    return UserError(
        f"{name} must be {list(shape)} {kind} on the CPU, not {list(x.shape)} "
        f"{str(x.dtype).removeprefix('torch.')} on {x.device}: the native form reads nothing else."
    )
