"""The batch of an update, drawn from a transition table, and its forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from gtp_fast.errors import UserError
from gtp_fast.ops.context import Context
from gtp_fast.ops.operands import output, seed_keys
from gtp_fast.reference import philox
from gtp_fast.system import native


def reference_gather(
    table: Any, keys: Tensor, step: int | Tensor, stream: int, rows: int
) -> Iterable[Tensor]:
    """Draw rows of a transition table, by its lots if it has them: s, a, r, s', mask."""
    if table.lots is None:
        index = philox.integers(keys, step, stream, rows, len(table))
    else:
        index = philox.lots(keys, step, stream, rows, table.lots)
    drawn: Iterable[Tensor] = table.gather(index)
    return drawn


def check_fit(table: Any, observation_dim: int, action_dim: int) -> None:
    """Raise UserError unless a table has observations [O] and actions [A] of these sizes."""
    if table.observation_dim != observation_dim or table.action_dim != action_dim:
        raise UserError(
            f"The table has observations of {table.observation_dim} numbers and actions of "
            f"{table.action_dim}, the agent was made for {observation_dim} and {action_dim}: give "
            "it a table of its own task."
        )


def addresses(table: Any) -> tuple[int, int]:
    """Return the addresses of a table's rows and lots, 0 for no lots.

    Raises UserError unless native code can read them.
    """
    data, lots = table.rows, table.lots
    width = 2 * table.observation_dim + table.action_dim + 2
    if data.dtype != torch.float32 or not data.is_contiguous() or not data.is_cpu:
        raise UserError(
            f"the table must be contiguous float32 on the CPU, not {data.dtype} on {data.device}"
        )
    if data.dim() != 2 or data.shape[1] != width:
        raise UserError(f"the rows of the table must be [N, {width}], not {list(data.shape)}")
    if lots is None:
        return int(data.data_ptr()), 0
    if (
        lots.dtype != torch.int64
        or not lots.is_contiguous()
        or lots.shape != data.shape[:1]
        or not lots.is_cpu
    ):
        raise UserError(
            f"the lots must be {len(data)} contiguous int64 on the CPU, not {lots.dtype} on "
            f"{lots.device}"
        )
    return int(data.data_ptr()), int(lots.data_ptr())


def native_gather(
    table: Any, keys: Tensor, step: int | Tensor, stream: int, rows: int
) -> tuple[Tensor, ...]:
    """Compute `reference_gather` in one pass; each field is contiguous, as later passes need."""
    keys, widths = seed_keys(keys), (table.observation_dim, table.action_dim)
    seeds, (O, A) = keys.shape[0], widths  # noqa: E741
    shapes = (seeds, rows, O), (seeds, rows, A), (seeds, rows), (seeds, rows, O), (seeds, rows)
    out = tuple(output(*shape) for shape in shapes)
    native.module().gather(
        *addresses(table), len(table), widths, keys.data_ptr(), seeds, int(step), int(stream), rows,
        [x.data_ptr() for x in out],
    )  # fmt: skip
    return out


def triton_gather(
    table: Any, keys: Tensor, step: int | Tensor, stream: int, rows: int
) -> tuple[Tensor, ...]:
    """Compute `reference_gather` in one launch."""
    from gtp_fast.kernels import gather as kernel

    widths = table.observation_dim, table.action_dim
    fields: tuple[Tensor, ...] = kernel.gather(
        table.rows, *widths, keys, step, stream, rows, table.lots
    )
    return fields


FORMS: dict[str, Callable[[Context], Callable[..., Iterable[Tensor]]]] = {
    "reference": lambda _: reference_gather,
    "native": lambda _: native_gather,
    "triton": lambda _: triton_gather,
}
