"""Backward pass of the flow map: losses and deltas in one launch, gradients in another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .dense import Piece
from .embed import ROWS, clock_size, embed_gradient, sine_rates
from .loss import loss_tile
from .mlp import Saved
from .mlp_backward import chain_options, chain_tile
from .mlp_weights import count_tiles, weight_options, weight_tiles
from .perturb import ROW_FIELDS, Perturbed
from .weigh import spread_of, weight_at, weights_of_seed

_Q_T, _Q_U, _SKIP_T, _OUT_T, _SKIP_U, _OUT_U = (
    tl.constexpr(ROW_FIELDS.index(name))
    for name in ("q_t", "q_u", "skip_t", "out_t", "skip_u", "out_u")
)


@triton.jit(do_not_specialize=["B"])
def _actor_kernel(
    data,  # [2S, B]: values of the data's actions
    policy,  # [2S, V B]: of policy actions
    eta,  # [S]
    share,  # [S]: of the flow loss
    student,  # [S, 2B, A]
    teacher,  # [S, B, A]
    batch,  # [S, B, A]: the actions
    row_fields,  # [11, S, B]
    actions,  # [3, S, B, A]: z, a_t, a_u
    w,  # [S, B]
    statistics,  # [4, S]
    losses,  # [2, S, tiles]
    gradient,  # [S, 2B, A]
    slopes, deltas, parameters, stride,
    embedding,  # [S, 2B, K[1]]: its gradient
    B, V: tl.constexpr, CEILING: tl.constexpr, EPS: tl.constexpr, BLOCK: tl.constexpr,
    BLOCK_A: tl.constexpr, K: tl.constexpr, H: tl.constexpr, N: tl.constexpr,
    DEPTH: tl.constexpr, PRECISION: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_H: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_X: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    tile, s, seeds = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.num_programs(1)
    row = tile * BLOCK_B + tl.arange(0, BLOCK_B)
    live = row < 2 * B
    # Every tile computes the deviation of the whole batch: cheaper than a launch of its own.
    data += s * 2 * B
    policy += s * 2 * V * B
    strength = tl.load(eta + s)
    mean_q, spread = spread_of(data, policy, B, V * B, B, V, BLOCK)
    if tile == 0:
        weights_of_seed(
            data, policy, B, V * B, strength, spread, mean_q, w + s * B, statistics + s, seeds, B,
            V, CEILING, EPS, BLOCK,
        )  # fmt: skip
    weight = weight_at(data, policy, B, V * B, strength, spread, row % B, live, B, V, CEILING, EPS)
    at, plane = s * B * N, seeds.to(tl.int64) * B
    fields = row_fields + s * B
    first, second = loss_tile(
        row, live, tl.where(live, weight, 0.0), tl.load(share + s), student + 2 * at, teacher + at,
        batch + at, actions + plane * N + at, actions + 2 * plane * N + at, fields + plane * _Q_T,
        fields + plane * _Q_U, fields + plane * _SKIP_T, fields + plane * _OUT_T,
        fields + plane * _SKIP_U, fields + plane * _OUT_U, gradient + 2 * at, B, N, BLOCK_A,
    )  # fmt: skip
    tiles = tl.num_programs(0)
    tl.store(losses + s * tiles + tile, tl.sum(first, 0) / B)
    tl.store(losses + (seeds + s) * tiles + tile, tl.sum(second, 0) / B)
    # The chain reads the gradient back from memory, in another layout.
    tl.debug_barrier()
    chain_tile(
        row, live, gradient, slopes, deltas, parameters, stride, (None, embedding, None), 2 * B, K,
        H, N, DEPTH, PRECISION, BLOCK_H, BLOCK_N, BLOCK_X, BLOCK_K,
    )  # fmt: skip


@triton.jit
def _gradients_kernel(
    x, hidden, deltas, gradient,
    levels,  # [S, B, 2]
    rates,
    embedding,  # [S, B, 2 FEATURES]: its gradient
    parameters,  # [S, P]: both clocks, then the MLP
    stride,
    results,  # [S, P]
    sums,  # [S, tiles + 2]
    FEATURES: tl.constexpr, HIDDEN: tl.constexpr, ROWS: tl.constexpr,
    B: tl.constexpr, K: tl.constexpr, H: tl.constexpr, N: tl.constexpr, DEPTH: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK: tl.constexpr, BLOCK_ROWS: tl.constexpr,
):  # fmt: skip
    clocks: tl.constexpr = 2 * clock_size(FEATURES, HIDDEN)
    program, s = tl.program_id(0), tl.program_id(1).to(tl.int64)
    # The clocks go first: one program reads all rows of a seed for each and takes the longest.
    if program < 2:
        squares = embed_gradient(
            program, s, levels, rates, embedding, parameters + s * stride, results + s * stride, B,
            FEATURES, HIDDEN, ROWS,
        )  # fmt: skip
    else:
        squares = weight_tiles(
            program - 2, x, hidden, deltas, gradient, results + clocks, stride, B, K, H, N, DEPTH,
            PRECISION, BLOCK, BLOCK_ROWS,
        )  # fmt: skip
    tl.store(sums + s * tl.num_programs(0) + program, squares)


def actor_chain(
    data: Tensor,
    policy: Tensor,
    eta: Tensor,
    share: Tensor,
    student: Tensor,
    teacher: Tensor,
    batch: Tensor,
    drawn: Perturbed,
    statistics: Tensor,
    saved: Saved,
    widths: Sequence[int],
    parameters: Tensor,
    maximum: float | None = 100.0,
    eps: float = 1e-6,
    precision: str = "fp32",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (losses [2, S, n], gradient of student, deltas, gradient of embedding).

    The two losses of a seed, those of `flow_map_loss`, are the sums of its n numbers; the loss that
    is differentiated is consistency + share flow. Gradient of student: [S, 2B, A]; embedding: of
    the students' times, [S, 2B, .]. data, policy: [2S, B, 1] and [2S, v B, 1], Q of both twins at
    the data's actions and at policy actions, for the weights of `weigh`; its four statistics go
    into statistics [4, S]. eta, share: [S]; student, teacher, batch, drawn: as in `flow_map_loss`
    and `perturb`; saved, widths, parameters: of the students' pass, as in `mlp_pair`. Raises
    ValueError for another shape.
    """
    S, B, A = batch.shape
    if (
        student.shape != (S, 2 * B, A)
        or teacher.shape != batch.shape
        or data.shape != (2 * S, B, 1)
    ):
        raise ValueError(f"actions {list(batch.shape)} and {list(student.shape)} do not fit")
    rows, options = chain_options(saved, widths, A, precision, after_loss=True)
    tiles = triton.cdiv(2 * B, rows)

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=batch.device)

    losses, w, embedding = empty(2, S, tiles), empty(S, B), empty(S, 2 * B, widths[1])
    gradient, deltas = torch.empty_like(student), torch.empty_like(saved.hidden)
    with torch.cuda.device(batch.get_device()):
        _actor_kernel[(tiles, S)](
            data, policy, eta, share, student, teacher, batch, drawn.row_fields, drawn.actions, w,
            statistics, losses, gradient, saved.slopes, deltas, parameters, parameters.stride(0),
            embedding, B, V=policy.shape[1] // B, CEILING=math.log(maximum) if maximum else 0.0,
            EPS=eps, BLOCK=min(1024, triton.next_power_of_2(B)),
            BLOCK_A=triton.next_power_of_2(A), **options,
        )  # fmt: skip
    return losses, gradient, deltas, embedding


