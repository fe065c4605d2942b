"""The two time embeddings, sinusoids through a small MLP each, and their backward pass."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .dense import activate, stack
from .philox import cos_sin

_ROWS, _SCALE = 64, 250.0


@triton.jit
def _sines(level, rates, FEATURES: tl.constexpr):
    """Return the sines, then the cosines, of level times each rate: [rows, FEATURES]."""
    half: tl.constexpr = FEATURES // 2
    column = tl.arange(0, FEATURES)[None, :]
    x = level[:, None] * tl.load(rates + column % half)
    turn = tl.floor(x * 0.6366197723675814 + 0.5)
    # pi / 2 in three parts; the first two have so few bits that their products are exact. A
    # library's reduction of large angles would take local memory.
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


@triton.jit(do_not_specialize=["B"])
def _embed_kernel(
    levels,  # [S, B, 2]
    rates,  # [FEATURES / 2]
    w0,  # [2, S, FEATURES, HIDDEN], as are the next, each with its distances
    w0_clock,
    w0_group,
    b0,
    b0_clock,
    b0_group,
    w1,
    w1_clock,
    w1_group,
    b1,
    b1_clock,
    b1_group,
    out,  # [S, B, 2 FEATURES]
    B,
    FEATURES: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK_B: tl.constexpr,
):
    clock, s = tl.program_id(2), tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    live = row < B
    at = s * B + row
    i, j = tl.arange(0, FEATURES), tl.arange(0, HIDDEN)
    level = tl.load(levels + at * 2 + clock, mask=live, other=0.0)
    sines = _sines(level, rates, FEATURES)
    w0 += clock * w0_clock + s * w0_group
    h, _ = _hidden(sines, w0, b0 + clock * b0_clock + s * b0_group, FEATURES, HIDDEN)
    w1 += clock * w1_clock + s * w1_group
    weight = tl.load(w1 + j[:, None] * FEATURES + i[None, :])
    y = tl.dot(h, weight, input_precision="ieee")
    y += tl.load(b1 + clock * b1_clock + s * b1_group + i)[None, :]
    column = clock * FEATURES + i
    tl.store(out + (at * 2 * FEATURES)[:, None] + column[None, :], y, mask=live[:, None])


@triton.jit
def _embed_backward_kernel(
    levels,  # [S, B, 2]
    rates,  # [FEATURES / 2]
    gradient,  # [S, B, 2 FEATURES]
    w0,  # [2, S, FEATURES, HIDDEN]
    w0_clock,
    w0_group,
    b0,  # [2, S, HIDDEN]
    b0_clock,
    b0_group,
    w1,  # [2, S, HIDDEN, FEATURES]
    w1_clock,
    w1_group,
    d_w0,
    d_w0_clock,
    d_w0_group,
    d_b0,
    d_b0_clock,
    d_b0_group,
    d_w1,
    d_w1_clock,
    d_w1_group,
    d_b1,
    d_b1_clock,
    d_b1_group,
    B: tl.constexpr,
    FEATURES: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK_B: tl.constexpr,
):
    clock, s = tl.program_id(1), tl.program_id(0).to(tl.int64)
    i, j = tl.arange(0, FEATURES), tl.arange(0, HIDDEN)
    w0 += clock * w0_clock + s * w0_group
    b0 += clock * b0_clock + s * b0_group
    w1 += clock * w1_clock + s * w1_group
    w1_t = tl.load(w1 + j[None, :] * FEATURES + i[:, None])
    sum_w0 = tl.zeros((FEATURES, HIDDEN), tl.float32)
    sum_w1 = tl.zeros((HIDDEN, FEATURES), tl.float32)
    sum_b0, sum_b1 = tl.zeros((HIDDEN,), tl.float32), tl.zeros((FEATURES,), tl.float32)
    # One program walks the rows of a seed in order; what the forward pass made costs less to make
    # again than to keep.
    for start in tl.range(0, B, BLOCK_B):
        row = start + tl.arange(0, BLOCK_B)
        live = row < B
        at = s * B + row
        level = tl.load(levels + at * 2 + clock, mask=live, other=0.0)
        column = clock * FEATURES + i
        g = tl.load(
            gradient + (at * 2 * FEATURES)[:, None] + column[None, :], mask=live[:, None], other=0.0
        )
        sines = _sines(level, rates, FEATURES)
        h, slope = _hidden(sines, w0, b0, FEATURES, HIDDEN)
        delta = tl.dot(g, w1_t, input_precision="ieee") * slope
        sum_w1 = tl.dot(tl.trans(h), g, sum_w1, input_precision="ieee")
        sum_w0 = tl.dot(tl.trans(sines), delta, sum_w0, input_precision="ieee")
        sum_b0, sum_b1 = sum_b0 + tl.sum(delta, 0), sum_b1 + tl.sum(g, 0)
    d_w0 += clock * d_w0_clock + s * d_w0_group
    d_w1 += clock * d_w1_clock + s * d_w1_group
    tl.store(d_w0 + i[:, None] * HIDDEN + j[None, :], sum_w0)
    tl.store(d_b0 + clock * d_b0_clock + s * d_b0_group + j, sum_b0)
    tl.store(d_w1 + j[:, None] * FEATURES + i[None, :], sum_w1)
    tl.store(d_b1 + clock * d_b1_clock + s * d_b1_group + i, sum_b1)


@functools.cache
def _rates(features: int, device: torch.device) -> Tensor:
    half = features // 2
    powers = torch.arange(half, dtype=torch.float64) / max(half - 1, 1)
    return (_SCALE * torch.pow(10_000.0, -powers)).float().to(device)


def embed(levels: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Embed two time levels [S, B, 2], one clock each: [S, B, 2 features].

    parameters: of the first clock, then of the second: weight [S, features, hidden], bias [S,
    hidden], weight [S, hidden, features], bias [S, features], with Mish between; sizes are powers
    of two of at least 16. Level l enters as sin(250 l 10000^(-i / (n - 1))) for i < n = features /
    2, then as cosines. Raises ValueError when a shape is not of these.
    """
    S, B, features, hidden = _check(levels, parameters)
    out = torch.empty((S, B, 2 * features), dtype=torch.float32, device=levels.device)
    stacks = [stack(parameters[k::4], parameters[k]) for k in range(4)]
    with torch.cuda.device(levels.get_device()):
        _embed_kernel[(triton.cdiv(B, _ROWS), S, 2)](
            levels.contiguous(), _rates(features, levels.device), *(x for k in stacks for x in k),
            out, B, FEATURES=features, HIDDEN=hidden, BLOCK_B=_ROWS, num_warps=4,
            enable_fp_fusion=True,
        )  # fmt: skip
    return out


def embed_backward(
    gradient: Tensor, levels: Tensor, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
) -> None:
    """Write the gradients of all eight parameters for an upstream gradient [S, B, 2 features].

    gradients: outputs in the order of the parameters, as views of one flat buffer.
    """
    S, B, features, hidden = _check(levels, parameters)
    _check(levels, gradients)
    stacks = [stack(parameters[k::4], parameters[k]) for k in range(3)]
    stacks += [stack(gradients[k::4], gradients[k], copy=False) for k in range(4)]
    with torch.cuda.device(levels.get_device()):
        _embed_backward_kernel[(S, 2)](
            levels.contiguous(), _rates(features, levels.device), gradient.contiguous(),
            *(x for k in stacks for x in k), B=B, FEATURES=features, HIDDEN=hidden, BLOCK_B=_ROWS,
            num_warps=8, enable_fp_fusion=True,
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
