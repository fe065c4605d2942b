"""All random draws of an update: batch, sampler noise, times and their noise."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .gather import check_table, checked_lots, copy_rows, drawn_rows, row_width
from .perturb import MAX_ACTIONS, Perturbed, perturb_tile, perturbed, searched
from .philox import normals_tile, value

_ROWS, _CELLS = 16, 2048


@triton.jit
def _write_noise(
    noise, seed, step, STREAM: tl.constexpr, row, live, first, repeats, B, A,
    BLOCK_A: tl.constexpr,
):  # fmt: skip
    """Write a stream's noise rows i B + row, i < repeats, behind row `first`."""
    column = tl.arange(0, BLOCK_A)
    inside = live[:, None] & (column < A)[None, :]
    for i in tl.range(0, repeats):
        z = normals_tile(seed, step, STREAM, i * B + row, BLOCK_A)
        at = (first + i * B + row)[:, None] * A + column[None, :]
        tl.store(noise + at, z, mask=inside)


@triton.jit
def batch_tile(
    tile,
    s,  # program_id(1), int64
    table,  # [count, row_width]
    lots,  # [count] int64, or None
    count,
    nodes,
    cdf,
    num_nodes,  # scalar or pointer
    seeds,  # [S] int64
    step,  # scalar or pointer
    states,  # [S, (M + V) B, O]: s' M times, s V times
    noise,  # [S, (M + V) B, A]
    batch,  # [S, B, A]: the actions
    rewards,  # [S, B]
    masks,  # [S, B]
    row_fields,
    actions,
    student_x,
    student_levels,
    teacher_x,
    teacher_levels,
    B,
    O: tl.constexpr,  # noqa: E741
    A: tl.constexpr,
    M: tl.constexpr,
    V: tl.constexpr,
    UNIFORM: tl.constexpr,
    KIND: tl.constexpr,
    SIGMA: tl.constexpr,
    T_MIN: tl.constexpr,
    STEPS: tl.constexpr,
    ROWS: tl.constexpr,
    TIME: tl.constexpr,
    NOISE: tl.constexpr,
    TARGET: tl.constexpr,
    VALUE: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_A: tl.constexpr,
    WEIGHT: tl.constexpr,
):
    """Draw a tile of rows of seed s, all that an update reads of them."""
    row = tile * BLOCK_B + tl.arange(0, BLOCK_B)
    live = row < B
    seed, counter = tl.load(seeds + s), value(step)
    index = drawn_rows(seed, counter, ROWS, row, count, lots)
    at = s * B + row
    chains = states + s * (M + V) * B * O
    x, column, after, both = copy_rows(
        table, index, live, chains + (M * B + row) * O, batch + at * A, rewards + at,
        chains + row * O, masks + at, O, A, BLOCK_R,
    )  # fmt: skip
    for i in tl.range(1, M):
        again = chains + ((i * B + row) * O)[:, None]
        tl.store(again + after, x, mask=both & (after >= 0) & (after < O))
    for i in tl.range(1, V):
        again = chains + (((M + i) * B + row) * O)[:, None]
        tl.store(again + column, x, mask=both & (column < O))
    drawn = noise + s * (M + V) * B * A
    _write_noise(drawn, seed, counter, TARGET, row, live, 0, M, B, A, BLOCK_A)
    _write_noise(drawn, seed, counter, VALUE, row, live, M * B, V, B, A, BLOCK_A)

    cell = tl.arange(0, BLOCK_A)
    inside = live[:, None] & (cell < A)[None, :]
    clean = tl.load(
        table + index[:, None] * row_width(O, A) + O + cell[None, :], mask=inside, other=0.0
    )
    perturb_tile(
        s, row, live, clean, nodes, cdf, value(num_nodes), seed, counter, row_fields, actions,
        student_x, student_levels, teacher_x, teacher_levels, B, A, UNIFORM, KIND, SIGMA, T_MIN,
        STEPS, TIME, NOISE, BLOCK_A, WEIGHT,
    )  # fmt: skip


