"""Gradients of all weights of a stack of MLPs in one launch.

They are products over all rows of a batch. A program owns a tile of a weight and reads the rows in
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

from . import tiling
from .dense import Piece, alternate, check_layers, multiply, one_row, piece_start, total_width

_TILE, TURN = 64, 64


@triton.jit
def _weight_tile(
    tile, x, x_rows, x_row_stride, delta, w, weight, bias, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, BIAS: tl.constexpr, B: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_ROWS: tl.constexpr,
):  # fmt: skip
    """Write one tile of x^T delta; return the sum of its squares.

    w: what the rows of delta are multiplied by, [B / 2] for each half, or None. BIAS: the tiles of
    the first row also write the sum of delta.
    """
    across: tl.constexpr = (COLUMNS + BLOCK - 1) // BLOCK
    k = (tile // across) * BLOCK + tl.arange(0, BLOCK)
    column = (tile % across) * BLOCK + tl.arange(0, BLOCK)
    real, inside = k < ROWS, column < COLUMNS
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    sums = tl.zeros((BLOCK,), tl.float32)
    for start in tl.range(0, B, BLOCK_ROWS):
        row = start + tl.arange(0, BLOCK_ROWS)
        live = row < B
        a = tl.load(
            x + ((row % x_rows) * x_row_stride)[None, :] + k[:, None],
            mask=real[:, None] & live[None, :],
            other=0.0,
        )
        d = tl.load(
            delta + row[:, None] * COLUMNS + column[None, :],
            mask=live[:, None] & inside[None, :],
            other=0.0,
        )
        if w is not None:
            d *= tl.load(w + row % (B // 2), mask=live, other=0.0)[:, None]
        total = multiply(a, d, total, PRECISION)
        sums += tl.sum(d, 0)
    tl.store(
        weight + k[:, None] * COLUMNS + column[None, :],
        total,
        mask=real[:, None] & inside[None, :],
    )
    # Flat: Triton 3.6 fails on capability 10.0 to sum one axis of a product, then the other.
    squares = tl.sum(tl.reshape(total * total, (BLOCK * BLOCK,)), 0)
    if BIAS and tile < across:
        tl.store(bias + column, sums, mask=inside)
        squares += tl.sum(sums * sums, 0)
    return squares


@triton.jit
def weight_tiles(
    tile,
    x,  # pieces, read side by side
    hidden,  # [DEPTH, G, B, H]
    deltas,  # [DEPTH, G, B, H]
    gradient,  # [G, B, N]
    w,  # of the group's rows, [B / 2] for each half, or None
    results,  # in the order of the parameters
    stride,  # of results, from group to group
    B: tl.constexpr,
    K: tl.constexpr,  # widths of the pieces
    H: tl.constexpr,
    N: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
):
    """Write one tile of all gradients of group program_id(1); return the sum of its squares."""
    g = tl.program_id(1)
    group = g.to(tl.int64)
    layer = tl.num_programs(1).to(tl.int64) * B * H
    own = group * B * H
    inputs: tl.constexpr = total_width(K)
    side: tl.constexpr = (H + BLOCK - 1) // BLOCK
    middle: tl.constexpr = (DEPTH - 1) * side * side
    first = results + group * stride
    bias = first + inputs * H
    later = bias + H
    squares = tl.zeros((), tl.float32)
    if tile < middle:
        i = tile // (side * side)
        at = later + i * (H + 1) * H
        squares = _weight_tile(
            tile % (side * side), hidden + i * layer + own, B, H, deltas + (i + 1) * layer + own, w,
            at, at + H * H, H, H, True, B, PRECISION, BLOCK, BLOCK_ROWS,
        )  # fmt: skip
    tile -= middle
    for i in tl.static_range(len(K)):
        count = side * ((K[i] + BLOCK - 1) // BLOCK)
        if (tile >= 0) & (tile < count):
            squares = _weight_tile(
                tile, x[i].x + piece_start(g, x[i]), x[i].rows, x[i].row_stride, deltas + own,
                w, first, bias, K[i], H, i == 0, B, PRECISION, BLOCK, BLOCK_ROWS,
            )  # fmt: skip
        tile -= count
        first += K[i] * H
    if tile >= 0:
        at = later + (DEPTH - 1) * (H + 1) * H
        squares = _weight_tile(
            tile, hidden + (DEPTH - 1) * layer + own, B, H, gradient + group * B * N, w, at,
            at + H * N, H, N, True, B, PRECISION, BLOCK, BLOCK_ROWS,
        )  # fmt: skip
    return squares


@triton.jit
def _weights_kernel(
    x, hidden, deltas, gradient, results, stride,
    sums,  # [G, tiles] or None
    B: tl.constexpr, K: tl.constexpr, H: tl.constexpr, N: tl.constexpr, DEPTH: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK: tl.constexpr, BLOCK_ROWS: tl.constexpr,
):  # fmt: skip
    squares = weight_tiles(
        tl.program_id(0), x, hidden, deltas, gradient, None, results, stride, B, K, H, N, DEPTH,
        PRECISION, BLOCK, BLOCK_ROWS,
    )  # fmt: skip
    if sums is not None:
        tl.store(sums + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0), squares)


def count_tiles(widths: Sequence[int], depth: int, width: int) -> int:
    """Return the number of tiles of the gradients of one group."""
    side = triton.cdiv(width, _TILE)
    return side * ((depth - 1) * side + 1 + sum(triton.cdiv(k, _TILE) for k in widths))


def weight_options(
    widths: Sequence[int], hidden: Tensor, outputs: int, precision: str, turn: int = TURN
) -> dict[str, Any]:
    """Return the launch options of a kernel that calls `weight_tiles`.

    turn: the rows of a batch that one turn of its loop takes; at most 16 in full float32, whose
    products would spill with more.
    """
    depth, _, rows, width = hidden.shape
    full, chip = precision == "fp32", tiling.capability(hidden.device)
    # Tensor cores need fewer warps, except where four would spill.
    warps = 8 if full or (chip >= 120 and precision == "tf32") else 4
    two_stages = width > 256 and (precision == "tf32" or (full and chip < 90))
    return {
        "B": rows, "K": tuple(widths), "H": width, "N": outputs, "DEPTH": depth,
        "PRECISION": precision, "BLOCK": _TILE, "BLOCK_ROWS": min(turn, 16) if full else turn,
        "num_warps": warps, "num_stages": 2 if two_stages else 3, "enable_fp_fusion": True,
    }  # fmt: skip


def _alone(options: dict[str, Any], hidden: Tensor) -> dict[str, Any]:
    """Return the options of a kernel that does nothing but `weight_tiles`."""
    # On 8.x ptxas by default spills here rather than take more than 96 registers, or 128.
    limits = {("tf32", False): 128, ("bf16", True): 255}
    limit = limits.get((options["PRECISION"], options["H"] > 256))
    older = tiling.capability(hidden.device) < 90
    return options | ({"maxnreg": limit} if older and limit else {})


def weight_gradients(
    parts: Sequence[Piece],
    widths: Sequence[int],
    hidden: Tensor,
    deltas: Tensor,
    gradient: Tensor,
    results: Tensor,
    precision: str,
    turn: int = TURN,
) -> Tensor:
    """Write all gradients into results; return partial sums [G, n] of their squares.

    results: [G, P], in the order of the parameters of `mlp_pair`; turn: rows of a batch that are
    multiplied at once; the rest as in `write_weight_gradients`.
    """
    depth, G, _, H = hidden.shape
    tiles = count_tiles(widths, depth, H)
    sums = torch.empty((G, tiles), dtype=torch.float32, device=hidden.device)
    with torch.cuda.device(hidden.get_device()):
        _weights_kernel[(tiles, G)](
            tuple(parts), hidden, deltas, gradient, results, results.stride(0), sums,
            **_alone(weight_options(widths, hidden, gradient.shape[2], precision, turn), hidden),
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
    """Write x^T delta and the sum of delta of every layer, the gradients of `mlp`.

    parts and widths: of `dense.pieces`; hidden, deltas: [D, G, B, H]; the rest as in
    `mlp_backward`. Raises ValueError for outputs of other shapes or not adjacent.
    """
    check_layers(weight_gradients, bias_gradients, widths)
    depth, G, _, H = hidden.shape
    results = one_row(alternate(weight_gradients, bias_gradients), copy=False)
    _weights_kernel[(count_tiles(widths, depth, H), G)](
        tuple(parts), hidden, deltas, gradient, *results, None,
        **_alone(weight_options(widths, hidden, gradient.shape[2], precision), hidden),
    )  # fmt: skip