def actor_gradients(
    parts: Sequence[Piece],
    widths: Sequence[int],
    hidden: Tensor,
    deltas: Tensor,
    gradient: Tensor,
    levels: Tensor,
    embedding: Tensor,
    sizes: tuple[int, int],
    parameters: Tensor,
    results: Tensor,
    precision: str = "fp32",
) -> Tensor:
    """Write a flow map's gradients into results; return partial sums [S, n] of their squares.

    parameters, results: [S, P]; parts, widths, hidden, deltas, gradient: as in
    `write_weight_gradients`; levels: of the students; embedding: gradient of the embedded levels;
    sizes: features and hidden width of the embedding.
    """
    S, features = parameters.shape[0], sizes[0]
    programs = 2 + count_tiles(widths, hidden.shape[0], hidden.shape[3])
    sums = torch.empty((S, programs), dtype=torch.float32, device=hidden.device)
    with torch.cuda.device(hidden.get_device()):
        _gradients_kernel[(programs, S)](
            tuple(parts), hidden, deltas, gradient, levels,
            sine_rates(features, hidden.device), embedding, parameters, parameters.stride(0),
            results, sums, FEATURES=features, HIDDEN=sizes[1], ROWS=ROWS,
            **weight_options(widths, hidden, gradient.shape[2], precision),
        )  # fmt: skip
    return sums
