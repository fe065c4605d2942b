"""Gradients of the flow map in one launch: its MLP and both clocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import tiling
from .dense import Piece
from .embed import clock_size, embed_gradient, sine_rates
from .mlp_weights import TURN, count_tiles, weight_options, weight_tiles
from .weigh import Weighing, spread_of, weighing_constants, weights_of_seed, write_weights

_CLOCK_ROWS = 32  # in one turn of such a program; 64 would spill on four warps


@triton.jit
def _weigh_losses(row_losses, w, losses, apart, B: tl.constexpr, BLOCK: tl.constexpr):
    """Write a seed's consistency and flow losses, at stride `apart`, of row losses [2, B]."""
    consistency, flow = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    for start in tl.range(0, B, BLOCK):
        row = start + tl.arange(0, BLOCK)
        weight = tl.load(w + row, mask=row < B, other=0.0)
        consistency += weight * tl.load(row_losses + row, mask=row < B, other=0.0)
        flow += weight * tl.load(row_losses + B + row, mask=row < B, other=0.0)
    tl.store(losses, tl.sum(consistency, 0) / B)
    tl.store(losses + apart, tl.sum(flow, 0) / B)


@triton.jit
def _gradients_kernel(
    x, hidden, deltas, gradient,
    weighing,  # what weighs the rows; None: they are weighted
    row_losses,  # [S, B], without weights, or None
    losses,  # [2, S], or None
    levels,  # [S, B, 2]
    rates,
    embedding,  # [S, B, 2 FEATURES]: its gradient
    parameters,  # [S, P]: both clocks, then the MLP
    stride,
    results,  # [S, P]
    parts,  # [S, PARTS, clocks], or None: the clocks' gradients go to the results
    sums,  # [S, programs]
    counter,  # advanced by 1, or None
    V: tl.constexpr, CEILING: tl.constexpr, EPS: tl.constexpr, BLOCK_W: tl.constexpr,
    FEATURES: tl.constexpr, HIDDEN: tl.constexpr, ROWS: tl.constexpr, PARTS: tl.constexpr,
    B: tl.constexpr, K: tl.constexpr, H: tl.constexpr, N: tl.constexpr, DEPTH: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK: tl.constexpr, BLOCK_ROWS: tl.constexpr,
):  # fmt: skip
    clocks: tl.constexpr = 2 * clock_size(FEATURES, HIDDEN)
    batch: tl.constexpr = B // 2
    program, s = tl.program_id(0), tl.program_id(1).to(tl.int64)
    programs, seeds = tl.num_programs(0), tl.num_programs(1)
    # No other program of this launch reads it.
    if counter is not None:
        advances = (program == programs - 1) & (s == 0)
        tl.store(counter, tl.load(counter, mask=advances, other=0) + 1, mask=advances)
    # The last program only adds up the losses.
    last = programs if weighing is None else programs - 1
    if weighing is None:
        w = None
    else:
        w = weighing.w + s * batch
        data, policy = weighing.data + s * 2 * batch, weighing.policy + s * 2 * V * batch
        strength = tl.load(weighing.eta + s)
        mean_q, spread = spread_of(data, policy, batch, V * batch, batch, V, BLOCK_W)
        if program == last:
            weights_of_seed(
                data, policy, batch, V * batch, strength, spread, mean_q, w,
                weighing.statistics + s, seeds, batch, V, CEILING, EPS, BLOCK_W,
            )  # fmt: skip
        else:
            # Every program writes all weights, the same bits: cheaper than a launch of its own.
            write_weights(
                data, policy, batch, V * batch, strength, spread, w, batch, V, CEILING, EPS, BLOCK_W
            )
        tl.debug_barrier()
    squares = tl.zeros((), tl.float32)
    # The clocks go first: their programs take the longest.
    if program < 2 * PARTS:
        clock, part = program % 2, program // 2
        if parts is None:
            squares = embed_gradient(
                clock, part, s, levels, rates, embedding, w, parameters + s * stride,
                results + s * stride, B, FEATURES, HIDDEN, ROWS, PARTS,
            )  # fmt: skip
        else:
            # The step adds the parts up, and their squares.
            embed_gradient(
                clock, part, s, levels, rates, embedding, w, parameters + s * stride,
                parts + (s * PARTS + part) * clocks, B, FEATURES, HIDDEN, ROWS, PARTS,
            )  # fmt: skip
    elif program < last:
        squares = weight_tiles(
            program - 2 * PARTS, x, hidden, deltas, gradient, w, results + clocks, stride, B, K, H,
            N, DEPTH, PRECISION, BLOCK, BLOCK_ROWS,
        )  # fmt: skip
    else:
        if weighing is not None:
            _weigh_losses(row_losses + s * B, w, losses + s, seeds, batch, BLOCK_W)
    tl.store(sums + s * programs + program, squares)


