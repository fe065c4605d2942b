"""Tile sizes of the kernels of dense layers, and their launch options."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton

PRECISIONS = ("fp32", "tf32", "bf16")


class Tiles(NamedTuple):
    """Launch of a kernel over row tiles: rows of a tile, and Triton's meta-parameters."""

    rows: int
    options: dict[str, Any]


def capability(device: torch.device) -> int:
    """Return the compute capability as 90 for 9.0; 90 without a GPU."""
    if device.type != "cuda":
        return 90
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def tiles(
    groups: int,
    rows: int,
    width: int,
    precision: str,
    device: torch.device,
    backward: bool = False,
    small: bool = True,
) -> Tiles:
    """Return tile sizes and launch options for which ptxas spills no register on 9.0.

    Every tile reads all weights at 64 bytes a cycle of its processor. At width 256 that takes 4096
    cycles a layer, longer than the products of 16 rows. So 16 rows, for more tiles at work at once;
    32 once there are more tiles than processors, for half the reads. 64 would spill. Two or three
    blocks of weights in flight, 32 to 64 kB, cover the 600 cycles that an L2 cache takes to answer.
    A block of width 512 is 32 kB by itself: two of them fit every card's shared memory next to a
    tile, and in full float32 there are registers for one. small: 8 rows in full float32 where all
    such tiles are at work at once, as 16 take longer to multiply than weights to arrive.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    block = max(16, triton.next_power_of_2(width))
    on_gpu, major = device.type == "cuda", capability(device) // 10
    processors = torch.cuda.get_device_properties(device).multi_processor_count if on_gpu else 132
    rows_32 = groups * triton.cdiv(rows, 16) > processors and 32 * block <= 8192
    narrow_forward, fp32 = not backward and block < 512, precision == "fp32"
    # 16 x 256 through tensor cores: eight warps get 128 registers a thread, a few too few.
    four_warps = narrow_forward and block == 256 and not fp32 and not rows_32
    # On 12.x four warps would spill; eight do not if ptxas leaves no room for a second tile.
    whole_processor = four_warps and major >= 12
    # The depth of a block that does not spill depends on the precision, as ptxas reports.
    depth_32 = precision == "bf16" or not rows_32 or (not fp32 and major >= 12)
    depth_32 = depth_32 and narrow_forward and not whole_processor
    # Products in full float32 use no tensor core; each of fewer threads would hold too much.
    sixteen_warps = fp32 and not depth_32 and block < 512
    stages = 3 if depth_32 else 4
    if block == 512:
        stages = 1 if fp32 else 2
    elif narrow_forward and rows_32 and not depth_32 and major != 9:
        # In full float32 the products of one block take longer than the next takes to arrive.
        stages = 2 if fp32 else 3
    four_warps = block < 128 or (four_warps and not whole_processor)
    options = {
        "BLOCK_H": block,
        "BLOCK_K": 32 if depth_32 else 16,
        "PRECISION": precision,
        "num_warps": 4 if four_warps else 16 if sixteen_warps else 8,
        "num_stages": stages,
        "enable_fp_fusion": True,
    }
    if whole_processor:
        options["maxnreg"] = 160
    rows_8 = fp32 and (small and groups * triton.cdiv(rows, 8) <= processors and block >= 128)
    rows_8 = (rows_8 and block < 512) or (block == 512 and fp32 and not backward)
    return Tiles(8 if rows_8 else 32 if rows_32 else 16, options)
