"""The policy folded over the sampler's times, and the embedded levels of a batch."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .batch import Launch
from .embed import clock_size, embed_levels, embedded, sine_rates
from .folded import copy_layers, starts, units_of
from .philox import value
from .times import draw_nodes, level_of

_BLOCK, _COLUMNS, _ROWS = 1024, 64, 64


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


@triton.jit
def fold_tile(
    program,
    s,  # program_id(1), int64
    seeds,  # their number
    online,  # [S, P]: both clocks, then the MLP
    average,  # [S, P]
    stride,
    levels,  # [K, 2], of the sampler's times
    rates,
    flat,  # the folded policy
    start,  # of its parts
    units,  # its weights for tensor cores, or None
    student,  # [S, 2B, 2 FEATURES]
    teacher,  # [S, B, 2 FEATURES]
    times,  # of the rows: their levels (students, teacher), or what they are drawn from
    cdf,  # of the draws, or None; apart, for Triton 3.6 counts no tuple that holds a None
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
    BLOCK_L: tl.constexpr,
    GROUPS: tl.constexpr,
    PACK: tl.constexpr,
    UNIFORM: tl.constexpr = False,
    STEPS: tl.constexpr = 0,
    TIME: tl.constexpr = 0,
):
    """Do a program's share of seed s: step biases first, then copies, then embedded levels."""
    mean = average + s * stride
    if program < BIASES:
        _step_bias(
            program, s, mean, levels, rates, flat, start, A, O, H, K, WIDTH, FEATURES, HIDDEN,
            BLOCK_K, COLUMNS,
        )  # fmt: skip
    elif program < BIASES + COPIES:
        i = (program - BIASES) * BLOCK + tl.arange(0, BLOCK)
        copy_layers(
            i, s, seeds, mean + 2 * clock_size(FEATURES, HIDDEN), flat, start, units, A, O, H,
            DEPTH, 2 * FEATURES, WIDTH, ACTION, GROUPS, PACK,
        )  # fmt: skip
    else:
        program -= BIASES + COPIES
        clock, tile = program % 2, program // 2
        students = tl.cdiv(2 * B, BLOCK_L)
        if tile < students:
            row = tile * BLOCK_L + tl.arange(0, BLOCK_L)
            level = _level(row, row < 2 * B, clock, s, times, cdf, 2, B, UNIFORM, STEPS, TIME)
            embed_levels(
                row, row < 2 * B, clock, level, rates, online + s * stride, student, 2 * s * B,
                FEATURES, HIDDEN,
            )  # fmt: skip
        else:
            row = (tile - students) * BLOCK_L + tl.arange(0, BLOCK_L)
            level = _level(row, row < B, clock, s, times, cdf, 1, B, UNIFORM, STEPS, TIME)
            embed_levels(row, row < B, clock, level, rates, mean, teacher, s * B, FEATURES, HIDDEN)


@triton.jit
def _level(
    row, live, clock, s, times, cdf, HALVES: tl.constexpr, B, UNIFORM: tl.constexpr,
    STEPS: tl.constexpr, TIME: tl.constexpr,
):  # fmt: skip
    """Return a clock's level of rows of seed s, of students (two halves) or of the teacher."""
    if len(times) == 2:
        levels = times[0] if HALVES == 2 else times[1]
        return tl.load(levels + (HALVES * s * B + row) * 2 + clock, mask=live, other=0.0)
    else:
        nodes, num_nodes, seeds, step = times
        n_t, n_u, n_tau = draw_nodes(
            tl.load(seeds + s), value(step), row % B, value(num_nodes), cdf, UNIFORM, STEPS, TIME
        )
        # Students jump from t to tau, and in the second half to t; the teacher from u to tau.
        first = n_t if HALVES == 2 else n_u
        second = tl.where(row < B, n_tau, n_t) if HALVES == 2 else n_tau
        return level_of(tl.load(nodes + tl.where(clock == 0, first, second)))


