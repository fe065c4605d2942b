"""Backward pass of a stack of MLPs: deltas in one launch, weight gradients in another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import tiling
from .dense import add_product, alternate, one_row, pieces, total_width
from .mlp import Saved
from .mlp_weights import write_weight_gradients
from .tiling import Tiles, tiles


@triton.jit
def _input_gradient(
    dx, deltas, delta_row, w, row, live, at, H: tl.constexpr, K: tl.constexpr,
    BLOCK_X: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the gradient of one piece [rows, K], delta @ w^T, in blocks of columns."""
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


@triton.jit
def chain_tile(
    row,  # [rows]
    live,  # [rows]
    gradient,  # [G, B, N]
    slopes,  # [DEPTH, G, B, H]
    deltas,  # [DEPTH, G, B, H]
    parameters,  # as in the forward pass
    stride,
    B,
    K: tl.constexpr,  # widths of the pieces
    H: tl.constexpr,
    N: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Take the deltas of a tile of rows of group program_id(1) back through all layers."""
    group = tl.program_id(1).to(tl.int64)
    column = tl.arange(0, BLOCK_H)
    inside = column < H
    mask = live[:, None] & inside[None, :]
    layer = tl.num_programs(1).to(tl.int64) * B * H
    own = group * B * H
    at = own + row[:, None] * H + column[None, :]

    inputs: tl.constexpr = total_width(K)
    w = parameters + group * stride + (inputs + 1) * H + (DEPTH - 1) * (H + 1) * H
    delta = tl.zeros((row.shape[0], BLOCK_H), tl.float32)
    delta = add_product(
        delta, gradient + group * B * N, row * N, live, w, column, inside, 1, N, N, BLOCK_N,
        PRECISION,
    )  # fmt: skip
    here = (DEPTH - 1) * layer
    delta *= tl.load(slopes + here + at, mask=mask, other=0.0)
    tl.store(deltas + here + at, delta, mask=mask)
    tl.debug_barrier()
    for _ in tl.range(1, DEPTH):
        w -= (H + 1) * H
        delta = tl.zeros((row.shape[0], BLOCK_H), tl.float32)
        delta = add_product(
            delta, deltas + here + own, row * H, live, w, column, inside, 1, H, H, BLOCK_K,
            PRECISION,
        )  # fmt: skip
        here -= layer
        delta *= tl.load(slopes + here + at, mask=mask, other=0.0)
        tl.store(deltas + here + at, delta, mask=mask)
        tl.debug_barrier()


@triton.jit
def input_gradients(
    row, live, deltas, parameters, stride, dx, B, K: tl.constexpr, H: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_X: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Write the gradients of the pieces, by the deltas that `chain_tile` has left.

    dx: of each piece, [G, B, its width] or None.
    """
    group = tl.program_id(1).to(tl.int64)
    w = parameters + group * stride
    # Triton 3.6 cannot ask for length or absence of a tuple that holds a None.
    for i in tl.static_range(len(K)):
        if dx[i] is not None:
            _input_gradient(
                dx[i], deltas + group * B * H, row * H, w, row, live, group * B * K[i], H, K[i],
                BLOCK_X, BLOCK_K, PRECISION,
            )  # fmt: skip
        w += K[i] * H


@triton.jit(do_not_specialize=["B"])
def _chain_kernel(
    gradient, slopes, deltas, parameters, stride, dx, B, K: tl.constexpr, H: tl.constexpr,
    N: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr, BLOCK_B: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_X: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    chain_tile(
        row, row < B, gradient, slopes, deltas, parameters, stride, B, K, H, N, DEPTH, PRECISION,
        BLOCK_H, BLOCK_N, BLOCK_K,
    )  # fmt: skip
    input_gradients(
        row, row < B, deltas, parameters, stride, dx, B, K, H, PRECISION, BLOCK_X, BLOCK_K
    )


def chain_options(
    saved: Saved,
    widths: Sequence[int],
    outputs: int,
    precision: str,
    after_loss: bool = False,
    small: bool = True,
) -> Tiles:
    """Return the tile and the launch options of a kernel that calls `chain_tile`.

    after_loss: the kernel computes a loss first, from which the deltas start; small: as in `tiles`.
    """
    depth, G, B, H = saved.hidden.shape
    tile, options = tiles(G, B, H, precision, saved.hidden.device, True, small)
    if after_loss and precision == "tf32" and tile == 16 and options["BLOCK_H"] == 256:
        # After a loss eight warps would spill, and on 8.x two stages too.
        stages = 3 if tiling.capability(saved.hidden.device) < 90 else 2
        options |= {"num_warps": 4, "num_stages": stages}
    if after_loss and precision == "fp32" and options["BLOCK_H"] == 512:
        # Eight warps would spill on 8.0.
        options["num_warps"] = 16
    sizes = {"K": tuple(widths), "H": H, "N": outputs}
    blocks = {"BLOCK_B": tile, "BLOCK_N": min(32, max(16, triton.next_power_of_2(outputs)))}
    return Tiles(tile, sizes | blocks | {"DEPTH": depth, "BLOCK_X": 32} | options)


def mlp_backward(
    gradient: Tensor,
    saved: Saved,
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    weight_gradients: Sequence[Tensor],
    bias_gradients: Sequence[Tensor],
    wanted: Sequence[bool] = (),
    precision: str = "fp32",
) -> list[Tensor | None]:
    """Write the parameter gradients of `mlp` and return those of its inputs.

    gradient: upstream, [G, B, out]. weight_gradients and bias_gradients: outputs of the parameters'
    shapes, adjacent in each group, as views of one flat buffer are; empty: none is computed.
    wanted: for each piece, whether to return its gradient [G, B, n_i] (else None). The caller sums
    it over the groups and rows that a repeated piece serves. Raises ValueError for another shape.
    """
    G, B, N = gradient.shape
    parts, rows, widths = pieces(inputs, G)
    if rows != B or saved.hidden.shape != (len(weights) - 1, G, B, weights[0].shape[2]):
        raise ValueError(f"the gradient {[G, B, N]} and what was saved are not of one pass")
    wanted = [*wanted, *[False] * (len(widths) - len(wanted))]
    gradient = gradient.contiguous()
    deltas = torch.empty(saved.hidden.shape, dtype=torch.float32, device=gradient.device)
    found = [
        torch.empty((G, B, width), dtype=torch.float32, device=gradient.device) if want else None
        for width, want in zip(widths, wanted, strict=True)
    ]
    tile, options = chain_options(saved, widths, N, precision)
    with torch.cuda.device(gradient.get_device()):
        _chain_kernel[(triton.cdiv(B, tile), G)](
            gradient, saved.slopes, deltas, *one_row(alternate(weights, biases)), tuple(found), B,
            **options,
        )  # fmt: skip
        if weight_gradients:
            write_weight_gradients(
                parts, widths, saved.hidden, deltas, gradient, weight_gradients, bias_gradients,
                precision,
            )  # fmt: skip
    return found
