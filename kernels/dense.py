"""Shared by the kernels of dense layers: activations, products, input pieces."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

ACTIVATIONS = ("mish", "gelu", "relu")
MAX_PIECES = 3
_INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def activate(z, KIND: tl.constexpr):
    """Return the activation of z and its slope, from one exponential and one division."""
    if KIND == "mish":
        e = tl.exp(tl.minimum(z, 20.0))
        n = e * (e + 2.0)
        inverse = 1.0 / (n + 2.0)
        share = n * inverse
        return z * share, share + (4.0 * z * inverse) * (e * (e + 1.0) * inverse)
    elif KIND == "gelu":
        inner = 0.7978845608028654 * z * (1.0 + 0.044715 * z * z)
        # tanh from exp(-2 |x|): no difference of two nearly equal numbers in it or its slope.
        e = tl.exp(-2.0 * tl.abs(inner))
        inverse = 1.0 / (1.0 + e)
        share = tl.where(inner > 0.0, inverse, e * inverse)
        steep = 1.5957691216057308 * (1.0 + 0.134145 * z * z)
        return z * share, share + z * (e * inverse * inverse) * steep
    else:
        return tl.maximum(z, 0.0, tl.PropagateNan.ALL), tl.where(z <= 0.0, 0.0, 1.0)


@triton.jit
def _rounded(x):
    """Round to bfloat16, in float32: Triton's interpreter truncates and cannot multiply it."""
    bits = x.to(tl.uint32, bitcast=True)
    bits += 0x7FFF + ((bits >> 16) & 1)
    # The carry of a NaN would run into its sign.
    return tl.where(x == x, (bits & 0xFFFF0000).to(tl.float32, bitcast=True), x)


@triton.jit
def to_bf16(x):
    """Round to bfloat16, on the device and in the interpreter."""
    return (_rounded(x) if _INTERPRETED else x).to(tl.bfloat16)


@triton.jit
def to_tf32(x):
    """Round to ten bits of mantissa; a tensor core alone cuts them off."""
    if _INTERPRETED:
        bits = (x.to(tl.uint32, bitcast=True) + 0x1000) & 0xFFFFE000
        # The carry of a NaN would run into its sign.
        return tl.where(x == x, bits.to(tl.float32, bitcast=True), x)
    else:
        return tl.inline_asm_elementwise(
            "cvt.rna.tf32.f32 $0, $1;", "=r,r", [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def multiply(a, b, total, PRECISION: tl.constexpr):
    """Return total + a @ b, summed in float32; PRECISION: of the factors."""
    if PRECISION == "bf16":
        if _INTERPRETED:
            return tl.dot(_rounded(a), _rounded(b.to(tl.float32)), total)
        else:
            return tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16), total)
    elif PRECISION == "tf32":
        return tl.dot(to_tf32(a), to_tf32(b), total, input_precision="tf32")
    else:
        return tl.dot(a, b, total, input_precision="ieee")


