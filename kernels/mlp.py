"""Forward pass of a stack of MLPs, all layers in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .dense import (
    ACTIVATIONS,
    activate,
    add_product,
    alternate,
    check_layers,
    one_row,
    piece_rows,
    pieces,
    tiles,
)


@triton.jit
def _keep(z, hidden, slopes, at, mask, ACTIVATION: tl.constexpr, SAVE: tl.constexpr):
    """Write a layer's activations, and its slopes where a backward pass will want them."""
    h, slope = activate(z, ACTIVATION)
    tl.store(hidden + at, h, mask=mask)
    if SAVE:
        tl.store(slopes + at, slope, mask=mask)
    # Every thread has written before any reads: a tile goes through memory, since Triton cannot
    # slice one that lies in registers.
    tl.debug_barrier()


@triton.jit
def forward_tile(
    tile,
    x0,  # pieces [G / share, rows, K], read side by side
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
    parameters,  # of a group, from one to the next: layer after layer, a weight, then its bias
    stride,
    hidden,  # [LAYERS, G, B, H]
    slopes,  # [LAYERS, G, B, H], or nothing
    y,  # [G, B, N]
    B,
    K0: tl.constexpr,
    K1: tl.constexpr,
    K2: tl.constexpr,
    H: tl.constexpr,
    N: tl.constexpr,
    DEPTH: tl.constexpr,
    LAYERS: tl.constexpr,
    SAVE: tl.constexpr,
    ACTIVATION: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Carry one tile of rows of a group, the program's second index, through all layers."""
    g = tl.program_id(1)
    group = g.to(tl.int64)
    row = tile * BLOCK_B + tl.arange(0, BLOCK_B)
    live = row < B
    column = tl.arange(0, BLOCK_H)
    inside = column < H
    mask = live[:, None] & inside[None, :]
    layer = tl.num_programs(1).to(tl.int64) * B * H
    own = group * B * H
    at = own + row[:, None] * H + column[None, :]

    first = parameters + group * stride
    w = first
    z = tl.zeros((BLOCK_B, BLOCK_H), tl.float32)
    z += tl.load(first + (K0 + K1 + K2) * H + column, mask=inside, other=0.0)[None, :]
    offsets = piece_rows(g, row, share0, group0, rows0, row0)
    z = add_product(z, x0, offsets, live, w, column, inside, H, 1, K0, BLOCK_K, PRECISION)
    if K1 > 0:
        offsets = piece_rows(g, row, share1, group1, rows1, row1)
        w += K0 * H
        z = add_product(z, x1, offsets, live, w, column, inside, H, 1, K1, BLOCK_K, PRECISION)
    if K2 > 0:
        offsets = piece_rows(g, row, share2, group2, rows2, row2)
        w += K1 * H
        z = add_product(z, x2, offsets, live, w, column, inside, H, 1, K2, BLOCK_K, PRECISION)
    _keep(z, hidden, slopes, at, mask, ACTIVATION, SAVE)

    w = first + (K0 + K1 + K2 + 1) * H
    for i in tl.range(1, DEPTH):
        z = tl.zeros((BLOCK_B, BLOCK_H), tl.float32)
        z += tl.load(w + H * H + column, mask=inside, other=0.0)[None, :]
        before, after = ((i - 1) % LAYERS) * layer, (i % LAYERS) * layer
        z = add_product(
            z, hidden + before + own, row * H, live, w, column, inside, H, 1, H, BLOCK_K, PRECISION
        )
        _keep(z, hidden, slopes, after + at, mask, ACTIVATION, SAVE)
        w += (H + 1) * H

    output = tl.arange(0, BLOCK_N)
    real = output < N
    z = tl.zeros((BLOCK_B, BLOCK_N), tl.float32)
    z += tl.load(w + H * N + output, mask=real, other=0.0)[None, :]
    before = ((DEPTH - 1) % LAYERS) * layer
    z = add_product(
        z, hidden + before + own, row * H, live, w, output, real, N, 1, H, BLOCK_K, PRECISION
    )
    tl.store(
        y + group * B * N + row[:, None] * N + output[None, :],
        z,
        mask=live[:, None] & real[None, :],
    )


@triton.jit(do_not_specialize=["B", "rows0", "rows1", "rows2"])
def _mlp_kernel(
    x0, share0, group0, rows0, row0, x1, share1, group1, rows1, row1,
    x2, share2, group2, rows2, row2, parameters, stride, hidden, slopes, y, B,
    K0: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, H: tl.constexpr, N: tl.constexpr,
    DEPTH: tl.constexpr, LAYERS: tl.constexpr, SAVE: tl.constexpr, ACTIVATION: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):  # fmt: skip
    forward_tile(
        tl.program_id(0), x0, share0, group0, rows0, row0, x1, share1, group1, rows1, row1,
        x2, share2, group2, rows2, row2, parameters, stride, hidden, slopes, y, B,
        K0, K1, K2, H, N, DEPTH, LAYERS, SAVE, ACTIVATION, PRECISION,
        BLOCK_B, BLOCK_H, BLOCK_N, BLOCK_K,
    )  # fmt: skip


class Saved(NamedTuple):
    """What a backward pass reads: activations and slopes of every hidden layer, [D, G, B, H]."""

    hidden: Tensor
    slopes: Tensor


def mlp(
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str = "mish",
    precision: str = "fp32",
    save: bool = False,
) -> tuple[Tensor, Saved | None]:
    """Return (y [G, B, out], what `mlp_backward` needs or None) of G MLPs with a linear output.

    inputs: one to three float32 pieces [G_i, B_i, n_i], read side by side; a piece with fewer
    groups serves G / G_i neighbours, one with fewer rows repeats them. weights: [G, in, H], then
    [G, H, H] each, then [G, H, out]; biases: [G, H] ..., [G, out]; 8 <= H <= 512, out <= 64.
    precision: what the products read (fp32, tf32, bf16); sums are float32. Raises ValueError when a
    shape or an option is not of these.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is one of {', '.join(ACTIVATIONS)}, not {activation!r}")
    parts, B, widths = pieces(inputs, weights[0].shape[0])
    G, H, N = check_layers(weights, biases, widths)
    depth, x = len(weights) - 1, inputs[0]
    layers = depth if save else min(2, depth)
    y, hidden = empty(x, G, B, N), empty(x, layers, G, B, H)
    slopes = empty(x, layers, G, B, H) if save else hidden
    rows, options = tiles(G, B, H, precision, x.device)
    with torch.cuda.device(x.get_device()):
        _mlp_kernel[(triton.cdiv(B, rows), G)](
            *parts[0], *parts[1], *parts[2], *one_row(alternate(weights, biases)),
            hidden, slopes, y, B, K0=widths[0], K1=widths[1], K2=widths[2], H=H, N=N, DEPTH=depth,
            LAYERS=layers, SAVE=save, ACTIVATION=activation, BLOCK_B=rows,
            BLOCK_N=max(16, triton.next_power_of_2(N)), **options,
        )  # fmt: skip
    return y, Saved(hidden, slopes) if save else None


def empty(like: Tensor, *shape: int) -> Tensor:
    """Return an unwritten float32 tensor on the device of another."""
    return torch.empty(shape, dtype=torch.float32, device=like.device)
