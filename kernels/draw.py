"""Standard normals and integers by counter, one launch each."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .philox import multiply_high, normals, value, words

_TILE = 512  # elements of a tile: with four warps, one Philox call for every thread


@triton.jit(do_not_specialize=["step", "B"])
def _normals_kernel(
    seeds, step, z, B, W, STREAM: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_W: tl.constexpr
):
    s = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    column = tl.arange(0, BLOCK_W)
    tile = normals(tl.load(seeds + s), value(step), STREAM, row, BLOCK_W)
    inside = (row < B)[:, None] & (column < W)[None, :]
    tl.store(z + (s * B + row)[:, None] * W + column[None, :], tile, mask=inside)


@triton.jit(do_not_specialize=["step", "B", "bound"])
def _integers_kernel(seeds, step, out, B, bound, STREAM: tl.constexpr, BLOCK: tl.constexpr):
    s = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    word, _, _, _ = words(tl.load(seeds + s), value(step), STREAM, row, row * 0)
    tl.store(out + s * B + row, multiply_high(word, bound).to(tl.int64), mask=row < B)


def draw_normals(seeds: Tensor, step: int | Tensor, stream: int, rows: int, columns: int) -> Tensor:
    """Draw float32 standard normals [S, rows, columns]; element j is of Philox column j // 4.

    seeds: [S] int64; step: an integer or a 0-d integer tensor on the device; 1 to 512 columns, else
    ValueError.
    """
    if not 1 <= columns <= _TILE:
        raise ValueError(f"draw_normals takes 1 to {_TILE} columns, not {columns}")
    z = torch.empty((seeds.shape[0], rows, columns), dtype=torch.float32, device=seeds.device)
    block_w = max(4, triton.next_power_of_2(columns))
    block_b = _TILE // block_w
    with torch.cuda.device(seeds.get_device()):
        _normals_kernel[(triton.cdiv(rows, block_b), seeds.shape[0])](
            seeds.contiguous(), step, z, rows, columns, STREAM=int(stream), BLOCK_B=block_b,
            BLOCK_W=block_w, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return z


def draw_integers(seeds: Tensor, step: int | Tensor, stream: int, rows: int, bound: int) -> Tensor:
    """Draw int64 [S, rows] in 0..bound-1; arguments as in `draw_normals`, bound below 2^31."""
    out = torch.empty((seeds.shape[0], rows), dtype=torch.int64, device=seeds.device)
    with torch.cuda.device(seeds.get_device()):
        _integers_kernel[(triton.cdiv(rows, _TILE), seeds.shape[0])](
            seeds.contiguous(), step, out, rows, bound, STREAM=int(stream), BLOCK=_TILE,
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return out
