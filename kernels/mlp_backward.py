"""Backward pass of a stack of MLPs: the chain of deltas in one launch, all gradients in another.

Gradients of weights are products over all rows of a batch. A program owns a tile of a weight and
walks the rows in order: for two critics of 256 rows and width 256 that reads 10 MB through the L2
cache. Partial sums of row tiles would write 18 MB and read them again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .dense import (
    Piece,
    add_product,
    check_layers,
    is_packed,
    multiply,
    packed,
    pieces,
    stack,
    tiles,
)
from .mlp import Saved

_TILE, _TILE_ROWS = 64, 16


@triton.jit
def _input_gradient(
    dx, deltas, delta_row, w, row, live, at, H: tl.constexpr, K: tl.constexpr,
    BLOCK_X: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the gradient of one piece, [rows, K]: delta @ w^T in blocks of columns."""
    for start in tl.range(0, K, BLOCK_X):
        column = start + tl.arange(0, BLOCK_X)
        inside = column < K
        total = tl.zeros((row.shape[0], BLOCK_X), tl.float32)
        total = add_product(
            total, deltas, delta_row, live, w, column, inside, 1, H, H, BLOCK_K, PRECISION
        )
        tl.store(
            dx + at + row[:, None] * K + column[None, :],
            total,
            mask=live[:, None] & inside[None, :],
        )


@triton.jit(do_not_specialize=["B"])
def _chain_kernel(
    gradient,  # [G, B, N]
    slopes,  # [DEPTH, G, B, H]
    deltas,  # [DEPTH, G, B, H]
    w_first,  # [G, K0 + K1 + K2, H]
    w_hidden,  # [DEPTH - 1, G, H, H]
    w_last,  # [G, H, N]
    w_first_group,
    w_hidden_layer,
    w_hidden_group,
    w_last_group,
    dx0,  # [G, B, K0], or nothing
    dx1,
    dx2,
    B,
    K0: tl.constexpr,
    K1: tl.constexpr,
    K2: tl.constexpr,
    WANT0: tl.constexpr,
    WANT1: tl.constexpr,
    WANT2: tl.constexpr,
    H: tl.constexpr,
    N: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_X: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    group = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    live = row < B
    column = tl.arange(0, BLOCK_H)
    inside = column < H
    mask = live[:, None] & inside[None, :]
    layer = tl.num_programs(1).to(tl.int64) * B * H
    own = group * B * H
    at = own + row[:, None] * H + column[None, :]

    delta = tl.zeros((BLOCK_B, BLOCK_H), tl.float32)
    delta = add_product(
        delta, gradient + group * B * N, row * N, live, w_last + group * w_last_group, column,
        inside, 1, N, N, BLOCK_N, PRECISION,
    )  # fmt: skip
    here = (DEPTH - 1) * layer
    delta *= tl.load(slopes + here + at, mask=mask, other=0.0)
    tl.store(deltas + here + at, delta, mask=mask)
    tl.debug_barrier()
    for i in tl.range(1, DEPTH):
        w = w_hidden + (DEPTH - 1 - i) * w_hidden_layer + group * w_hidden_group
        delta = tl.zeros((BLOCK_B, BLOCK_H), tl.float32)
        delta = add_product(
            delta, deltas + here + own, row * H, live, w, column, inside, 1, H, H, BLOCK_K,
            PRECISION,
        )  # fmt: skip
        here -= layer
        delta *= tl.load(slopes + here + at, mask=mask, other=0.0)
        tl.store(deltas + here + at, delta, mask=mask)
        tl.debug_barrier()

    w = w_first + group * w_first_group
    deltas += own
    if WANT0:
        _input_gradient(
            dx0, deltas, row * H, w, row, live, group * B * K0, H, K0, BLOCK_X, BLOCK_K, PRECISION
        )
    if WANT1:
        _input_gradient(
            dx1, deltas, row * H, w + K0 * H, row, live, group * B * K1, H, K1, BLOCK_X, BLOCK_K,
            PRECISION,
        )  # fmt: skip
    if WANT2:
        _input_gradient(
            dx2, deltas, row * H, w + (K0 + K1) * H, row, live, group * B * K2, H, K2, BLOCK_X,
            BLOCK_K, PRECISION,
        )  # fmt: skip


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


def mlp_backward(
    gradient: Tensor,
    saved: Saved,
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    weight_gradients: Sequence[Tensor],
    bias_gradients: Sequence[Tensor],
    wanted: Sequence[bool] = (),
    precision: str = "fp32",
) -> list[Tensor | None]:
    """Write all gradients of `mlp` for an upstream gradient [G, B, out]; return those of inputs.

    weight_gradients and bias_gradients: outputs of the shapes of the parameters, each group
    contiguous; layers between first and last equally spaced in memory, as views of one flat buffer
    are. wanted: for each piece whether its gradient is to be returned, [G, B, n_i] (else None: the
    sum over what a repeated piece serves is left to the caller). No gradient of a weight is
    computed when the outputs are empty. Raises ValueError when a shape is not of these.
    """
    G, B, N = gradient.shape
    parts, rows, widths = pieces(inputs, G)
    depth, _, _, H = saved.hidden.shape
    if rows != B or saved.hidden.shape != (len(weights) - 1, G, B, weights[0].shape[2]):
        raise ValueError(f"the gradient {[G, B, N]} and what was saved are not of one pass")
    wanted = [*wanted, *[False] * (3 - len(wanted))]
    first, last = packed(weights[0]), packed(weights[-1])
    middle = stack(weights[1:-1], first)
    gradient = gradient.contiguous()
    deltas = torch.empty(saved.hidden.shape, dtype=torch.float32, device=gradient.device)
    found = [
        torch.empty((G, B, width), dtype=torch.float32, device=gradient.device) if want else None
        for width, want in zip(widths, wanted, strict=True)
    ]
    tile, options = tiles(G, B, H, precision, gradient.device, backward=True)
    with torch.cuda.device(gradient.get_device()):
        _chain_kernel[(triton.cdiv(B, tile), G)](
            gradient, saved.slopes, deltas, first, middle.base, last,
            first.stride(0), middle.layer_stride, middle.group_stride, last.stride(0),
            *(deltas if x is None else x for x in found), B,
            K0=widths[0], K1=widths[1], K2=widths[2],
            WANT0=wanted[0], WANT1=wanted[1], WANT2=wanted[2], H=H, N=N, DEPTH=depth,
            BLOCK_B=tile, BLOCK_N=min(32, max(16, triton.next_power_of_2(N))), BLOCK_X=32,
            **options,
        )  # fmt: skip
        if weight_gradients:
            check_layers(weight_gradients, bias_gradients, widths)
            _launch_weights(
                parts, widths, saved.hidden, deltas, gradient, weight_gradients, bias_gradients,
                precision,
            )  # fmt: skip
    return found[: len(inputs)]


def _launch_weights(
    parts: Sequence[Piece],
    widths: Sequence[int],
    hidden: Tensor,
    deltas: Tensor,
    gradient: Tensor,
    weight_gradients: Sequence[Tensor],
    bias_gradients: Sequence[Tensor],
    precision: str,
) -> None:
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
