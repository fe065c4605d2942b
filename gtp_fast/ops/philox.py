"""Draws by counter in native code on the CPU: normals, integers, and the batch of an update."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gtp_fast.system import native


def normals(
    keys: Tensor,
    step: int | Tensor,
    stream: int,
    rows: int,
    columns: int,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draw `random.normals`, float32 alone."""
    out = torch.empty(keys.shape[0], rows, columns, dtype=dtype)
    native.module().normals(
        keys.data_ptr(), keys.shape[0], int(step), int(stream), out.data_ptr(), rows, columns
    )
    return out


def integers(keys: Tensor, step: int | Tensor, stream: int, rows: int, bound: int) -> Tensor:
    """Draw `random.integers`."""
    out = torch.empty(keys.shape[0], rows, dtype=torch.int64)
    native.module().integers(
        keys.data_ptr(), keys.shape[0], int(step), int(stream), out.data_ptr(), rows, bound
    )
    return out


def addresses(table: Any) -> tuple[int, int]:
    """Return where a table's rows and its lots begin, 0 for no lots; ValueError unless native code
    can read them.
    """
    data, lots = table.rows, table.lots
    if data.dtype != torch.float32 or not data.is_contiguous():
        raise ValueError(f"the table must be contiguous float32, not {data.dtype}")
    if lots is None:
        return int(data.data_ptr()), 0
    if lots.dtype != torch.int64 or not lots.is_contiguous() or lots.shape != data.shape[:1]:
        raise ValueError(f"the lots must be {len(data)} contiguous int64, not {lots.dtype}")
    return int(data.data_ptr()), int(lots.data_ptr())


def gather(
    table: Any, keys: Tensor, step: int | Tensor, stream: int, rows: int
) -> tuple[Tensor, ...]:
    """Draw a batch of a transition table and copy its rows in one pass: s, a, r, s', mask, each
    contiguous, which every pass that reads them asks for.
    """
    widths = (table.observation_dim, table.action_dim)
    seeds, (O, A) = keys.shape[0], widths  # noqa: E741
    shapes = (seeds, rows, O), (seeds, rows, A), (seeds, rows), (seeds, rows, O), (seeds, rows)
    out = tuple(torch.empty(shape) for shape in shapes)
    native.module().gather(
        *addresses(table), len(table), widths, keys.data_ptr(), seeds, int(step), int(stream), rows,
        [x.data_ptr() for x in out],
    )  # fmt: skip
    return out
