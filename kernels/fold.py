"""The policy folded over the sampler's times, and the embedded levels of a batch."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .embed import clock_size, embed_tile, embedded, sine_rates

_BLOCK, _COLUMNS, _ROWS = 1024, 64, 64


@triton.jit
def _copy_layers(
    i, s, seeds, average, flat, start, A: tl.constexpr, O: tl.constexpr,  # noqa: E741
    H: tl.constexpr, DEPTH: tl.constexpr, CLOCKS: tl.constexpr, WIDTH: tl.constexpr,
    ACTION: tl.constexpr,
):  # fmt: skip
    """Copy numbers i of a seed's MLP to their places in the folded policy.

    All but what the step biases contain. CLOCKS: inputs of the first layer between the action and
    the observation.
    """
    inputs: tl.constexpr = A + CLOCKS + O
    hidden: tl.constexpr = (DEPTH - 1) * (H + 1) * H
    middle: tl.constexpr = (inputs + 1) * H
    last: tl.constexpr = middle + hidden
    x = tl.load(average + i, mask=i < last + (H + 1) * A, other=0.0)

    r, c = i // H, i % H
    tl.store(flat + (s * A + r) * WIDTH + c, x, mask=r < A)
    r -= A + CLOCKS
    tl.store(flat + start.observation + (s * O + r) * WIDTH + c, x, mask=(r >= 0) & (r < O))

    j = i - middle
    between = (j >= 0) & (j < hidden)
    layer, e = j // ((H + 1) * H), j % ((H + 1) * H)
    r, c = e // H, e % H
    at = start.hidden + ((layer * seeds + s) * H + r) * WIDTH + c
    tl.store(flat + at, x, mask=between & (r < H))
    bias = start.bias + (layer * seeds + s) * WIDTH + c
    tl.store(flat + bias, x, mask=between & (r == H))

    j = i - last
    r, c = j // A, j % A
    tl.store(flat + start.last + (s * H + r) * ACTION + c, x, mask=(j >= 0) & (r < H))
    tl.store(flat + start.last_bias + s * ACTION + c, x, mask=(j >= 0) & (r == H))


@triton.jit
def _step_bias(
    block, s, average, levels, rates, flat, start, A: tl.constexpr, O: tl.constexpr,  # noqa: E741
    H: tl.constexpr, K: tl.constexpr, WIDTH: tl.constexpr, FEATURES: tl.constexpr,
    HIDDEN: tl.constexpr, BLOCK_K: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Write a block of columns of the first layer's bias of each step."""
    k, i = tl.arange(0, BLOCK_K), tl.arange(0, FEATURES)
    column = block * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < H
    first = average + 2 * clock_size(FEATURES, HIDDEN)
    total = tl.zeros((BLOCK_K, COLUMNS), tl.float32)
    bias = first + (A + 2 * FEATURES + O) * H
    total += tl.load(bias + column, mask=inside, other=0.0)[None, :]
    for clock in tl.static_range(2):
        level = tl.load(levels + 2 * k + clock, mask=k < K, other=0.0)
        y = embedded(level, rates, clock, average, FEATURES, HIDDEN)
        w = first + (A + clock * FEATURES + i)[:, None] * H + column[None, :]
        weight = tl.load(w, mask=inside[None, :], other=0.0)
        total = tl.dot(y, weight, total, input_precision="ieee")
    at = start.step_bias + (s * K + k) * WIDTH
    tl.store(flat + at[:, None] + column[None, :], total, mask=(k < K)[:, None] & inside[None, :])


@triton.jit(do_not_specialize=["B"])
def _fold_kernel(
    online,  # [S, P]: both clocks, then the MLP
    average,  # [S, P]
    stride,
    levels,  # [K, 2], of the sampler's times
    rates,
    flat,  # the folded policy
    start,  # of its parts
    student_levels,  # [S, 2B, 2]
    teacher_levels,  # [S, B, 2]
    student,  # [S, 2B, 2 FEATURES]
    teacher,  # [S, B, 2 FEATURES]
    B,
    A: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    H: tl.constexpr,
    K: tl.constexpr,
    DEPTH: tl.constexpr,
    WIDTH: tl.constexpr,
    ACTION: tl.constexpr,
    FEATURES: tl.constexpr,
    HIDDEN: tl.constexpr,
    BIASES: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_K: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK_B: tl.constexpr,
):
    program, seeds = tl.program_id(0), tl.num_programs(1)
    s = tl.program_id(1).to(tl.int64)
    mean = average + s * stride
    if program < BIASES:
        _step_bias(
            program, s, mean, levels, rates, flat, start, A, O, H, K, WIDTH, FEATURES, HIDDEN,
            BLOCK_K, COLUMNS,
        )  # fmt: skip
    elif program < BIASES + COPIES:
        i = (program - BIASES) * BLOCK + tl.arange(0, BLOCK)
        _copy_layers(
            i, s, seeds, mean + 2 * clock_size(FEATURES, HIDDEN), flat, start, A, O, H, DEPTH,
            2 * FEATURES, WIDTH, ACTION,
        )  # fmt: skip
    else:
        program -= BIASES + COPIES
        clock, tile = program % 2, program // 2
        students = tl.cdiv(2 * B, BLOCK_B)
        if tile < students:
            row = tile * BLOCK_B + tl.arange(0, BLOCK_B)
            embed_tile(
                row, row < 2 * B, clock, student_levels, rates, online + s * stride, student,
                2 * s * B, FEATURES, HIDDEN,
            )  # fmt: skip
        else:
            row = (tile - students) * BLOCK_B + tl.arange(0, BLOCK_B)
            embed_tile(
                row, row < B, clock, teacher_levels, rates, mean, teacher, s * B, FEATURES, HIDDEN
            )


