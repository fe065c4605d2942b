"""The two time embeddings, sinusoids through a small MLP each, and their backward pass."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .dense import activate, one_row
from .philox import cos_sin

ROWS = 64
SCALE = 250.0  # of a level before its sines


@triton.constexpr_function
def clock_size(features, hidden):
    """Return the number of parameters of one clock."""
    return 2 * features * hidden + hidden + features


@triton.constexpr_function
def part_rows(rows, block, parts):
    """Return the rows of one of so many parts, whole blocks of them."""
    blocks = (rows + block - 1) // block
    return (blocks + parts - 1) // parts * block


@triton.jit
def _sines(level, rates, FEATURES: tl.constexpr):
    """Return the sines, then the cosines, of level times each rate: [rows, FEATURES]."""
    half: tl.constexpr = FEATURES // 2
    column = tl.arange(0, FEATURES)[None, :]
    x = level[:, None] * tl.load(rates + column % half)
    turn = tl.floor(x * 0.6366197723675814 + 0.5)
    # pi / 2 in three parts; the first two have so few bits that their products are exact. The
    # reduction of large angles in a library would take local memory.
    x = x - turn * 1.5703125
    x = x - turn * 4.837512969970703125e-4
    x = x - turn * 7.54978995489188216e-8
    # A sine is the cosine a quarter of a turn earlier.
    cosine, _ = cos_sin(x, turn.to(tl.int32) - tl.where(column < half, 1, 0))
    return cosine


@triton.jit
def _hidden(sines, w0, b0, FEATURES: tl.constexpr, HIDDEN: tl.constexpr):
    """Return the hidden activations and their slopes."""
    i, j = tl.arange(0, FEATURES), tl.arange(0, HIDDEN)
    weight = tl.load(w0 + i[:, None] * HIDDEN + j[None, :])
    z = tl.dot(sines, weight, input_precision="ieee")
    return activate(z + tl.load(b0 + j)[None, :], "mish")


@triton.jit
def embedded(level, rates, clock, parameters, FEATURES: tl.constexpr, HIDDEN: tl.constexpr):
    """Return the embedding of one clock's levels [rows, FEATURES]; parameters: of both clocks."""
    i, j = tl.arange(0, FEATURES), tl.arange(0, HIDDEN)
    w0 = parameters + clock * clock_size(FEATURES, HIDDEN)
    w1 = w0 + FEATURES * HIDDEN + HIDDEN
    h, _ = _hidden(_sines(level, rates, FEATURES), w0, w0 + FEATURES * HIDDEN, FEATURES, HIDDEN)
    y = tl.dot(h, tl.load(w1 + j[:, None] * FEATURES + i[None, :]), input_precision="ieee")
    return y + tl.load(w1 + HIDDEN * FEATURES + i)[None, :]


@triton.jit
def embed_tile(
    row, live, clock, levels, rates, parameters, out, at, FEATURES: tl.constexpr,
    HIDDEN: tl.constexpr,
):  # fmt: skip
    """Embed one clock's level of a tile of rows.

    levels: [.., 2], out: [.., 2 FEATURES], both from row `at` on; parameters: of both clocks of one
    network, one behind another.
    """
    level = tl.load(levels + (at + row) * 2 + clock, mask=live, other=0.0)
    embed_levels(row, live, clock, level, rates, parameters, out, at, FEATURES, HIDDEN)


@triton.jit
def embed_levels(
    row, live, clock, level, rates, parameters, out, at, FEATURES: tl.constexpr,
    HIDDEN: tl.constexpr,
):  # fmt: skip
    """Embed one clock's levels [rows]; the rest as in `embed_tile`."""
    y = embedded(level, rates, clock, parameters, FEATURES, HIDDEN)
    place = ((at + row) * 2 * FEATURES)[:, None]
    tl.store(
        out + place + (clock * FEATURES + tl.arange(0, FEATURES))[None, :], y, mask=live[:, None]
    )


@triton.jit(do_not_specialize=["B"])
def _embed_kernel(
    levels,  # [S, B, 2]
    rates,  # [FEATURES / 2]
    parameters,  # as `embed` takes them
    stride,  # of parameters, from seed to seed
    out,  # [S, B, 2 FEATURES]
    B,
    FEATURES: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK_B: tl.constexpr,
):
    s = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    embed_tile(
        row, row < B, tl.program_id(2), levels, rates, parameters + s * stride, out, s * B,
        FEATURES, HIDDEN,
    )  # fmt: skip


