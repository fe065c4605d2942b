"""Gradients of the weights of a stack of MLPs, of all layers in one launch.

They are products over all rows of a batch. A program owns a tile of a weight and walks the rows in
order: for two critics of 256 rows and width 256 that reads 10 MB through the L2 cache. Partial sums
of row tiles would write 18 MB and read them again.
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from .dense import Piece, check_layers, is_packed, multiply, stack

_TILE, _TILE_ROWS = 64, 16


@triton.jit
def _weight_tile(
    tile, x, x_rows, x_row, delta, d_weight, d_bias, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    BIAS: tl.constexpr, B: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
):  # fmt: skip
    """Write one tile of x^T delta, and of the sum of delta for the tiles of the first row."""
    across: tl.constexpr = (COLUMNS + BLOCK - 1) // BLOCK
    k = (tile // across) * BLOCK + tl.arange(0, BLOCK)
    column = (tile % across) * BLOCK + tl.arange(0, BLOCK)
    real, inside = k < ROWS, column < COLUMNS
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    bias = tl.zeros((BLOCK,), tl.float32)
    for start in tl.range(0, B, BLOCK_ROWS):
        row = start + tl.arange(0, BLOCK_ROWS)
        live = row < B
        a = tl.load(
            x + ((row % x_rows) * x_row)[None, :] + k[:, None],
            mask=real[:, None] & live[None, :],
            other=0.0,
        )
        d = tl.load(
            delta + row[:, None] * COLUMNS + column[None, :],
            mask=live[:, None] & inside[None, :],
            other=0.0,
        )
        total = multiply(a, d, total, PRECISION)
        bias += tl.sum(d, 0)
    tl.store(
        d_weight + k[:, None] * COLUMNS + column[None, :],
        total,
        mask=real[:, None] & inside[None, :],
    )
    if BIAS and tile < across:
        tl.store(d_bias + column, bias, mask=inside)


@triton.jit(do_not_specialize=["rows0", "rows1", "rows2"])
def _weights_kernel(
    x0,
    share0,
    group0,
    rows0,
    row0,
    x1,
    share1,
    group1,
    rows1,
    row1,
    x2,
    share2,
    group2,
    rows2,
    row2,
    hidden,  # [DEPTH, G, B, H]
    deltas,  # [DEPTH, G, B, H]
    gradient,  # [G, B, N]
    d_first,  # [G, K0 + K1 + K2, H]
    db_first,  # [G, H]
    d_hidden,  # [DEPTH - 1, G, H, H]
    db_hidden,  # [DEPTH - 1, G, H]
    d_last,  # [G, H, N]
    db_last,  # [G, N]
    d_first_group,
    db_first_group,
    d_hidden_layer,
    d_hidden_group,
    db_hidden_layer,
    db_hidden_group,
    d_last_group,
    db_last_group,
    B: tl.constexpr,
    K0: tl.constexpr,
    K1: tl.constexpr,
    K2: tl.constexpr,
    H: tl.constexpr,
    N: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
):
    g = tl.program_id(1)
    group = g.to(tl.int64)
    tile = tl.program_id(0)
    layer = tl.num_programs(1).to(tl.int64) * B * H
    own = group * B * H
    side: tl.constexpr = (H + BLOCK - 1) // BLOCK
    middle: tl.constexpr = (DEPTH - 1) * side * side
    tiles0: tl.constexpr = side * ((K0 + BLOCK - 1) // BLOCK)
    tiles1: tl.constexpr = side * ((K1 + BLOCK - 1) // BLOCK)
    tiles2: tl.constexpr = side * ((K2 + BLOCK - 1) // BLOCK)
    first = d_first + group * d_first_group
    first_bias = db_first + group * db_first_group
    if tile < middle:
        i = tile // (side * side)
        _weight_tile(
            tile % (side * side), hidden + i * layer + own, B, H,
            deltas + (i + 1) * layer + own, d_hidden + i * d_hidden_layer + group * d_hidden_group,
            db_hidden + i * db_hidden_layer + group * db_hidden_group,
            H, H, True, B, PRECISION, BLOCK, BLOCK_ROWS,
        )  # fmt: skip
    elif tile < middle + tiles0:
        _weight_tile(
            tile - middle, x0 + (g // share0).to(tl.int64) * group0, rows0, row0,
            deltas + own, first, first_bias,
            K0, H, True, B, PRECISION, BLOCK, BLOCK_ROWS,
        )  # fmt: skip
    elif tile < middle + tiles0 + tiles1:
        _weight_tile(
            tile - middle - tiles0, x1 + (g // share1).to(tl.int64) * group1, rows1, row1,
            deltas + own,
            first + K0 * H, first_bias, K1, H, False, B, PRECISION, BLOCK, BLOCK_ROWS,
        )  # fmt: skip
    elif tile < middle + tiles0 + tiles1 + tiles2:
        _weight_tile(
            tile - middle - tiles0 - tiles1, x2 + (g // share2).to(tl.int64) * group2, rows2, row2,
            deltas + own,
            first + (K0 + K1) * H, first_bias, K2, H, False, B, PRECISION, BLOCK, BLOCK_ROWS,
        )  # fmt: skip
    else:
        _weight_tile(
            tile - middle - tiles0 - tiles1 - tiles2, hidden + (DEPTH - 1) * layer + own,
            B, H, gradient + group * B * N, d_last + group * d_last_group,
            db_last + group * db_last_group, H, N, True, B, PRECISION, BLOCK, BLOCK_ROWS,
        )  # fmt: skip


def write_weight_gradients(
    parts: Sequence[Piece],
    widths: Sequence[int],
    hidden: Tensor,
    deltas: Tensor,
    gradient: Tensor,
    weight_gradients: Sequence[Tensor],
    bias_gradients: Sequence[Tensor],
    precision: str,
) -> None:
    """Write x^T delta and the sum of delta of every layer; arguments as `mlp_backward` has them.

    parts and widths: those of `dense.pieces`; deltas: [D, G, B, H]. Raises ValueError when the
    outputs are not as it wants them.
    """
    check_layers(weight_gradients, bias_gradients, widths)
    depth, G, B, H = hidden.shape
    N = gradient.shape[2]
    first, last = weight_gradients[0], weight_gradients[-1]
    b_first, b_last = bias_gradients[0], bias_gradients[-1]
    middle = stack(weight_gradients[1:-1], first, copy=False)
    b_middle = stack(bias_gradients[1:-1], b_first, copy=False)
    if not all(is_packed(x) for x in (first, last, b_first, b_last)):
        raise ValueError("every group of a gradient has to be contiguous")
    side = triton.cdiv(H, _TILE)
    tiles = side * ((depth - 1) * side + 1 + sum(triton.cdiv(k, _TILE) for k in widths))
    _weights_kernel[(tiles, G)](
        *parts[0], *parts[1], *parts[2], hidden, deltas, gradient,
        first, b_first, middle.base, b_middle.base, last, b_last,
        first.stride(0), b_first.stride(0), middle.layer_stride, middle.group_stride,
        b_middle.layer_stride, b_middle.group_stride, last.stride(0), b_last.stride(0),
        B=B, K0=widths[0], K1=widths[1], K2=widths[2], H=H, N=N, DEPTH=depth, PRECISION=precision,
        BLOCK=_TILE, BLOCK_ROWS=_TILE_ROWS, num_warps=8 if precision == "fp32" else 4, num_stages=3,
        enable_fp_fusion=True,
    )  # fmt: skip
