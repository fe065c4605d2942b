"""Forward passes of two stacks of MLPs that need nothing of each other, in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import dense
from .dense import pieces, tiles
from .mlp import Saved, empty, forward_tile


@triton.jit(do_not_specialize=["B", "C", *(f"{p}{i}" for p in ("rows", "lines") for i in range(3))])
def _pair_kernel(
    x0, share0, group0, rows0, row0, x1, share1, group1, rows1, row1,
    x2, share2, group2, rows2, row2, parameters, stride, hidden, slopes, y, B,
    u0, part0, set0, lines0, line0, u1, part1, set1, lines1, line1,
    u2, part2, set2, lines2, line2, others, scratch, v, C,
    K0: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, H: tl.constexpr, N: tl.constexpr,
    DEPTH: tl.constexpr, LAYERS: tl.constexpr, SAVE: tl.constexpr, ACTIVATION: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    tiles_before = tl.cdiv(B, BLOCK_B)
    if tile < tiles_before:
        forward_tile(
            tile, x0, share0, group0, rows0, row0, x1, share1, group1, rows1, row1,
            x2, share2, group2, rows2, row2, parameters, stride, hidden, slopes, y, B,
            K0, K1, K2, H, N, DEPTH, LAYERS, SAVE, ACTIVATION, PRECISION,
            BLOCK_B, BLOCK_H, BLOCK_N, BLOCK_K,
        )  # fmt: skip
    else:
        forward_tile(
            tile - tiles_before, u0, part0, set0, lines0, line0, u1, part1, set1, lines1, line1,
            u2, part2, set2, lines2, line2, others, stride, scratch, scratch, v, C,
            K0, K1, K2, H, N, DEPTH, min(DEPTH, 2), False, ACTIVATION, PRECISION,
            BLOCK_B, BLOCK_H, BLOCK_N, BLOCK_K,
        )  # fmt: skip


class Pair(NamedTuple):
    """Outputs of two stacks [G, B, out] and [G, C, out], and what was saved of the first."""

    y: Tensor
    other: Tensor
    saved: Saved


def mlp_pair(
    inputs: Sequence[Tensor],
    other_inputs: Sequence[Tensor],
    parameters: Tensor,
    other_parameters: Tensor,
    shape: tuple[int, int, int],
    precision: str = "fp32",
    save: bool = True,
) -> Pair:
    """Apply two stacks of MLPs with Mish to inputs of their own, in one launch.

    inputs, other_inputs: pieces as `mlp` takes them, of equal widths; parameters and
    other_parameters: [G, P] of equal stride, weight and bias of each layer one behind another;
    shape: hidden width, number of hidden layers, outputs; save: what a backward pass of the first
    stack reads. Raises ValueError when a shape is not of these.
    """
    H, depth, N = shape
    G, x = parameters.shape[0], inputs[0]
    parts, B, widths = pieces(inputs, G)
    others, C, other_widths = pieces(other_inputs, G)
    size = (sum(widths) + 1) * H + (depth - 1) * (H + 1) * H + (H + 1) * N
    if widths != other_widths or not parameters.shape == other_parameters.shape == (G, size):
        raise ValueError(
            f"two stacks of widths {widths} and {other_widths} need [{G}, {size}] parameters each, "
            f"not {list(parameters.shape)} and {list(other_parameters.shape)}"
        )
    if not parameters.stride() == other_parameters.stride() == (parameters.stride(0), 1):
        raise ValueError("the parameters of both stacks have to be rows an equal distance apart")
    layers = depth if save else min(2, depth)
    y, other, hidden = empty(x, G, B, N), empty(x, G, C, N), empty(x, layers, G, B, H)
    slopes = empty(x, layers, G, B, H) if save else hidden
    scratch = empty(x, min(2, depth), G, C, H)
    rows, options = tiles(G, B + C, H, precision, x.device)
    wide = options["BLOCK_H"] == 512 and dense.capability(x.device) >= 90
    if wide and precision == "bf16" and not save:
        # Left alone, ptxas would spill rather than take more than 128 registers.
        options["maxnreg"] = 240
    with torch.cuda.device(x.get_device()):
        _pair_kernel[(triton.cdiv(B, rows) + triton.cdiv(C, rows), G)](
            *parts[0], *parts[1], *parts[2], parameters, parameters.stride(0),
            hidden, slopes, y, B, *others[0], *others[1], *others[2], other_parameters,
            scratch, other, C, K0=widths[0], K1=widths[1], K2=widths[2], H=H, N=N, DEPTH=depth,
            LAYERS=layers, SAVE=save, ACTIVATION="mish", BLOCK_B=rows,
            BLOCK_N=max(16, triton.next_power_of_2(N)), **options,
        )  # fmt: skip
    return Pair(y, other, Saved(hidden, slopes))