@triton.jit
def embed_gradient(
    clock, part, s, levels, rates, gradient, w, parameters, results, B: tl.constexpr,
    FEATURES: tl.constexpr, HIDDEN: tl.constexpr, BLOCK_B: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Write what a part of the rows adds to the gradients of one clock of seed s.

    Returns the sum of their squares. levels: [S, B, 2]; gradient: [S, B, 2 FEATURES]; w: what its
    rows are multiplied by, [B / 2] for each half, or None; parameters, results: of the seed.
    """
    i, j = tl.arange(0, FEATURES), tl.arange(0, HIDDEN)
    size: tl.constexpr = clock_size(FEATURES, HIDDEN)
    to_w1: tl.constexpr = FEATURES * HIDDEN + HIDDEN
    w0 = parameters + clock * size
    w1_t = tl.load(w0 + to_w1 + j[None, :] * FEATURES + i[:, None])
    sum_w0 = tl.zeros((FEATURES, HIDDEN), tl.float32)
    sum_w1 = tl.zeros((HIDDEN, FEATURES), tl.float32)
    sum_b0, sum_b1 = tl.zeros((HIDDEN,), tl.float32), tl.zeros((FEATURES,), tl.float32)
    # A program reads its rows in order. Recomputing the forward pass costs less than storing it.
    share: tl.constexpr = part_rows(B, BLOCK_B, PARTS)
    for start in tl.range(0, share, BLOCK_B):
        row = part * share + start + tl.arange(0, BLOCK_B)
        live = row < B
        at = s * B + row
        level = tl.load(levels + at * 2 + clock, mask=live, other=0.0)
        column = clock * FEATURES + i
        g = tl.load(
            gradient + (at * 2 * FEATURES)[:, None] + column[None, :], mask=live[:, None], other=0.0
        )
        if w is not None:
            g *= tl.load(w + row % (B // 2), mask=live, other=0.0)[:, None]
        sines = _sines(level, rates, FEATURES)
        h, slope = _hidden(sines, w0, w0 + FEATURES * HIDDEN, FEATURES, HIDDEN)
        delta = tl.dot(g, w1_t, input_precision="ieee") * slope
        sum_w1 = tl.dot(tl.trans(h), g, sum_w1, input_precision="ieee")
        sum_w0 = tl.dot(tl.trans(sines), delta, sum_w0, input_precision="ieee")
        sum_b0, sum_b1 = sum_b0 + tl.sum(delta, 0), sum_b1 + tl.sum(g, 0)
    d_w0 = results + clock * size
    d_w1 = d_w0 + to_w1
    tl.store(d_w0 + i[:, None] * HIDDEN + j[None, :], sum_w0)
    tl.store(d_w0 + FEATURES * HIDDEN + j, sum_b0)
    tl.store(d_w1 + j[:, None] * FEATURES + i[None, :], sum_w1)
    tl.store(d_w1 + HIDDEN * FEATURES + i, sum_b1)
    squares = tl.sum(sum_b0 * sum_b0, 0) + tl.sum(sum_b1 * sum_b1, 0)
    return squares + tl.sum(tl.sum(sum_w0 * sum_w0, 1), 0) + tl.sum(tl.sum(sum_w1 * sum_w1, 1), 0)


@triton.jit
def _embed_backward_kernel(
    levels, rates, gradient, parameters, stride, results, results_stride, B: tl.constexpr,
    FEATURES: tl.constexpr, HIDDEN: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    s = tl.program_id(0).to(tl.int64)
    embed_gradient(
        tl.program_id(1), 0, s, levels, rates, gradient, None, parameters + s * stride,
        results + s * results_stride, B, FEATURES, HIDDEN, BLOCK_B, 1,
    )  # fmt: skip


@functools.cache
def sine_rates(features: int, device: torch.device) -> Tensor:
    """Return the cached rates of the sines, [features / 2] float32."""
    half = features // 2
    powers = torch.arange(half, dtype=torch.float64) / max(half - 1, 1)
    return (SCALE * torch.pow(10_000.0, -powers)).float().to(device)


def embed(levels: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Embed two time levels [S, B, 2], one clock each: [S, B, 2 features].

    parameters: of the first clock, then of the second: weight [S, features, hidden], bias [S,
    hidden], weight [S, hidden, features], bias [S, features], with Mish between; sizes are powers
    of two of at least 16. Level l enters as sin(SCALE l 10000^(-i / (n - 1))) for i < n = features
    / 2, then as cosines. Raises ValueError for another shape.
    """
    S, B, features, hidden = _check(levels, parameters)
    out = torch.empty((S, B, 2 * features), dtype=torch.float32, device=levels.device)
    with torch.cuda.device(levels.get_device()):
        _embed_kernel[(triton.cdiv(B, ROWS), S, 2)](
            levels.contiguous(), sine_rates(features, levels.device), *one_row(parameters),
            out, B, FEATURES=features, HIDDEN=hidden, BLOCK_B=ROWS, num_warps=4,
            enable_fp_fusion=True,
        )  # fmt: skip
    return out


def embed_backward(
    gradient: Tensor, levels: Tensor, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
) -> None:
    """Write the gradients of all eight parameters of `embed`.

    gradient: upstream, [S, B, 2 features]; gradients: outputs in the order of the parameters, as
    views of one flat buffer. Raises ValueError for another shape.
    """
    S, B, features, hidden = _check(levels, parameters)
    _check(levels, gradients)
    with torch.cuda.device(levels.get_device()):
        _embed_backward_kernel[(S, 2)](
            levels.contiguous(), sine_rates(features, levels.device), gradient.contiguous(),
            *one_row(parameters), *one_row(gradients, copy=False), B=B, FEATURES=features,
            HIDDEN=hidden, BLOCK_B=ROWS, num_warps=8, enable_fp_fusion=True,
        )  # fmt: skip


def _check(levels: Tensor, parameters: Sequence[Tensor]) -> tuple[int, int, int, int]:
    S, B, clocks = levels.shape
    _, features, hidden = parameters[0].shape
    for size in (features, hidden):
        if size < 16 or size != triton.next_power_of_2(size):
            raise ValueError(f"sizes are powers of two of at least 16, not {features}, {hidden}")
    shapes = [(S, features, hidden), (S, hidden), (S, hidden, features), (S, features)]
    if clocks != 2 or [tuple(x.shape) for x in parameters] != shapes * 2:
        raise ValueError(f"parameters of two clocks have shapes {shapes}, twice")
    return S, B, features, hidden
