"""Draw a batch by counter and copy its rows out of a resident table."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .philox import multiply_high, value, words

_TILE = 2048  # elements of a tile


@triton.constexpr_function
def row_width(O, A):  # noqa: E741
    """Return the length of a packed row, of s, a, r, s' and mask."""
    return 2 * O + A + 2


@triton.jit
def drawn_rows(seed, step, STREAM: tl.constexpr, row, count, lots):
    """Return the table rows drawn for `row`, uniformly or by an alias table."""
    word, second, _, _ = words(seed, step, STREAM, row, row * 0)
    own = multiply_high(word, count).to(tl.int64)
    if lots is None:
        return own
    else:
        lot = tl.load(lots + own)
        limit = (lot >> 32).to(tl.uint32)
        return tl.where(second <= limit, own, lot & 0xFFFFFFFF)


def check_table(table: Tensor, observation_dim: int, action_dim: int) -> int:
    """Return the number of rows of a packed table; ValueError when it is not one."""
    count, width = table.shape
    if width != row_width(observation_dim, action_dim) or not table.is_contiguous():
        raise ValueError(f"a table of {width} columns is not packed as s | a | r | s' | mask")
    if table.dtype != torch.float32 or not 0 < count < 2**31:
        raise ValueError(f"the table must be float32 with up to 2^31 rows, not {table.dtype}")
    return count


def checked_lots(lots: Tensor | None, count: int) -> Tensor | None:
    """Return an alias table as the kernels read it; ValueError unless it has `count` rows."""
    if lots is None:
        return None
    if lots.shape != (count,) or lots.dtype != torch.int64:
        raise ValueError(f"lots must be [{count}] int64, not {list(lots.shape)} {lots.dtype}")
    return lots.contiguous()


@triton.jit
def copy_rows(
    table, index, live, state, action, reward, following, mask,  # the last five: [rows], outputs
    O: tl.constexpr, A: tl.constexpr, BLOCK_R: tl.constexpr,  # noqa: E741
):  # fmt: skip
    """Copy rows `index` of a table field by field.

    Returns (tile, its columns, their numbers within s', live cells).
    """
    width: tl.constexpr = row_width(O, A)
    column = tl.arange(0, BLOCK_R)[None, :]
    both = live[:, None] & (column < width)
    x = tl.load(table + index[:, None] * width + column, mask=both, other=0.0)
    after = column - (O + A + 1)
    tl.store(state[:, None] + column, x, mask=both & (column < O))
    tl.store(action[:, None] + column - O, x, mask=both & (column >= O) & (column < O + A))
    tl.store(reward[:, None] + 0 * column, x, mask=both & (column == O + A))
    tl.store(following[:, None] + after, x, mask=both & (after >= 0) & (after < O))
    tl.store(mask[:, None] + 0 * column, x, mask=both & (after == O))
    return x, column, after, both


@triton.jit(do_not_specialize=["count", "step", "B"])
def _gather_kernel(
    table,  # [count, row_width]
    lots,  # [count] int64, or None
    count,
    seeds,  # [S] int64
    step,  # scalar or pointer
    states,  # [S, B, O]
    actions,  # [S, B, A]
    rewards,  # [S, B]
    following,  # [S, B, O]
    masks,  # [S, B]
    B,
    O: tl.constexpr,  # noqa: E741
    A: tl.constexpr,
    STREAM: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    s = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    index = drawn_rows(tl.load(seeds + s), value(step), STREAM, row, count, lots)
    at = s * B + row
    copy_rows(
        table, index, row < B, states + at * O, actions + at * A, rewards + at, following + at * O,
        masks + at, O, A, BLOCK_R,
    )  # fmt: skip


def gather(
    table: Tensor,
    observation_dim: int,
    action_dim: int,
    seeds: Tensor,
    step: int | Tensor,
    stream: int,
    rows: int,
    lots: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return (s, a, r, s', mask) of B rows drawn for each seed.

    s, s': [S, B, O]; a: [S, B, A]; r, mask: [S, B]. table: [N, 2 O + A + 2] float32, packed as s |
    a | r | s' | mask; row b of a seed is number (word * N) >> 32, word the first of philox(seed;
    step, stream, b, 0); lots: an alias table [N] int64, by which the second word chooses between
    that row and another one. Raises ValueError for another form of the tables.
    """
    count = check_table(table, observation_dim, action_dim)
    S = seeds.shape[0]

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=table.device)

    states, following = empty(S, rows, observation_dim), empty(S, rows, observation_dim)
    actions, rewards, masks = empty(S, rows, action_dim), empty(S, rows), empty(S, rows)
    block_r = triton.next_power_of_2(table.shape[1])
    block_b = max(1, _TILE // block_r)
    with torch.cuda.device(table.get_device()):
        _gather_kernel[(triton.cdiv(rows, block_b), S)](
            table, checked_lots(lots, count), count, seeds.contiguous(), step, states, actions,
            rewards, following, masks, rows, O=observation_dim, A=action_dim, STREAM=int(stream),
            BLOCK_B=block_b, BLOCK_R=block_r, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return states, actions, rewards, following, masks
