"""Losses of the flow map and its deltas in one launch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import tiling
from .loss import loss_tile
from .mlp import Saved
from .mlp_backward import chain_options, chain_tile, input_gradients
from .perturb import ROW_FIELDS, Perturbed
from .weigh import Weighing, spread_of, weighing_constants, weight_at, weights_of_seed

_Q_T, _Q_U, _SKIP_T, _OUT_T, _SKIP_U, _OUT_U = (
    tl.constexpr(ROW_FIELDS.index(name))
    for name in ("q_t", "q_u", "skip_t", "out_t", "skip_u", "out_u")
)


@triton.jit(do_not_specialize=["B"])
def _actor_kernel(
    weighing,  # what weighs the rows; None: nothing yet
    share,  # [S]: of the flow loss
    student,  # [S, 2B, A]
    teacher,  # [S, B, A]
    batch,  # [S, B, A]: the actions
    row_fields,  # [11, S, B]
    actions,  # [3, S, B, A]: z, a_t, a_u
    losses,  # [2, S, tiles], or [S, 2B] without weights
    gradient,  # [S, 2B, A]
    slopes, deltas, parameters, stride,
    embedding,  # [S, 2B, K[1]]: its gradient
    B, V: tl.constexpr, CEILING: tl.constexpr, EPS: tl.constexpr, BLOCK_W: tl.constexpr,
    BLOCK_A: tl.constexpr, K: tl.constexpr, H: tl.constexpr, N: tl.constexpr,
    DEPTH: tl.constexpr, PRECISION: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_H: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_X: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    tile, s, seeds = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.num_programs(1)
    row = tile * BLOCK_B + tl.arange(0, BLOCK_B)
    live = row < 2 * B
    weight = tl.where(live, 1.0, 0.0)
    if weighing is not None:
        # Every tile computes the deviation of the whole batch: cheaper than a launch of its own.
        data, policy = weighing.data + s * 2 * B, weighing.policy + s * 2 * V * B
        strength = tl.load(weighing.eta + s)
        mean_q, spread = spread_of(data, policy, B, V * B, B, V, BLOCK_W)
        if tile == 0:
            weights_of_seed(
                data, policy, B, V * B, strength, spread, mean_q, weighing.w + s * B,
                weighing.statistics + s, seeds, B, V, CEILING, EPS, BLOCK_W,
            )  # fmt: skip
        weight = weight_at(
            data, policy, B, V * B, strength, spread, row % B, live, B, V, CEILING, EPS
        )
        weight = tl.where(live, weight, 0.0)
    at, plane = s * B * N, seeds.to(tl.int64) * B
    fields = row_fields + s * B
    first, second = loss_tile(
        row, live, weight, tl.load(share + s), student + 2 * at, teacher + at,
        batch + at, actions + plane * N + at, actions + 2 * plane * N + at, fields + plane * _Q_T,
        fields + plane * _Q_U, fields + plane * _SKIP_T, fields + plane * _OUT_T,
        fields + plane * _SKIP_U, fields + plane * _OUT_U, gradient + 2 * at, B, N, BLOCK_A,
    )  # fmt: skip
    if weighing is not None:
        tiles = tl.num_programs(0)
        tl.store(losses + s * tiles + tile, tl.sum(first, 0) / B)
        tl.store(losses + (seeds + s) * tiles + tile, tl.sum(second, 0) / B)
    else:
        tl.store(losses + 2 * s * B + row, first + second, mask=live)
    # The chain reads the gradient back from memory, in another layout.
    tl.debug_barrier()
    chain_tile(
        row, live, gradient, slopes, deltas, parameters, stride, 2 * B, K, H, N, DEPTH, PRECISION,
        BLOCK_H, BLOCK_N, BLOCK_K,
    )  # fmt: skip
    input_gradients(
        row, live, deltas, parameters, stride, (None, embedding, None), 2 * B, K, H, PRECISION,
        BLOCK_X, BLOCK_K,
    )  # fmt: skip


def actor_chain(
    share: Tensor,
    student: Tensor,
    teacher: Tensor,
    batch: Tensor,
    drawn: Perturbed,
    saved: Saved,
    widths: Sequence[int],
    parameters: Tensor,
    weighing: Weighing | None,
    maximum: float | None = 100.0,
    eps: float = 1e-6,
    precision: str = "fp32",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (losses, gradient of student, deltas, gradient of embedding).

    weighing: of `weigh.weighing`, for the weights of `weigh` with its maximum and eps, whose
    statistics are written; the losses are [2, S, n], and the two of a seed, those of
    `flow_map_loss`, are the sums of its n numbers. None: every weight is 1, and the losses are
    those of the rows, [S, 2B], for `actor_gradients` to weigh. What is differentiated is
    consistency + share flow. Gradient of student: [S, 2B, A]; embedding: of the students' times,
    [S, 2B, .]. share: [S]; student, teacher, batch, drawn: as in `flow_map_loss` and `perturb`;
    saved, widths, parameters: of the students' pass, as in `mlp_pair`. Raises ValueError for
    another shape.
    """
    S, B, A = batch.shape
    fits = student.shape == (S, 2 * B, A) and teacher.shape == batch.shape
    if not fits or (weighing and weighing.w.shape != (S, B)):
        raise ValueError(f"actions {list(batch.shape)} and {list(student.shape)} do not fit")
    # Small tiles would spill, and beside the sampler there is time.
    rows, options = chain_options(saved, widths, A, precision, True, False)
    if precision == "fp32" and options["BLOCK_H"] == 256 and tiling.capability(batch.device) < 90:
        # By default ptxas of Triton 3.6 spills rather than take more than 64 registers.
        options["maxnreg"] = 96
    tiles = triton.cdiv(2 * B, rows)

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=batch.device)

    losses = empty(2, S, tiles) if weighing else empty(S, 2 * B)
    embedding = empty(S, 2 * B, widths[1])
    gradient, deltas = torch.empty_like(student), torch.empty_like(saved.hidden)
    with torch.cuda.device(batch.get_device()):
        _actor_kernel[(tiles, S)](
            weighing, share, student, teacher, batch, drawn.row_fields, drawn.actions, losses,
            gradient, saved.slopes, deltas, parameters, parameters.stride(0), embedding, B,
            **weighing_constants(weighing, maximum, eps), BLOCK_A=triton.next_power_of_2(A),
            **options,
        )  # fmt: skip
    return losses, gradient, deltas, embedding
