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
    total_width,
)
from .tiling import tiles


@triton.jit
def _keep(z, hidden, slopes, at, mask, ACTIVATION: tl.constexpr, SAVE: tl.constexpr):
    """Write a layer's activations, and its slopes if a backward pass reads them."""
    h, slope = activate(z, ACTIVATION)
    tl.store(hidden + at, h, mask=mask)
    if SAVE:
        tl.store(slopes + at, slope, mask=mask)
    # All threads write before any reads. A tile goes through memory, as Triton cannot slice one in
    # registers.
    tl.debug_barrier()


@triton.jit
def forward_tile(
    tile,
    x,  # pieces, read side by side
    parameters,  # layer after layer, a weight, then its bias
    stride,  # of parameters, from group to group
    weights,  # the same, of which only weights are read: float32, or bfloat16
    weights_stride,
    hidden,  # [LAYERS, G, B, H]
    slopes,  # [LAYERS, G, B, H], or nothing
    y,  # [G, B, N]
    B,
    K: tl.constexpr,  # widths of the pieces
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
    """Take a tile of rows of group program_id(1) through all layers."""
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

    inputs: tl.constexpr = total_width(K)
    w, bias = weights + group * weights_stride, parameters + group * stride + inputs * H
    z = tl.zeros((BLOCK_B, BLOCK_H), tl.float32)
    z += tl.load(bias + column, mask=inside, other=0.0)[None, :]
    for i in tl.static_range(len(K)):
        offsets = piece_rows(g, row, x[i])
        z = add_product(z, x[i].x, offsets, live, w, column, inside, H, 1, K[i], BLOCK_K, PRECISION)
        w += K[i] * H
    _keep(z, hidden, slopes, at, mask, ACTIVATION, SAVE)

    w += H
    for i in tl.range(1, DEPTH):
        z = tl.zeros((BLOCK_B, BLOCK_H), tl.float32)
        bias += (H + 1) * H
        z += tl.load(bias + column, mask=inside, other=0.0)[None, :]
        before, after = ((i - 1) % LAYERS) * layer, (i % LAYERS) * layer
        z = add_product(
            z, hidden + before + own, row * H, live, w, column, inside, H, 1, H, BLOCK_K, PRECISION
        )
        _keep(z, hidden, slopes, after + at, mask, ACTIVATION, SAVE)
        w += (H + 1) * H

    output = tl.arange(0, BLOCK_N)
    real = output < N
    z = tl.zeros((BLOCK_B, BLOCK_N), tl.float32)
    bias += H + H * N
    z += tl.load(bias + output, mask=real, other=0.0)[None, :]
    before = ((DEPTH - 1) % LAYERS) * layer
    z = add_product(
        z, hidden + before + own, row * H, live, w, output, real, N, 1, H, BLOCK_K, PRECISION
    )
    tl.store(
        y + group * B * N + row[:, None] * N + output[None, :],
        z,
        mask=live[:, None] & real[None, :],
    )


@triton.jit(do_not_specialize=["B"])
def _mlp_kernel(
    x, parameters, stride, hidden, slopes, y, B, K: tl.constexpr, H: tl.constexpr, N: tl.constexpr,
    DEPTH: tl.constexpr, LAYERS: tl.constexpr, SAVE: tl.constexpr, ACTIVATION: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):  # fmt: skip
    forward_tile(
        tl.program_id(0), x, parameters, stride, parameters, stride, hidden, slopes, y, B, K, H, N,
        DEPTH, LAYERS, SAVE,
        ACTIVATION, PRECISION, BLOCK_B, BLOCK_H, BLOCK_N, BLOCK_K,
    )  # fmt: skip


class Saved(NamedTuple):
    """Activations and slopes of every hidden layer, [D, G, B, H], for a backward pass."""

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
    """Return (y [G, B, out], `Saved` or None) of G MLPs with a linear output.

    inputs: one to three float32 pieces [G_i, B_i, n_i], read side by side; a piece with fewer
    groups serves G / G_i neighbours, one with fewer rows repeats them. weights: [G, in, H], then
    [G, H, H] each, then [G, H, out]; biases: [G, H] ..., [G, out]; 8 <= H <= 512, out <= 64.
    precision: of the factors of products (fp32, tf32, bf16); sums are float32. save: keep what
    `mlp_backward` reads. Raises ValueError for another shape or option.
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
            parts, *one_row(alternate(weights, biases)), hidden, slopes, y, B, K=widths, H=H, N=N,
            DEPTH=depth, LAYERS=layers, SAVE=save, ACTIVATION=activation, BLOCK_B=rows,
            BLOCK_N=max(16, triton.next_power_of_2(N)), **options,
        )  # fmt: skip
    return y, Saved(hidden, slopes) if save else None


def empty(like: Tensor, *shape: int) -> Tensor:
    """Return an unwritten float32 tensor on the device of another."""
    return torch.empty(shape, dtype=torch.float32, device=like.device)
