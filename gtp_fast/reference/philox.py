"""Counter-based random numbers.

Every draw is philox4x32_10(key=seed, counter=(step, stream, row, column)). This is the definition,
in plain torch integer operations. Triton, C++ and CUDA hold bit-equal twins of the integers;
normals agree within float rounding. The state of the generator is the step number and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import cast

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


class Stream(IntEnum):
    """Purpose of a draw; two streams never share a counter."""

    BATCH = 0
    TIME = 1
    NOISE = 2
    TARGET = 3
    VALUE = 4
    INIT = 5
    ACT = 6
    COLLECT = 7
    CLONE_TIME = 8
    CLONE_NOISE = 9
    GUIDANCE = 10
    TWIN = 11
    FLOW_TIME = 12
    FLOW_NOISE = 13
    ONE_STEP = 14
    SUPPORT = 15
    FOURIER = 16
    HEALTH_ROWS = 17
    HEALTH_VALUE = 18
    HEALTH_ACTION = 19


def key_tensor(seeds: Sequence[int] | Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Return seeds as the [S] int64 tensor (bit pattern of uint64) that every draw takes."""
    if isinstance(seeds, Tensor):
        return seeds.to(device=device, dtype=torch.int64)
    wrapped = [(int(s) + 2**63) % 2**64 - 2**63 for s in seeds]
    return torch.tensor(wrapped, dtype=torch.int64, device=device)


def philox4x32_10(counter: Sequence[int | Tensor], key: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Ten rounds of Philox4x32 (Salmon et al. 2011) on int64 tensors that hold uint32 values.

    counter: four broadcastable tensors or integers; key: two tensors. Returns four tensors of
    uint32 values.
    """
    c0, c1, c2, c3 = cast(tuple[Tensor, ...], tuple(counter))
    k0, k1 = key
    for _ in range(_ROUNDS):
        # A wrapped int64 product still holds the right 64 bits; the masks undo the sign extension.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        high0, high1 = (p0 >> 32) & _MASK, (p1 >> 32) & _MASK
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, p1 & _MASK, high0 ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _KEY_STEPS[0]) & _MASK, (k1 + _KEY_STEPS[1]) & _MASK
    return c0, c1, c2, c3


def words(
    keys: Tensor, step: int | Tensor, stream: int, rows: int | Tensor, columns: int
) -> tuple[Tensor, ...]:
    """Draw four words for every (seed, row, column).

    Return four tensors of uint32 values, [S, rows, columns]. keys: [S] int64; rows: how many, or
    the row numbers themselves [R].
    """
    device = keys.device
    row = rows if isinstance(rows, Tensor) else torch.arange(rows, device=device)
    # Integers stay integers: as tensors they would be copied to the device at every draw.
    counter = (
        step & _MASK,
        int(stream),
        row.to(torch.int64)[None, :, None],
        torch.arange(columns, device=device)[None, None, :],
    )
    key = ((keys & _MASK)[:, None, None], ((keys >> 32) & _MASK)[:, None, None])
    return philox4x32_10(counter, key)


def multiply_high(word: Tensor, bound: int | Tensor) -> Tensor:
    """Map uint32 words to integers 0..bound-1 by (word * bound) >> 32; bound below 2^31."""
    return (word * bound) >> 32


def integers(keys: Tensor, step: int | Tensor, stream: int, rows: int, bound: int) -> Tensor:
    """Draw [S, rows] integers in 0..bound-1."""
    return multiply_high(words(keys, step, stream, rows, 1)[0][..., 0], bound)


def lots(keys: Tensor, step: int | Tensor, stream: int, rows: int, table: Tensor) -> Tensor:
    """Draw [S, rows] integers in the shares of an alias table [N].

    The first word chooses an entry, the second between its own number and the other one
    (`reference.alias_table`).
    """
    first, second, _, _ = (word[..., 0] for word in words(keys, step, stream, rows, 1))
    own = multiply_high(first, len(table))
    entry = table[own]
    return torch.where(second <= (entry >> 32) & 0xFFFFFFFF, own, entry & 0xFFFFFFFF)


def normals(
    keys: Tensor,
    step: int | Tensor,
    stream: int,
    rows: int | Tensor,
    columns: int,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draw standard normals [S, rows, columns] by Box-Muller; element j has column j // 4."""
    blocks = -(-columns // 4)
    w = words(keys, step, stream, rows, blocks)
    parts = []
    for radius_word, angle_word in ((w[0], w[1]), (w[2], w[3])):
        # 24 bits fit a float32 exactly, so every backend starts from the same numbers.
        radius = torch.sqrt(-2.0 * torch.log(((radius_word >> 8) + 1).to(dtype) * 2.0**-24))
        angle = (angle_word >> 8).to(dtype) * (2.0**-24 * 2.0 * math.pi)
        parts += [radius * torch.cos(angle), radius * torch.sin(angle)]
    return torch.stack(parts, -1).flatten(-2)[..., :columns].contiguous()