@triton.jit
def add_product(
    total,  # [rows, columns]
    x,
    x_row,  # [rows]: offsets of the rows of x
    live,  # [rows]
    w,
    column,  # [columns]
    inside,  # [columns]
    k_stride,  # of w, from one k to the next
    column_stride,  # of w
    K: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Return total + x[rows, :K] @ w[:K, columns], read in blocks of K."""
    for start in tl.range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        a = tl.load(
            x + x_row[:, None] + k[None, :], mask=live[:, None] & (k < K)[None, :], other=0.0
        )
        b = tl.load(
            w + k[:, None] * k_stride + column[None, :] * column_stride,
            mask=(k < K)[:, None] & inside[None, :],
            other=0.0,
        )
        total = multiply(a, b, total, PRECISION)
    return total


class Piece(NamedTuple):
    """One of the tensors [G, rows, n] that a first layer reads side by side."""

    x: Tensor
    share: int
    """How many neighbouring groups of the MLP read one group of x."""
    group_stride: int
    rows: int
    """Rows of x; they repeat."""
    row_stride: int


@triton.jit
def piece_start(g, piece):
    """Return the offset in a piece of what group g reads."""
    return (g // piece.share).to(tl.int64) * piece.group_stride


@triton.jit
def piece_rows(g, row, piece):
    """Return the offsets in a piece of the rows that group g reads."""
    return piece_start(g, piece) + (row % piece.rows) * piece.row_stride


@triton.constexpr_function
def total_width(K):
    """Return the inputs of a first layer that reads pieces of widths K."""
    return sum(K)


def pieces(inputs: Sequence[Tensor], groups: int) -> tuple[tuple[Piece, ...], int, tuple[int, ...]]:
    """Return (pieces, B, widths) of inputs [G_i, B_i, n_i].

    A piece with fewer groups serves G / G_i neighbouring groups, one with fewer rows repeats them:
    what `repeat_interleave` and `repeat` would write out. Raises ValueError when neither fits.
    """
    if not 1 <= len(inputs) <= MAX_PIECES:
        raise ValueError(f"an input has 1 to {MAX_PIECES} pieces, not {len(inputs)}")
    rows = max(x.shape[1] for x in inputs)
    found = []
    for x in inputs:
        if x.ndim != 3 or groups % x.shape[0] or rows % x.shape[1]:
            raise ValueError(
                f"a piece of shape {list(x.shape)} does not repeat to {groups} groups of {rows} "
                "rows"
            )
        x = x if x.stride(2) == 1 else x.contiguous()
        found.append(Piece(x, groups // x.shape[0], x.stride(0), x.shape[1], x.stride(1)))
    return tuple(found), rows, tuple(x.shape[2] for x in inputs)


def aligned_rows(parameters: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a copy of rows [G, P], each of which starts at a multiple of 16 numbers."""
    groups, size = parameters.shape
    copy = torch.empty((groups, -(-size // 16) * 16), dtype=dtype, device=parameters.device)
    return copy[:, :size].copy_(parameters)


class Row(NamedTuple):
    """Parameters of each group in one contiguous row; stride: from group to group."""

    base: Tensor
    stride: int


def one_row(parts: Sequence[Tensor], copy: bool = True) -> Row:
    """Return parts [G, ...] as one row a group, not copied where adjacent.

    Views of one flat buffer are adjacent. Others are copied together, or raise ValueError if `copy`
    is False.
    """
    stride, at = parts[0].stride(0), parts[0].data_ptr()
    for part in parts:
        apart = len(part) > 1 and part.stride(0) != stride
        if apart or part.data_ptr() != at or not part[0].is_contiguous():
            if not copy:
                raise ValueError("gradients of all layers have to lie one behind another")
            together = torch.cat([x.detach().flatten(1) for x in parts], 1)
            return Row(together, together.stride(0))
        at += part[0].numel() * part.element_size()
    return Row(parts[0], stride)


def alternate(weights: Sequence[Tensor], biases: Sequence[Tensor]) -> list[Tensor]:
    """Return weight, bias, weight, bias: the order of layers in a flat buffer."""
    return [part for pair in zip(weights, biases, strict=True) for part in pair]


def check_layers(
    weights: Sequence[Tensor], biases: Sequence[Tensor], widths: Sequence[int]
) -> tuple[int, int, int]:
    """Return (G, H, N) of an MLP of equal hidden widths; ValueError for another."""
    depth = len(weights) - 1
    if depth < 1 or len(biases) != len(weights):
        raise ValueError("an MLP has at least one hidden layer, and a bias for each weight")
    groups, inputs, width = weights[0].shape
    outputs = weights[-1].shape[2]
    if inputs != sum(widths):
        raise ValueError(f"the first weight takes {inputs} inputs, the pieces have {sum(widths)}")
    if not 8 <= width <= 512 or not 1 <= outputs <= 64:
        raise ValueError(
            f"widths go from 8 to 512 and outputs from 1 to 64, not {width}, {outputs}"
        )
    sizes = [inputs, *[width] * depth, outputs]
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        if w.shape != (groups, sizes[i], sizes[i + 1]) or b.shape != (groups, sizes[i + 1]):
            raise ValueError(f"layer {i} has shapes {list(w.shape)} and {list(b.shape)}")
    return groups, width, outputs
