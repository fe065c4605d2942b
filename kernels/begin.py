"""The beginning of an update in one launch: batch, folded policy, embedded levels."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .batch import Drawn, batch_launch, batch_tile
from .fold import fold_launch, fold_tile


@triton.jit(do_not_specialize=["count", "num_nodes", "step", "B"])
def _begin_kernel(
    table, lots, count, nodes, cdf, num_nodes, seeds, step, states, noise, batch, rewards, masks,
    row_fields, actions, student_x, student_levels, teacher_x, teacher_levels, B,
    online, average, stride, levels, rates, flat, start, units, student, teacher,
    O: tl.constexpr, A: tl.constexpr, M: tl.constexpr, V: tl.constexpr,  # noqa: E741
    UNIFORM: tl.constexpr, KIND: tl.constexpr, SIGMA: tl.constexpr, T_MIN: tl.constexpr,
    STEPS: tl.constexpr, ROWS: tl.constexpr, TIME: tl.constexpr, NOISE: tl.constexpr,
    TARGET: tl.constexpr, VALUE: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_R: tl.constexpr,
    BLOCK_A: tl.constexpr, H: tl.constexpr, K: tl.constexpr, DEPTH: tl.constexpr,
    WIDTH: tl.constexpr, ACTION: tl.constexpr, FEATURES: tl.constexpr, HIDDEN: tl.constexpr,
    BIASES: tl.constexpr, COPIES: tl.constexpr, BLOCK: tl.constexpr, BLOCK_K: tl.constexpr,
    COLUMNS: tl.constexpr, BLOCK_L: tl.constexpr, GROUPS: tl.constexpr, PACK: tl.constexpr,
    WEIGHT: tl.constexpr,
):  # fmt: skip
    program, s = tl.program_id(0), tl.program_id(1).to(tl.int64)
    tiles = tl.cdiv(B, BLOCK_B)
    if program < tiles:
        batch_tile(
            program, s, table, lots, count, nodes, cdf, num_nodes, seeds, step, states, noise,
            batch, rewards, masks, row_fields, actions, student_x, student_levels, teacher_x,
            teacher_levels, B, O, A, M, V, UNIFORM, KIND, SIGMA, T_MIN, STEPS, ROWS, TIME, NOISE,
            TARGET, VALUE, BLOCK_B, BLOCK_R, BLOCK_A, WEIGHT,
        )  # fmt: skip
    else:
        # What embeds a row's times draws them again: other programs write them meanwhile.
        fold_tile(
            program - tiles, s, tl.num_programs(1), online, average, stride, levels, rates, flat,
            start, units, student, teacher, (nodes, num_nodes, seeds, step), cdf, B, A, O, H, K,
            DEPTH, WIDTH, ACTION, FEATURES, HIDDEN, BIASES, COPIES, BLOCK, BLOCK_K, COLUMNS,
            BLOCK_L, GROUPS, PACK, UNIFORM, STEPS, TIME,
        )  # fmt: skip


def begin(
    of_batch: tuple[tuple[Any, ...], dict[str, Any]],
    of_fold: tuple[Any, ...],
    units: Tensor | None = None,
) -> tuple[Drawn, tuple[Tensor, Tensor]]:
    """Return what `draw_batch` and `fold` return, the latter at the levels that are drawn.

    of_batch: arguments and options of `batch_launch`; of_fold: arguments of `fold_launch` before
    the rows; units: its last. Errors: as theirs.
    """
    drawn, first = batch_launch(*of_batch[0], **of_batch[1])
    embedded, second = fold_launch(*of_fold, drawn.action.shape[1], units)
    with torch.cuda.device(drawn.states.get_device()):
        _begin_kernel[(first.programs + second.programs, len(drawn.states))](
            *first.arguments, *second.arguments, **(second.options | first.options)
        )
    return drawn, embedded
