"""Forward passes of two independent stacks of MLPs in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import tiling
from .dense import pieces
from .mlp import Saved, empty, forward_tile
from .tiling import tiles


@triton.jit(do_not_specialize=["B", "C"])
def _pair_kernel(
    x, parameters, weights, hidden, slopes, y, B, other_x, other_parameters, other_weights, scratch,
    other, C, stride, weights_stride,
    K: tl.constexpr, H: tl.constexpr, N: tl.constexpr, DEPTH: tl.constexpr, LAYERS: tl.constexpr,
    SAVE: tl.constexpr, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr, BLOCK_B: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    tiles_before = tl.cdiv(B, BLOCK_B)
    if tile < tiles_before:
        forward_tile(
            tile, x, parameters, stride, weights, weights_stride, hidden, slopes, y, B, K, H, N,
            DEPTH, LAYERS, SAVE, ACTIVATION, PRECISION, BLOCK_B, BLOCK_H, BLOCK_N, BLOCK_K,
        )  # fmt: skip
    else:
        forward_tile(
            tile - tiles_before, other_x, other_parameters, stride, other_weights, weights_stride,
            scratch, scratch, other, C,
            K, H, N, DEPTH, min(DEPTH, 2), False, ACTIVATION, PRECISION, BLOCK_B, BLOCK_H, BLOCK_N,
            BLOCK_K,
        )  # fmt: skip


class Pair(NamedTuple):
    """Outputs of two stacks, [G, B, out] and [G, C, out]; saved: of the first."""

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
    small: bool = True,
    copies: tuple[Tensor, Tensor] | None = None,
) -> Pair:
    """Apply two stacks of MLPs with Mish, each to its own inputs, in one launch.

    inputs, other_inputs: pieces as `mlp` takes them, of equal widths; parameters and
    other_parameters: [G, P] of equal stride, weight and bias of each layer one behind another;
    shape: hidden width, number of hidden layers, outputs; save: keep what a backward pass of the
    first stack reads; small: as in `tiling.tiles`; copies: of both parameters by
    `dense.aligned_rows`, whose weights are read instead. Raises ValueError for another shape.
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
        raise ValueError("the parameters of both stacks have to be rows of one stride")
    weights, other_weights = copies or (parameters, other_parameters)
    layers = depth if save else min(2, depth)
    y, other, hidden = empty(x, G, B, N), empty(x, G, C, N), empty(x, layers, G, B, H)
    slopes = empty(x, layers, G, B, H) if save else hidden
    scratch = empty(x, min(2, depth), G, C, H)
    rows, options = tiles(G, B + C, H, precision, x.device, small=small)
    chip, widest = tiling.capability(x.device), options["BLOCK_H"] == 512
    if precision == "tf32" and options["num_warps"] == 4 and options["BLOCK_H"] == 256:
        # With Triton 3.6 a deeper block spills, 32 or 48 bytes; four of these cover L2's latency.
        options |= {"BLOCK_K": 16, "num_stages": 4}
    # By default ptxas spills here rather than take more than 128 registers, or 160.
    if widest and chip >= 120 and precision == "tf32":
        options["maxnreg"] = 255
    elif widest and chip >= 90 and precision == "bf16" and not save:
        options["maxnreg"] = 240
    elif widest and precision == "bf16" and not save:
        # On 8.x no limit serves both Triton 3.6 and 3.9; with three stages neither spills.
        options["num_stages"] = 3
    elif "maxnreg" in options and weights.dtype == torch.bfloat16:
        options |= {"BLOCK_K": 32, "maxnreg": 255}
    with torch.cuda.device(x.get_device()):
        _pair_kernel[(triton.cdiv(B, rows) + triton.cdiv(C, rows), G)](
            parts, parameters, weights, hidden, slopes, y, B, others, other_parameters,
            other_weights, scratch, other, C, parameters.stride(0), weights.stride(0), K=widths,
            H=H, N=N, DEPTH=depth, LAYERS=layers, SAVE=save,
            ACTIVATION="mish", BLOCK_B=rows, BLOCK_N=max(16, triton.next_power_of_2(N)), **options,
        )  # fmt: skip
    return Pair(y, other, Saved(hidden, slopes))