@triton.jit(do_not_specialize=["count", "num_nodes", "step", "B"])
def _batch_kernel(
    table, lots, count, nodes, cdf, num_nodes, seeds, step, states, noise, batch, rewards, masks,
    row_fields, actions, student_x, student_levels, teacher_x, teacher_levels, B,
    O: tl.constexpr, A: tl.constexpr, M: tl.constexpr, V: tl.constexpr,  # noqa: E741
    UNIFORM: tl.constexpr, KIND: tl.constexpr, SIGMA: tl.constexpr, T_MIN: tl.constexpr,
    STEPS: tl.constexpr, ROWS: tl.constexpr, TIME: tl.constexpr, NOISE: tl.constexpr,
    TARGET: tl.constexpr, VALUE: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_R: tl.constexpr,
    BLOCK_A: tl.constexpr, WEIGHT: tl.constexpr,
):  # fmt: skip
    batch_tile(
        tl.program_id(0), tl.program_id(1).to(tl.int64), table, lots, count, nodes, cdf, num_nodes,
        seeds, step, states, noise, batch, rewards, masks, row_fields, actions, student_x,
        student_levels, teacher_x, teacher_levels, B, O, A, M, V, UNIFORM, KIND, SIGMA, T_MIN,
        STEPS, ROWS, TIME, NOISE, TARGET, VALUE, BLOCK_B, BLOCK_R, BLOCK_A, WEIGHT,
    )  # fmt: skip


class Drawn(NamedTuple):
    """A batch and its random numbers."""

    states: Tensor
    """[S, (m + v) B, O]: s' repeated m times, then s repeated v times."""
    noise: Tensor
    """[S, (m + v) B, A], for the sampler at these states."""
    action: Tensor
    """[S, B, A]"""
    reward: Tensor
    mask: Tensor
    """[S, B] each."""
    perturbed: Perturbed


class Launch(NamedTuple):
    """What a kernel is launched with: programs of a seed, arguments, options."""

    programs: int
    arguments: tuple[Any, ...]
    options: dict[str, Any]


def draw_batch(table: Tensor, *given: Any, **options: Any) -> Drawn:
    """Draw a batch and perturb its actions, as `gather`, `normals` and `perturb` do.

    Arguments and errors: as those of `batch_launch`.
    """
    drawn, launch = batch_launch(table, *given, **options)
    with torch.cuda.device(table.get_device()):
        _batch_kernel[(launch.programs, len(drawn.states))](*launch.arguments, **launch.options)
    return drawn


def batch_launch(
    table: Tensor,
    sizes: tuple[int, int, int],
    repeats: tuple[int, int],
    nodes: Tensor,
    num_nodes: int | Tensor,
    seeds: Tensor,
    step: int | Tensor,
    streams: tuple[int, int, int, int, int],
    *,
    lots: Tensor | None = None,
    u_mode: str = "adjacent",
    cdf: Tensor | None = None,
    kind: str = "edm",
    sigma_data: float = 0.5,
    t_min: float = 0.002,
    consistency_weight: str = "none",
) -> tuple[Drawn, Launch]:
    """Return the outputs of a batch and the launch that writes them.

    table: [N, 2 O + A + 2] float32; sizes: O, A and B; repeats: m and v, numbers of policy actions
    sampled at s' and at s; streams: of the rows, of the noise at s' and at s, of the times and of
    the noise of `perturb`; lots: as in `gather`; the rest as in `perturb`. Raises ValueError for
    another shape.
    """
    O, A, B = sizes  # noqa: E741
    m, v = repeats
    count = check_table(table, O, A)
    if not 1 <= A <= MAX_ACTIONS:
        raise ValueError(f"draw_batch takes 1 to {MAX_ACTIONS} action dimensions, not {A}")
    S = seeds.shape[0]

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=table.device)

    drawn = Drawn(
        empty(S, (m + v) * B, O), empty(S, (m + v) * B, A), empty(S, B, A), empty(S, B),
        empty(S, B), perturbed(S, B, A, table.device),
    )  # fmt: skip
    law, steps = searched(cdf, nodes)
    rows, target, own_value, times, own_noise = (int(stream) for stream in streams)
    block_r = triton.next_power_of_2(table.shape[1])
    block_b = min(_ROWS, max(1, _CELLS // block_r))
    arguments = (
        table, checked_lots(lots, count), count, nodes.contiguous(), law, num_nodes,
        seeds.contiguous(), step, *drawn[:5], *drawn.perturbed, B,
    )  # fmt: skip
    options = {
        "O": O, "A": A, "M": m, "V": v, "UNIFORM": u_mode == "uniform", "KIND": kind,
        "SIGMA": sigma_data, "T_MIN": t_min, "STEPS": steps, "ROWS": rows, "TIME": times,
        "NOISE": own_noise, "TARGET": target, "VALUE": own_value, "BLOCK_B": block_b,
        "BLOCK_R": block_r, "BLOCK_A": max(4, triton.next_power_of_2(A)),
        "WEIGHT": consistency_weight, "num_warps": 4, "enable_fp_fusion": True,
    }  # fmt: skip
    return drawn, Launch(triton.cdiv(B, block_b), arguments, options)
