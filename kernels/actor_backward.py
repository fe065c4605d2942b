"""Backward pass of the flow map from its losses on: advantage weights, losses and deltas in one
launch, all gradients in another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .dense import Piece
from .embed import ROWS, embed_gradient, sine_rates
from .loss import loss_tile
from .mlp import Saved
from .mlp_backward import chain_options, chain_tile
from .mlp_weights import count_tiles, weight_options, weight_tiles
from .perturb import Perturbed
from .weigh import spread_of, weight_at, weights_of_seed


@triton.jit(do_not_specialize=["B"])
def _actor_kernel(
    data,  # [2S, B]: values of the data's actions
    policy,  # [2S, V B]: of policy actions
    eta,  # [S]
    share,  # [S]: of the flow loss
    student,  # [S, 2B, A]
    teacher,  # [S, B, A]
    batch,  # [S, B, A]: the actions
    row_fields,  # [11, S, B]: t, u, tau, r_t, q_t, r_u, q_u, skip_t, out_t, skip_u, out_u
    actions,  # [3, S, B, A]: z, a_t, a_u
    w,  # [S, B]
    statistics,  # [4, S]
    losses,  # [2, S, tiles]
    gradient,  # [S, 2B, A]
    slopes, deltas, parameters, stride,
    embedding,  # [S, 2B, K1]: its gradient
    B, V: tl.constexpr, CEILING: tl.constexpr, EPS: tl.constexpr, BLOCK: tl.constexpr,
    BLOCK_A: tl.constexpr,
    K0: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, H: tl.constexpr, N: tl.constexpr,
    DEPTH: tl.constexpr, PRECISION: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_H: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_X: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    tile, s, seeds = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.num_programs(1)
    row = tile * BLOCK_B + tl.arange(0, BLOCK_B)
    live = row < 2 * B
    # Every tile finds the spread over the whole batch anew, which is cheaper than a launch for it.
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
        batch + at, actions + plane * N + at, actions + 2 * plane * N + at, fields + 4 * plane,
        fields + 6 * plane, fields + 7 * plane, fields + 8 * plane, fields + 9 * plane,
        fields + 10 * plane, gradient + 2 * at, B, N, BLOCK_A,
    )  # fmt: skip
    tiles = tl.num_programs(0)
    tl.store(losses + s * tiles + tile, tl.sum(first, 0) / B)
    tl.store(losses + (seeds + s) * tiles + tile, tl.sum(second, 0) / B)
    # The chain reads the gradient back from memory, in another layout.
    tl.debug_barrier()
    chain_tile(
        row, live, gradient, slopes, deltas, parameters, stride, deltas, embedding, deltas, 2 * B,
        K0, K1, K2, False, True, False, H, N, DEPTH, PRECISION, BLOCK_H, BLOCK_N, BLOCK_X, BLOCK_K,
    )  # fmt: skip


@triton.jit(do_not_specialize=["rows0", "rows1", "rows2"])
def _gradients_kernel(
    x0, share0, group0, rows0, row0, x1, share1, group1, rows1, row1,
    x2, share2, group2, rows2, row2, hidden, deltas, gradient,
    levels,  # [S, B, 2]
    rates,
    embedding,  # [S, B, 2 FEATURES]: its gradient
    parameters,  # [S, P]: both clocks, then the MLP
    stride,
    results,  # [S, P]
    sums,  # [S, tiles + 2]
    FEATURES: tl.constexpr, HIDDEN: tl.constexpr, ROWS: tl.constexpr,
    B: tl.constexpr, K0: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, H: tl.constexpr,
    N: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr, BLOCK: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
):  # fmt: skip
    clocks: tl.constexpr = 2 * (2 * FEATURES * HIDDEN + HIDDEN + FEATURES)
    program, s = tl.program_id(0), tl.program_id(1).to(tl.int64)
    # The clocks go first: a program walks all rows of a seed for each and takes the longest.
    if program < 2:
        squares = embed_gradient(
            program, s, levels, rates, embedding, parameters + s * stride, results + s * stride, B,
            FEATURES, HIDDEN, ROWS,
        )  # fmt: skip
    else:
        squares = weight_tiles(
            program - 2, x0, share0, group0, rows0, row0, x1, share1, group1, rows1, row1,
            x2, share2, group2, rows2, row2, hidden, deltas, gradient, results + clocks, stride,
            B, K0, K1, K2, H, N, DEPTH, PRECISION, BLOCK, BLOCK_ROWS,
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
    """Return (losses [2, S, n], whose sums are `flow_map_loss`'s two losses; d (consistency + share
    flow) / d student [S, 2B, A]; deltas; the gradient of the embedded times [S, 2B, .]).

    data, policy: [2S, B, 1] and [2S, v B, 1], Q of both twins at the data's actions and at policy
    actions, from which the weights follow as in `weigh`, whose four statistics are written
    into statistics [4, S]; eta, share: [S]; student, teacher, batch, drawn: as `flow_map_loss` and
    `perturb` have them; saved, widths, parameters: of the students' pass, as `mlp_pair` has them.
    Raises ValueError when a shape is not of these.
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
    """Write the gradients of a flow map's parameters [S, P] into results; return sums [S, n] of
    their squares.

    parts, widths, hidden, deltas, gradient: as `write_weight_gradients` has them; levels,
    embedding: of the students and its gradient; sizes: of the embedding, as `fold` has them.
    """
    S, features = parameters.shape[0], sizes[0]
    programs = 2 + count_tiles(widths, hidden.shape[0], hidden.shape[3])
    sums = torch.empty((S, programs), dtype=torch.float32, device=hidden.device)
    with torch.cuda.device(hidden.get_device()):
        _gradients_kernel[(programs, S)](
            *parts[0], *parts[1], *parts[2], hidden, deltas, gradient, levels,
            sine_rates(features, hidden.device), embedding, parameters, parameters.stride(0),
            results, sums, FEATURES=features, HIDDEN=sizes[1], ROWS=ROWS,
            **weight_options(widths, hidden, gradient.shape[2], precision),
        )  # fmt: skip
    return sums
