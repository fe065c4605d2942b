"""Random numbers as a function: philox4x32_10(key=seed, counter=(step, stream, row, column))."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def value(x):
    """Return a scalar given by value or by pointer, which lets a captured graph advance it."""
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
    """Ten rounds of Philox4x32 (Salmon et al. 2011) on broadcastable uint32 words: four words."""
    for _ in tl.static_range(10):
        high0, low0 = _multiply_wide(c0, 0xD2511F53)
        high1, low1 = _multiply_wide(c2, 0xCD9E8D57)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + 0x9E3779B9, k1 + 0xBB67AE85
    return c0, c1, c2, c3


@triton.jit
def words(seed, step, stream: tl.constexpr, row, column):
    """Draw four words for every (row, column), which broadcast; seed (int64) and step: scalars."""
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

    The angle is reduced to an eighth of a turn in integers, hence exactly; a library's reduction of
    large floats would take local memory and err more.
    """
    turn = (word >> 8).to(tl.int32)
    quarter = (turn + (1 << 21)) >> 22
    x = (turn - (quarter << 22)).to(tl.float32) * 3.745070282923929e-07  # 2 pi / 2^24
    return cos_sin(x, quarter)


@triton.jit
def cos_sin(x, quarter):
    """Return cosine and sine of x + quarter pi / 2, for |x| <= pi / 4 and an int32 quarter."""
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
def normals(seed, step, stream: tl.constexpr, row, WIDTH: tl.constexpr):
    """Draw a [rows, WIDTH] tile of standard normals; element j is component j % 4 of column j // 4.

    row: [rows]; WIDTH: a power of two, at least 4.
    """
    column = tl.arange(0, WIDTH // 4)
    w0, w1, w2, w3 = words(seed, step, stream, row[:, None], column[None, :])
    z0, z1 = _box_muller(w0, w1)
    z2, z3 = _box_muller(w2, w3)
    # [rows, WIDTH / 4, 2, 2], whose last two axes count z0, z1, z2, z3.
    quads = tl.join(tl.join(z0, z2), tl.join(z1, z3))
    return tl.reshape(quads, (row.shape[0], WIDTH))
