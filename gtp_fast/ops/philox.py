"""Draws by counter (Philox): normals and integers, and their forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gtp_fast.ops.operands import output, seed_keys
from gtp_fast.reference import philox
from gtp_fast.system import native


class Draws(NamedTuple):
    """What draws normals [S, rows, columns] and integers [S, rows]."""

    normals: Callable[..., Tensor]
    integers: Callable[..., Tensor]


def native_normals(
    keys: Tensor,
    step: int | Tensor,
    stream: int,
    rows: int,
    columns: int,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draw `philox.normals` in float32, converted to `dtype` as Triton's form does."""
    keys = seed_keys(keys)
    out = output(keys.shape[0], rows, columns)
    native.module().normals(
        keys.data_ptr(), keys.shape[0], int(step), int(stream), out.data_ptr(), rows, columns
    )
    return out if dtype is torch.float32 else out.to(dtype)


def native_integers(keys: Tensor, step: int | Tensor, stream: int, rows: int, bound: int) -> Tensor:
    """Draw `philox.integers`."""
    keys = seed_keys(keys)
    out = output(keys.shape[0], rows, dtype=torch.int64)
    native.module().integers(
        keys.data_ptr(), keys.shape[0], int(step), int(stream), out.data_ptr(), rows, bound
    )
    return out


def triton_normals(
    keys: Tensor,
    step: int | Tensor,
    stream: int,
    rows: int,
    columns: int,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draw `philox.normals` in one launch."""
    from gtp_fast.kernels import philox as kernel

    drawn: Tensor = kernel.normals(keys, step, stream, rows, columns)
    return drawn.to(dtype)


def triton_integers(keys: Tensor, step: int | Tensor, stream: int, rows: int, bound: int) -> Tensor:
    """Draw `philox.integers` in one launch."""
    from gtp_fast.kernels import philox as kernel

    drawn: Tensor = kernel.integers(keys, step, stream, rows, bound)
    return drawn


FORMS = {
    "reference": Draws(philox.normals, philox.integers),
    "native": Draws(native_normals, native_integers),
    "triton": Draws(triton_normals, triton_integers),
}
