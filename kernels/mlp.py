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
    check_layers,
    packed,
    piece_rows,
    pieces,
    stack,
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


@triton.jit(do_not_specialize=["B", "rows0", "rows1", "rows2"])
def _mlp_kernel(
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
    w_first,  # [G, K0 + K1 + K2, H]
    b_first,  # [G, H]
    w_hidden,  # [DEPTH - 1, G, H, H]
    b_hidden,  # [DEPTH - 1, G, H]
    w_last,  # [G, H, N]
    b_last,  # [G, N]
    w_first_group,
    b_first_group,
    w_hidden_layer,
    w_hidden_group,
    b_hidden_layer,
    b_hidden_group,
    w_last_group,
    b_last_group,
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
    g = tl.program_id(1)
    group = g.to(tl.int64)
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    live = row < B
    column = tl.arange(0, BLOCK_H)
    inside = column < H
    mask = live[:, None] & inside[None, :]
    layer = tl.num_programs(1).to(tl.int64) * B * H
    own = group * B * H
    at = own + row[:, None] * H + column[None, :]

    w = w_first + group * w_first_group
    z = tl.zeros((BLOCK_B, BLOCK_H), tl.float32)
    z += tl.load(b_first + group * b_first_group + column, mask=inside, other=0.0)[None, :]
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

    for i in tl.range(1, DEPTH):
        w = w_hidden + (i - 1) * w_hidden_layer + group * w_hidden_group
        b = b_hidden + (i - 1) * b_hidden_layer + group * b_hidden_group
        z = tl.zeros((BLOCK_B, BLOCK_H), tl.float32)
        z += tl.load(b + column, mask=inside, other=0.0)[None, :]
        before, after = ((i - 1) % LAYERS) * layer, (i % LAYERS) * layer
        z = add_product(
            z, hidden + before + own, row * H, live, w, column, inside, H, 1, H, BLOCK_K, PRECISION
        )
        _keep(z, hidden, slopes, after + at, mask, ACTIVATION, SAVE)

    output = tl.arange(0, BLOCK_N)
    real = output < N
    z = tl.zeros((BLOCK_B, BLOCK_N), tl.float32)
    z += tl.load(b_last + group * b_last_group + output, mask=real, other=0.0)[None, :]
    before = ((DEPTH - 1) % LAYERS) * layer
    z = add_product(
        z, hidden + before + own, row * H, live, w_last + group * w_last_group, output, real, N, 1,
        H, BLOCK_K, PRECISION,
    )  # fmt: skip
    tl.store(
        y + group * B * N + row[:, None] * N + output[None, :],
        z,
        mask=live[:, None] & real[None, :],
    )


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
    first, last = packed(weights[0]), packed(weights[-1])
    b_first, b_last = packed(biases[0]), packed(biases[-1])
    middle, b_middle = stack(weights[1:-1], first), stack(biases[1:-1], b_first)
    layers = depth if save else min(2, depth)

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=x.device)

    y, hidden = empty(G, B, N), empty(layers, G, B, H)
    slopes = empty(layers, G, B, H) if save else hidden
    rows, options = tiles(G, B, H, precision, x.device)
    with torch.cuda.device(x.get_device()):
        _mlp_kernel[(triton.cdiv(B, rows), G)](
            *parts[0], *parts[1], *parts[2],
            first, b_first, middle.base, b_middle.base, last, b_last,
            first.stride(0), b_first.stride(0), middle.layer_stride, middle.group_stride,
            b_middle.layer_stride, b_middle.group_stride, last.stride(0), b_last.stride(0),
            hidden, slopes, y, B, K0=widths[0], K1=widths[1], K2=widths[2], H=H, N=N, DEPTH=depth,
            LAYERS=layers, SAVE=save, ACTIVATION=activation, BLOCK_B=rows,
            BLOCK_N=max(16, triton.next_power_of_2(N)), **options,
        )  # fmt: skip
    return y, Saved(hidden, slopes) if save else None
