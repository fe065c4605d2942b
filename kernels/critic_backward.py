"""TD targets, TD loss and deltas of the twin critics in one launch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .mlp import Saved
from .mlp_backward import chain_options, chain_tile
from .td import td_target


@triton.jit(do_not_specialize=["B"])
def _critic_kernel(
    values,  # [2S, B]
    following,  # [S, 2, M B]
    reward,  # [S, B]
    mask,  # [S, B]
    losses,  # [2S, tiles]
    gradient,  # [2S, B]
    slopes, deltas, parameters, stride, B, M: tl.constexpr, DISCOUNT: tl.constexpr,
    K: tl.constexpr, H: tl.constexpr, N: tl.constexpr, DEPTH: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_X: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    tile, g = tl.program_id(0), tl.program_id(1).to(tl.int64)
    row = tile * BLOCK_B + tl.arange(0, BLOCK_B)
    live = row < B
    s = g // 2
    target = td_target(
        following + s * 2 * M * B, reward + s * B, 1, mask + s * B, 1, row, live, B, M, DISCOUNT
    )
    d = tl.load(values + g * B + row, mask=live, other=0.0) - target
    tl.store(losses + g * tl.num_programs(0) + tile, tl.sum(tl.where(live, d * d, 0.0), 0) / B)
    tl.store(gradient + g * B + row, tl.div_rn(2.0, B.to(tl.float32)) * d, mask=live)
    # The chain reads the gradient back from memory, in another layout.
    tl.debug_barrier()
    chain_tile(
        row, live, gradient, slopes, deltas, parameters, stride, B, K, H, N, DEPTH, PRECISION,
        BLOCK_H, BLOCK_N, BLOCK_K,
    )  # fmt: skip


def critic_chain(
    values: Tensor,
    following: Tensor,
    reward: Tensor,
    mask: Tensor,
    discount: float,
    saved: Saved,
    widths: Sequence[int],
    parameters: Tensor,
    precision: str = "fp32",
    small: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (losses [S, n], d loss / d values [2S, B, 1], deltas).

    The loss of a seed, that of `td_loss`, is the sum of its n numbers. values: [2S, B, 1], of twins
    2 s and 2 s + 1; following: [2S, m B, 1], of their target networks at m next actions; reward,
    mask: [S, B]; saved, widths, parameters: of the forward pass, as in `mlp_pair`, small as in
    `tiling.tiles`. Raises ValueError for another shape.
    """
    G, B, _ = values.shape
    S = G // 2
    if following.shape[0] != G or following.shape[1] % B or reward.shape != (S, B):
        raise ValueError(f"values {list(values.shape)} and {list(following.shape)} do not fit")
    rows, options = chain_options(saved, widths, 1, precision, True, small)
    tiles = triton.cdiv(B, rows)
    losses = torch.empty((S, 2 * tiles), dtype=torch.float32, device=values.device)
    gradient, deltas = torch.empty_like(values), torch.empty_like(saved.hidden)
    with torch.cuda.device(values.get_device()):
        _critic_kernel[(tiles, G)](
            values, following, reward.contiguous(), mask.contiguous(), losses, gradient,
            saved.slopes, deltas, parameters, parameters.stride(0), B, M=following.shape[1] // B,
            DISCOUNT=discount, **options,
        )  # fmt: skip
    return losses, gradient, deltas
