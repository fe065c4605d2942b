"""Random numbers as a function: philox4x32_10(key=seed, counter=(step, stream, row, column))."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_TILE = 512  # elements of a tile: with four warps, one Philox call for every thread


@triton.jit
def value(x):
    """Return a scalar given by value, or by pointer, for captured graphs to advance."""
    if x.dtype.is_ptr():
        return tl.load(x)
    else:
        return x


@triton.jit
def _multiply_wide(word, multiplier: tl.constexpr):
    """Return (high, low) words of the 64-bit product of two uint32."""
    product = word.to(tl.uint64) * multiplier
    return (product >> 32).to(tl.uint32), product.to(tl.uint32)


@triton.jit
def philox4x32_10(c0, c1, c2, c3, k0, k1):
    """Return four words, ten rounds of Philox4x32 (Salmon et al. 2011); arguments: uint32."""
    for _ in tl.static_range(10):
        high0, low0 = _multiply_wide(c0, 0xD2511F53)
        high1, low1 = _multiply_wide(c2, 0xCD9E8D57)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + 0x9E3779B9, k1 + 0xBB67AE85
    return c0, c1, c2, c3


@triton.jit
def words(seed, step, stream: tl.constexpr, row, column):
    """Draw four words for every (row, column); seed (int64) and step: scalars.

    row and column broadcast against each other.
    """
    no_row, no_column = (row * 0).to(tl.uint32), (column * 0).to(tl.uint32)
    blank = no_row + no_column
    counter = step.to(tl.uint32)
    return philox4x32_10(
        blank + counter,
        blank + stream,
        row.to(tl.uint32) + no_column,
        column.to(tl.uint32) + no_row,
        seed.to(tl.uint32),
        (seed >> 32).to(tl.uint32),
    )


@triton.jit
def multiply_high(word, bound):
    """Map uint32 words to int32 in 0..bound-1 by (word * bound) >> 32."""
    return ((word.to(tl.uint64) * bound.to(tl.uint64)) >> 32).to(tl.int32)


@triton.jit
def _cos_sin(word):
    """Return cosine and sine of 2 pi (word >> 8) / 2^24.

    The angle is reduced to an eighth of a turn in integers, hence exactly; the reduction of large
    floats in a library would take local memory and err more.
    """
    turn = (word >> 8).to(tl.int32)
    quarter = (turn + (1 << 21)) >> 22
    x = (turn - (quarter << 22)).to(tl.float32) * 3.745070282923929e-07  # 2 pi / 2^24
    return cos_sin(x, quarter)


@triton.jit
def cos_sin(x, quarter):
    """Return cosine and sine of x + quarter pi / 2.

    |x| <= pi / 4; quarter: int32.
    """
    y = x * x
    # Taylor series: at |x| <= pi / 4 the first term left out is below 2e-9.
    sine = x + x * y * (-1 / 6 + y * (1 / 120 + y * (-1 / 5040 + y * (1 / 362880))))
    cosine = 1 + y * (-1 / 2 + y * (1 / 24 + y * (-1 / 720 + y * (1 / 40320 - y * (1 / 3628800)))))
    swapped = (quarter & 1) == 1
    c, s = tl.where(swapped, sine, cosine), tl.where(swapped, cosine, sine)
    c = tl.where(((quarter + 1) & 2) == 2, -c, c)
    return c, tl.where((quarter & 2) == 2, -s, s)


@triton.jit
def _box_muller(radius_word, angle_word):
    """Return two independent standard normals of two words."""
    # 24 bits fit a float32 exactly, so every backend starts from the same number, and never 0.
    uniform = ((radius_word >> 8) + 1).to(tl.float32) * 5.9604644775390625e-08  # 2^-24
    radius = tl.sqrt_rn(-2.0 * tl.log(uniform))
    c, s = _cos_sin(angle_word)
    return radius * c, radius * s


@triton.jit
def normals_tile(seed, step, stream: tl.constexpr, row, WIDTH: tl.constexpr, first=0):
    """Draw a [rows, WIDTH] tile of standard normals.

    Element j is component j % 4 of column first + j // 4. row: [rows]; WIDTH: a power of two, at
    least 4.
    """
    column = first + tl.arange(0, WIDTH // 4)
    w0, w1, w2, w3 = words(seed, step, stream, row[:, None], column[None, :])
    z0, z1 = _box_muller(w0, w1)
    z2, z3 = _box_muller(w2, w3)
    # [rows, WIDTH / 4, 2, 2]: the last two axes count z0, z1, z2, z3.
    quads = tl.join(tl.join(z0, z2), tl.join(z1, z3))
    return tl.reshape(quads, (row.shape[0], WIDTH))


@triton.jit(do_not_specialize=["step", "B"])
def _normals_kernel(
    seeds, step, z, B, W, STREAM: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_W: tl.constexpr
):
    s = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    start = tl.program_id(2) * BLOCK_W
    column = start + tl.arange(0, BLOCK_W)
    tile = normals_tile(tl.load(seeds + s), value(step), STREAM, row, BLOCK_W, start // 4)
    inside = (row < B)[:, None] & (column < W)[None, :]
    tl.store(z + (s * B + row)[:, None] * W + column[None, :], tile, mask=inside)


@triton.jit(do_not_specialize=["step", "B", "bound"])
def _integers_kernel(seeds, step, out, B, bound, STREAM: tl.constexpr, BLOCK: tl.constexpr):
    s = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    word, _, _, _ = words(tl.load(seeds + s), value(step), STREAM, row, row * 0)
    tl.store(out + s * B + row, multiply_high(word, bound).to(tl.int64), mask=row < B)


def normals(seeds: Tensor, step: int | Tensor, stream: int, rows: int, columns: int) -> Tensor:
    """Draw float32 standard normals [S, rows, columns] in one launch.

    Element j is of Philox column j // 4. seeds: [S] int64; step: an integer or a 0-d integer tensor
    on the device. Raises ValueError unless there is a column.
    """
    if columns < 1:
        raise ValueError(f"normals takes at least one column, not {columns}")
    z = torch.empty((seeds.shape[0], rows, columns), dtype=torch.float32, device=seeds.device)
    block_w = min(_TILE, max(4, triton.next_power_of_2(columns)))
    block_b = _TILE // block_w
    with torch.cuda.device(seeds.get_device()):
        _normals_kernel[
            triton.cdiv(rows, block_b), seeds.shape[0], triton.cdiv(columns, block_w)
        ](
            seeds.contiguous(), step, z, rows, columns, STREAM=int(stream), BLOCK_B=block_b,
            BLOCK_W=block_w, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return z


def integers(seeds: Tensor, step: int | Tensor, stream: int, rows: int, bound: int) -> Tensor:
    """Draw int64 [S, rows] in 0..bound-1; bound: below 2^31, the rest as in `normals`."""
    out = torch.empty((seeds.shape[0], rows), dtype=torch.int64, device=seeds.device)
    with torch.cuda.device(seeds.get_device()):
        _integers_kernel[(triton.cdiv(rows, _TILE), seeds.shape[0])](
            seeds.contiguous(), step, out, rows, bound, STREAM=int(stream), BLOCK=_TILE,
            num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return out