@triton.jit(do_not_specialize=["B"])
def _fold_kernel(
    online, average, stride, levels, rates, flat, start, units, student, teacher, times, B,
    A: tl.constexpr, O: tl.constexpr, H: tl.constexpr, K: tl.constexpr,  # noqa: E741
    DEPTH: tl.constexpr, WIDTH: tl.constexpr, ACTION: tl.constexpr, FEATURES: tl.constexpr,
    HIDDEN: tl.constexpr, BIASES: tl.constexpr, COPIES: tl.constexpr, BLOCK: tl.constexpr,
    BLOCK_K: tl.constexpr, COLUMNS: tl.constexpr, BLOCK_L: tl.constexpr, GROUPS: tl.constexpr,
    PACK: tl.constexpr,
):  # fmt: skip
    fold_tile(
        tl.program_id(0), tl.program_id(1).to(tl.int64), tl.num_programs(1), online, average,
        stride, levels, rates, flat, start, units, student, teacher, times, None, B, A, O, H, K,
        DEPTH, WIDTH, ACTION, FEATURES, HIDDEN, BIASES, COPIES, BLOCK, BLOCK_K, COLUMNS, BLOCK_L,
        GROUPS, PACK,
    )  # fmt: skip


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
    units: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Write the folded policy of `average` into flat; return embedded levels (students, teacher).

    student_levels: [S, 2B, 2], teacher_levels: [S, B, 2]; the rest, what is returned and errors: as
    in `fold_launch`.
    """
    outputs, launch = fold_launch(
        online, average, sizes, embedding, levels, flat, padded, teacher_levels.shape[1], units
    )
    times = student_levels, teacher_levels
    with torch.cuda.device(flat.get_device()):
        _fold_kernel[(launch.programs, len(online))](
            *launch.arguments, times, teacher_levels.shape[1], **launch.options
        )
    return outputs


def fold_launch(
    online: Tensor,
    average: Tensor,
    sizes: tuple[int, int, int, int],
    embedding: tuple[int, int],
    levels: Tensor,
    flat: Tensor,
    padded: tuple[int, int],
    rows: int,
    units: Tensor | None = None,
) -> tuple[tuple[Tensor, Tensor], Launch]:
    """Return embedded levels (students, teacher) and the launch that writes them and flat.

    online, average: [S, P], the parameters of both clocks as `embed` takes them, then of the MLP as
    `mlp` takes them, with inputs action, both embeddings, observation; sizes: O, A, hidden width,
    number of hidden layers; embedding: features n and hidden width; levels: [K, 2]; flat: for all
    seeds, part after part, the first layer's weights of the action and of the observation, its bias
    in each step, hidden weights, hidden biases, the last weight, the last bias; padded: lengths of
    rows of hidden width and of rows of actions; rows: B; units: of
    `folded.units_of`, bfloat16 or float32, the padding zero: the weights once more, rounded, in the
    units that the sampler's tensor cores read. The levels of students are embedded by `online`
    [S, 2B, 2 n], those of the teacher by `average` [S, B, 2 n]. Raises ValueError for another
    shape.
    """
    S, P = online.shape
    O, A, H, depth = sizes  # noqa: E741
    features, hidden = embedding
    K, B, (width, action) = levels.shape[0], rows, padded
    clocks = 2 * clock_size(features, hidden)
    layers = (A + 2 * features + O + 1) * H + (depth - 1) * (H + 1) * H + (H + 1) * A
    start = starts(S, sizes, K, padded)
    if clocks + layers != P or average.shape != (S, P) or average.stride() != online.stride():
        raise ValueError(f"both networks need [{S}, {clocks + layers}] parameters, not {P}")
    if flat.numel() < start.end or width < H or action < A:
        raise ValueError(f"a folded policy of these sizes needs {start.end} numbers")
    layout = units_of(S, sizes, torch.float32 if units is None else units.dtype)
    if units is not None and units.numel() != layout.count:
        raise ValueError(f"packed weights of these sizes are {layout.count}, not {units.numel()}")
    student = torch.empty((S, 2 * B, 2 * features), dtype=torch.float32, device=flat.device)
    teacher = torch.empty((S, B, 2 * features), dtype=torch.float32, device=flat.device)
    biases, copies = triton.cdiv(H, _COLUMNS), triton.cdiv(layers, _BLOCK)
    tiles = triton.cdiv(2 * B, _ROWS) + triton.cdiv(B, _ROWS)
    arguments = (
        online, average, online.stride(0), levels, sine_rates(features, flat.device), flat, start,
        units, student, teacher,
    )  # fmt: skip
    options = {
        "A": A, "O": O, "H": H, "K": K, "DEPTH": depth, "WIDTH": width, "ACTION": action,
        "FEATURES": features, "HIDDEN": hidden, "BIASES": biases, "COPIES": copies,
        "BLOCK": _BLOCK, "BLOCK_K": max(16, triton.next_power_of_2(K)), "COLUMNS": _COLUMNS,
        "BLOCK_L": _ROWS, "GROUPS": layout.groups, "PACK": layout.pack, "num_warps": 4,
        "enable_fp_fusion": True,
    }  # fmt: skip
    return (student, teacher), Launch(biases + copies + 2 * tiles, arguments, options)
