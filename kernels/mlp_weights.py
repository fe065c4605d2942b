"""Gradients of the weights of a stack of MLPs, of all layers in one launch.

They are products over all rows of a batch. A program owns a tile of a weight and walks the rows in
order: for two critics of 256 rows and width 256 that reads 10 MB through the L2 cache. Partial sums
of row tiles would write 18 MB and read them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import dense
from .dense import Piece, alternate, check_layers, multiply, one_row, piece_start

_TILE, _TILE_ROWS = 64, 16


@triton.jit
def _weight_tile(
    tile, x, share, x_group, x_rows, x_row, delta, weight, bias, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, BIAS: tl.constexpr, B: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_ROWS: tl.constexpr,
):  # fmt: skip
    """Write one tile of x^T delta, and of the sum of delta for the tiles of the first row; return
    the sum of their squares.
    """
    across: tl.constexpr = (COLUMNS + BLOCK - 1) // BLOCK
    k = (tile // across) * BLOCK + tl.arange(0, BLOCK)
    column = (tile % across) * BLOCK + tl.arange(0, BLOCK)
    real, inside = k < ROWS, column < COLUMNS
    x += piece_start(tl.program_id(1), share, x_group)
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    sums = tl.zeros((BLOCK,), tl.float32)
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
        sums += tl.sum(d, 0)
    tl.store(
        weight + k[:, None] * COLUMNS + column[None, :],
        total,
        mask=real[:, None] & inside[None, :],
    )
    # Flat: Triton 3.6 fails for capability 10.0 to sum one axis of a product, then the other.
    squares = tl.sum(tl.reshape(total * total, (BLOCK * BLOCK,)), 0)
    if BIAS and tile < across:
        tl.store(bias + column, sums, mask=inside)
        squares += tl.sum(sums * sums, 0)
    return squares


@triton.jit
def weight_tiles(
    tile,
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
    results,  # of a group, in the order of the parameters
    stride,
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
    """Write tile number `tile` of all gradients of a group, the program's second index; return the
    sum of its squares.
    """
    group = tl.program_id(1).to(tl.int64)
    layer = tl.num_programs(1).to(tl.int64) * B * H
    own = group * B * H
    side: tl.constexpr = (H + BLOCK - 1) // BLOCK
    middle: tl.constexpr = (DEPTH - 1) * side * side
    until0: tl.constexpr = middle + side * ((K0 + BLOCK - 1) // BLOCK)
    until1: tl.constexpr = until0 + side * ((K1 + BLOCK - 1) // BLOCK)
    until2: tl.constexpr = until1 + side * ((K2 + BLOCK - 1) // BLOCK)
    first = results + group * stride
    bias = first + (K0 + K1 + K2) * H
    later = bias + H
    if tile < middle:
        i = tile // (side * side)
        w = later + i * (H + 1) * H
        squares = _weight_tile(
            tile % (side * side), hidden + i * layer, 1, B * H, B, H,
            deltas + (i + 1) * layer + own, w, w + H * H, H, H, True, B, PRECISION, BLOCK,
            BLOCK_ROWS,
        )  # fmt: skip
    elif tile < until0:
        squares = _weight_tile(
            tile - middle, x0, share0, group0, rows0, row0, deltas + own, first, bias,
            K0, H, True, B, PRECISION, BLOCK, BLOCK_ROWS,
        )  # fmt: skip
    elif tile < until1:
        squares = _weight_tile(
            tile - until0, x1, share1, group1, rows1, row1, deltas + own, first + K0 * H, bias,
            K1, H, False, B, PRECISION, BLOCK, BLOCK_ROWS,
        )  # fmt: skip
    elif tile < until2:
        squares = _weight_tile(
            tile - until1, x2, share2, group2, rows2, row2, deltas + own, first + (K0 + K1) * H,
            bias, K2, H, False, B, PRECISION, BLOCK, BLOCK_ROWS,
        )  # fmt: skip
    else:
        w = later + (DEPTH - 1) * (H + 1) * H
        squares = _weight_tile(
            tile - until2, hidden + (DEPTH - 1) * layer, 1, B * H, B, H, gradient + group * B * N,
            w, w + H * N, H, N, True, B, PRECISION, BLOCK, BLOCK_ROWS,
        )  # fmt: skip
    return squares


@triton.jit(do_not_specialize=["rows0", "rows1", "rows2"])
def _weights_kernel(
    x0, share0, group0, rows0, row0, x1, share1, group1, rows1, row1,
    x2, share2, group2, rows2, row2, hidden, deltas, gradient, results, stride,
    sums,  # [G, tiles], or nothing
    SUMS: tl.constexpr, B: tl.constexpr, K0: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr,
    H: tl.constexpr, N: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_ROWS: tl.constexpr,
):  # fmt: skip
    squares = weight_tiles(
        tl.program_id(0), x0, share0, group0, rows0, row0, x1, share1, group1, rows1, row1,
        x2, share2, group2, rows2, row2, hidden, deltas, gradient, results, stride,
        B, K0, K1, K2, H, N, DEPTH, PRECISION, BLOCK, BLOCK_ROWS,
    )  # fmt: skip
    if SUMS:
        tl.store(sums + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0), squares)


def count_tiles(widths: Sequence[int], depth: int, width: int) -> int:
    """Return how many tiles the gradients of one group have."""
    side = triton.cdiv(width, _TILE)
    return side * ((depth - 1) * side + 1 + sum(triton.cdiv(k, _TILE) for k in widths))


def weight_options(
    widths: Sequence[int], hidden: Tensor, outputs: int, precision: str
) -> dict[str, Any]:
    """Return the constants and meta-parameters of a kernel that calls `weight_tiles`."""
    depth, _, rows, width = hidden.shape
    full, chip = precision == "fp32", dense.capability(hidden.device)
    # Tensor cores need fewer warps, except where four would spill.
    warps = 8 if full or (chip >= 120 and precision == "tf32") else 4
    shallow = width > 256 and (precision == "tf32" or (full and chip < 90))
    return {
        "B": rows, "K0": widths[0], "K1": widths[1], "K2": widths[2], "H": width, "N": outputs,
        "DEPTH": depth, "PRECISION": precision, "BLOCK": _TILE, "BLOCK_ROWS": _TILE_ROWS,
        "num_warps": warps, "num_stages": 2 if shallow else 3, "enable_fp_fusion": True,
    }  # fmt: skip


def weight_gradients(
    parts: Sequence[Piece],
    widths: Sequence[int],
    hidden: Tensor,
    deltas: Tensor,
    gradient: Tensor,
    results: Tensor,
    precision: str,
) -> Tensor:
    """Write the gradients of one row [G, P] of parameters; return sums [G, n] of their squares.

    Arguments as `write_weight_gradients` has them; results: as `mlp_pair` has its parameters.
    """
    depth, G, _, H = hidden.shape
    tiles = count_tiles(widths, depth, H)
    sums = torch.empty((G, tiles), dtype=torch.float32, device=hidden.device)
    with torch.cuda.device(hidden.get_device()):
        _weights_kernel[(tiles, G)](
            *parts[0], *parts[1], *parts[2], hidden, deltas, gradient, results, results.stride(0),
            sums, SUMS=True, **weight_options(widths, hidden, gradient.shape[2], precision),
        )  # fmt: skip
    return sums


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
    depth, G, _, H = hidden.shape
    results = one_row(alternate(weight_gradients, bias_gradients), copy=False)
    _weights_kernel[(count_tiles(widths, depth, H), G)](
        *parts[0], *parts[1], *parts[2], hidden, deltas, gradient, *results, hidden, SUMS=False,
        **weight_options(widths, hidden, gradient.shape[2], precision),
    )  # fmt: skip
