"""The layouts of a folded policy, and the copy of its layers.

The sampler's kernels read rows; those for tensor cores read units (csrc/cuda/units.hpp).
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from .dense import to_bf16, to_tf32


@triton.constexpr_function
def unit_rows(inputs, pack):
    """Return the rows of units of a layer of so many inputs; pack: numbers in a word."""
    return (inputs + 16 * pack - 1) // (16 * pack)


@triton.jit
def _store_unit(units, row, k, column, weight, mask, GROUPS: tl.constexpr, PACK: tl.constexpr):
    """Store weights of inputs k in units, behind `row` rows of them."""
    word = k // PACK
    place = ((row + word // 16) * GROUPS + column // 8) * 128
    place += 16 * (column % 8) + 4 * (word % 4) + word % 16 // 4
    tl.store(units + place * PACK + k % PACK, weight, mask=mask)


@triton.jit
def copy_layers(
    i, s, seeds, average, flat, start, units, A: tl.constexpr, O: tl.constexpr,  # noqa: E741
    H: tl.constexpr, DEPTH: tl.constexpr, CLOCKS: tl.constexpr, WIDTH: tl.constexpr,
    ACTION: tl.constexpr, GROUPS: tl.constexpr, PACK: tl.constexpr,
):  # fmt: skip
    """Copy numbers i of a seed's MLP to their places in the folded policy and in units.

    All but what the step biases contain. CLOCKS: inputs of the first layer between the action and
    the observation. units: None for no such copy; GROUPS: units in a row, PACK: numbers in a word
    of them.
    """
    inputs: tl.constexpr = A + CLOCKS + O
    hidden: tl.constexpr = (DEPTH - 1) * (H + 1) * H
    middle: tl.constexpr = (inputs + 1) * H
    last: tl.constexpr = middle + hidden
    x = tl.load(average + i, mask=i < last + (H + 1) * A, other=0.0)
    first_rows: tl.constexpr = unit_rows(A + O, PACK)
    rows: tl.constexpr = unit_rows(H, PACK)
    before: tl.constexpr = first_rows + (DEPTH - 1) * rows
    across: tl.constexpr = (A + 7) // 8
    if units is not None:
        units += s * (before * GROUPS + rows * across) * 128 * PACK
        weight = to_bf16(x) if PACK == 2 else to_tf32(x)

    r, c = i // H, i % H
    tl.store(flat + (s * A + r) * WIDTH + c, x, mask=r < A)
    if units is not None:
        _store_unit(units, 0, r, c, weight, r < A, GROUPS, PACK)
    r -= A + CLOCKS
    observed = (r >= 0) & (r < O)
    tl.store(flat + start.observation + (s * O + r) * WIDTH + c, x, mask=observed)
    if units is not None:
        _store_unit(units, 0, A + r, c, weight, observed, GROUPS, PACK)

    j = i - middle
    between = (j >= 0) & (j < hidden)
    layer, e = j // ((H + 1) * H), j % ((H + 1) * H)
    r, c = e // H, e % H
    at = start.hidden + ((layer * seeds + s) * H + r) * WIDTH + c
    tl.store(flat + at, x, mask=between & (r < H))
    if units is not None:
        row = first_rows + layer * rows
        _store_unit(units, row, r, c, weight, between & (r < H), GROUPS, PACK)
    bias = start.bias + (layer * seeds + s) * WIDTH + c
    tl.store(flat + bias, x, mask=between & (r == H))

    j = i - last
    r, c = j // A, j % A
    tl.store(flat + start.last + (s * H + r) * ACTION + c, x, mask=(j >= 0) & (r < H))
    if units is not None:
        end = units + before * GROUPS * 128 * PACK
        _store_unit(end, 0, r, c, weight, (j >= 0) & (r < H), across, PACK)
    tl.store(flat + start.last_bias + s * ACTION + c, x, mask=(j >= 0) & (r == H))


class Start(NamedTuple):
    """Start of each part of a folded policy, after the action's weights."""

    observation: int
    step_bias: int
    hidden: int
    bias: int
    last: int
    last_bias: int
    end: int


def starts(
    seeds: int, sizes: tuple[int, int, int, int], steps: int, padded: tuple[int, int]
) -> Start:
    """Return where the parts of a folded policy start; arguments as in `fold`, `steps`: K."""
    O, A, H, depth = sizes  # noqa: E741
    width, action = padded
    lengths = (
        A * width, O * width, steps * width, (depth - 1) * H * width, (depth - 1) * width,
        H * action, action,
    )  # fmt: skip
    return Start(*itertools.accumulate(seeds * length for length in lengths))


class Units(NamedTuple):
    """Layout of weights for tensor cores, after that of csrc/cuda/units.hpp."""

    groups: int
    """Units in a row."""
    pack: int
    """Numbers in a word."""
    count: int
    """Numbers of all seeds."""


def units_of(seeds: int, sizes: tuple[int, int, int, int], dtype: torch.dtype) -> Units:
    """Return the layout for weights in bfloat16 or in tf32, as float32; sizes: as in `fold`."""
    O, A, H, depth = sizes  # noqa: E741
    pack = 2 if dtype == torch.bfloat16 else 1
    groups = max(128, triton.next_power_of_2(H)) // 8
    rows = unit_rows(H, pack)
    units = (unit_rows(A + O, pack) + (depth - 1) * rows) * groups + rows * -(-A // 8)
    return Units(groups, pack, seeds * units * 128 * pack)