class Start(NamedTuple):
    """Start of each part of a folded policy, after the action's weights."""

    observation: int
    step_bias: int
    hidden: int
    bias: int
    last: int
    last_bias: int
    end: int


def starts(
    seeds: int, sizes: tuple[int, int, int, int], steps: int, padded: tuple[int, int]
) -> Start:
    """Return where the parts of a folded policy start; arguments as in `fold`, `steps`: K."""
    O, A, H, depth = sizes  # noqa: E741
    width, action = padded
    lengths = (
        A * width, O * width, steps * width, (depth - 1) * H * width, (depth - 1) * width,
        H * action, action,
    )  # fmt: skip
    return Start(*itertools.accumulate(seeds * length for length in lengths))


def fold(
    online: Tensor,
    average: Tensor,
    sizes: tuple[int, int, int, int],
    embedding: tuple[int, int],
    levels: Tensor,
    flat: Tensor,
    padded: tuple[int, int],
    student_levels: Tensor,
    teacher_levels: Tensor,
) -> tuple[Tensor, Tensor]:
    """Write the folded policy of `average` into flat; return embedded levels (students, teacher).

    online, average: [S, P], the parameters of both clocks as `embed` takes them, then of the MLP as
    `mlp` takes them, with inputs action, both embeddings, observation; sizes: O, A, hidden width,
    number of hidden layers; embedding: features n and hidden width; levels: [K, 2]; flat: for all
    seeds, part after part, the first layer's weights of the action and of the observation, its bias
    in each step, hidden weights, hidden biases, the last weight, the last bias; padded: lengths of
    rows of hidden width and of rows of actions. Returns the levels of students embedded by `online`
    [S, 2B, 2 n], those of the teacher by `average` [S, B, 2 n]. Raises ValueError for another
    shape.
    """
    S, P = online.shape
    O, A, H, depth = sizes  # noqa: E741
    features, hidden = embedding
    K, B, (width, action) = levels.shape[0], teacher_levels.shape[1], padded
    clocks = 2 * clock_size(features, hidden)
    layers = (A + 2 * features + O + 1) * H + (depth - 1) * (H + 1) * H + (H + 1) * A
    start = starts(S, sizes, K, padded)
    if clocks + layers != P or average.shape != (S, P) or average.stride() != online.stride():
        raise ValueError(f"both networks need [{S}, {clocks + layers}] parameters, not {P}")
    if flat.numel() < start.end or width < H or action < A:
        raise ValueError(f"a folded policy of these sizes needs {start.end} numbers")
    student = torch.empty((S, 2 * B, 2 * features), dtype=torch.float32, device=flat.device)
    teacher = torch.empty((S, B, 2 * features), dtype=torch.float32, device=flat.device)
    biases, copies = triton.cdiv(H, _COLUMNS), triton.cdiv(layers, _BLOCK)
    tiles = triton.cdiv(2 * B, _ROWS) + triton.cdiv(B, _ROWS)
    with torch.cuda.device(flat.get_device()):
        _fold_kernel[(biases + copies + 2 * tiles, S)](
            online, average, online.stride(0), levels, sine_rates(features, flat.device), flat,
            start, student_levels, teacher_levels, student, teacher, B, A=A, O=O, H=H, K=K,
            DEPTH=depth, WIDTH=width, ACTION=action, FEATURES=features, HIDDEN=hidden,
            BIASES=biases, COPIES=copies, BLOCK=_BLOCK, BLOCK_K=max(16, triton.next_power_of_2(K)),
            COLUMNS=_COLUMNS, BLOCK_B=_ROWS, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip
    return student, teacher
