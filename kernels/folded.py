"""The layout of a folded policy, and the copy of its layers."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import triton
import triton.language as tl


@triton.jit
def copy_layers(
    i, s, seeds, average, flat, start, A: tl.constexpr, O: tl.constexpr,  # noqa: E741
    H: tl.constexpr, DEPTH: tl.constexpr, CLOCKS: tl.constexpr, WIDTH: tl.constexpr,
    ACTION: tl.constexpr,
):  # fmt: skip
    """Copy numbers i of a seed's MLP to their places in the folded policy.

    All but what the step biases contain. CLOCKS: inputs of the first layer between the action and
    the observation.
    """
    inputs: tl.constexpr = A + CLOCKS + O
    hidden: tl.constexpr = (DEPTH - 1) * (H + 1) * H
    middle: tl.constexpr = (inputs + 1) * H
    last: tl.constexpr = middle + hidden
    x = tl.load(average + i, mask=i < last + (H + 1) * A, other=0.0)

    r, c = i // H, i % H
    tl.store(flat + (s * A + r) * WIDTH + c, x, mask=r < A)
    r -= A + CLOCKS
    tl.store(flat + start.observation + (s * O + r) * WIDTH + c, x, mask=(r >= 0) & (r < O))

    j = i - middle
    between = (j >= 0) & (j < hidden)
    layer, e = j // ((H + 1) * H), j % ((H + 1) * H)
    r, c = e // H, e % H
    at = start.hidden + ((layer * seeds + s) * H + r) * WIDTH + c
    tl.store(flat + at, x, mask=between & (r < H))
    bias = start.bias + (layer * seeds + s) * WIDTH + c
    tl.store(flat + bias, x, mask=between & (r == H))

    j = i - last
    r, c = j // A, j % A
    tl.store(flat + start.last + (s * H + r) * ACTION + c, x, mask=(j >= 0) & (r < H))
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