def actor_gradients(
    inputs: Sequence[Piece],
    widths: Sequence[int],
    hidden: Tensor,
    deltas: Tensor,
    gradient: Tensor,
    levels: Tensor,
    embedding: Tensor,
    sizes: tuple[int, int],
    parameters: Tensor,
    results: Tensor,
    weighing: Weighing | None,
    row_losses: Tensor,
    maximum: float | None = 100.0,
    eps: float = 1e-6,
    precision: str = "fp32",
    clock_parts: int = 1,
    turn: int = TURN,
    counter: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Write a flow map's gradients into results; return (sums, parts, losses).

    sums: [S, n], partial sums of the squares of what is written. parts: [S, clock_parts, m], whose
    sums over clock_parts are the clocks' gradients, the first m numbers of a seed, not written, as
    `take_step` takes them; None for one part. losses: [2, S, 1], as `take_step` takes them.

    parameters, results: [S, P]; inputs: the pieces, with widths, hidden, deltas, gradient as in
    `write_weight_gradients`; levels: of the students; embedding: gradient of the embedded levels;
    sizes: features and hidden width of the embedding. weighing, row_losses: of `actor_chain`
    without weights, which are computed and applied here; weighing None: `row_losses` are the losses
    that it returned with weights, and are returned. turn: as in `weight_gradients`. counter: a 0-d
    integer tensor, incremented for a `take_step` that adds the metrics up.
    Raises ValueError for a counter that is no tensor.
    """
    if not isinstance(counter, Tensor | None):
        raise ValueError(f"a launch can only advance a counter that is a tensor, not {counter!r}")
    S, features = parameters.shape[0], sizes[0]
    programs = 2 * clock_parts + count_tiles(widths, hidden.shape[0], hidden.shape[3])
    programs += weighing is not None

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=hidden.device)

    sums, losses = empty(S, programs), row_losses if weighing is None else empty(2, S, 1)
    clocks = 2 * (2 * features * sizes[1] + features + sizes[1])
    parts = empty(S, clock_parts, clocks) if clock_parts > 1 else None
    unweighted = (None, None) if weighing is None else (row_losses, losses)
    options = weight_options(widths, hidden, gradient.shape[2], precision, turn)
    chip = tiling.capability(hidden.device)
    if precision == "fp32" and chip // 10 != 9:
        # By default ptxas of Triton 3.6 spills rather than take more than 128 registers. On 8.0
        # these kernels need no more, so that a processor's 64k hold two blocks of eight warps.
        small = chip == 80 and weighing is not None and options["H"] <= 256
        options["maxnreg"] = 128 if small else 255
    elif precision == "tf32" and chip < 90 and options["H"] > 256:
        # By default ptxas spills rather than take more than 168.
        options["maxnreg"] = 255
    with torch.cuda.device(hidden.get_device()):
        _gradients_kernel[(programs, S)](
            tuple(inputs), hidden, deltas, gradient, weighing, *unweighted, levels,
            sine_rates(features, hidden.device), embedding, parameters, parameters.stride(0),
            results, parts, sums, counter, **weighing_constants(weighing, maximum, eps),
            FEATURES=features, HIDDEN=sizes[1], ROWS=_CLOCK_ROWS, PARTS=clock_parts, **options,
        )  # fmt: skip
    return sums, parts, losses
