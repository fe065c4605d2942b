"""What a launch of each kernel of GTP's update reads, writes, computes and waits for on an H100."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from nodes import Node
from torch import Tensor

from benchmarks.h100 import (
    ACTIVATION,
    BARRIER,
    DRAW,
    FP32,
    HBM_LATENCY,
    L2_CLOCK,
    L2_LATENCY,
    PIPE,
    REDUCED,
    REDUCTION,
    ROUND,
    SECTOR,
    SMALL,
    TENSOR,
    Cost,
    Design,
)


def size(*tensors: Tensor | None) -> float:
    """Return the bytes of tensors."""
    return float(sum(x.numel() * x.element_size() for x in tensors if x is not None))


def _product(
    cost: Cost, a: Mapping[str, Any], rows: int, depth: int, columns: int,
    block: int = 0,
) -> None:  # fmt: skip
    """Add a tile [rows, depth] @ [depth, columns], its weights copied from L2 in blocks."""
    block = block or a["BLOCK_K"]
    weights = a.get("weights", a["parameters"])
    rounded = weights.dtype == torch.bfloat16
    # Copies of 16 bytes need rows that Triton knows to be aligned.
    weight, copy = (2 if rounded else 4), (16 if weights.stride(0) % 16 == 0 else 4)
    moved = block * (weight * columns + 4 * rows)
    full = a["PRECISION"] == "fp32"
    # A copy instruction serves a warp. Fragments of float32 weights meet in the banks, two by two.
    pipe = moved / (32 * copy) + moved / PIPE * (2 if full or rounded else 3)
    products = rows * block * columns / (FP32 if full else TENSOR)
    arrives = L2_LATENCY / max(1, a["num_stages"] - 1)
    turn = max(moved / L2_CLOCK, pipe, products, arrives) + ROUND
    cost.wait()
    cost.clocks += -(-depth // block) * turn
    cost.read += cost.blocks * depth * (weight * columns + 4 * rows)


def _parameters(a: Mapping[str, Any]) -> int:
    width, depth = a["H"], a["DEPTH"]
    return int((sum(a["K"]) + (depth - 1) * width + a["N"]) * width)


def _pair(node: Node, design: Design) -> Cost:
    a, cost = node.given, Cost(math.prod(node.grid))
    rows, width = a["BLOCK_B"], a["H"]
    for depth in (*a["K"], *[width] * (a["DEPTH"] - 1)):
        _product(cost, a, rows, depth, width)
    _product(cost, a, rows, width, a["BLOCK_N"])
    cost.wait(BARRIER, a["DEPTH"])
    cost.clocks += a["DEPTH"] * rows * width * ACTIVATION
    count = (a["B"] + a["C"]) * node.grid[1]
    cost.flops = 2.0 * count * _parameters(a)
    saved = size(a["hidden"]) + (size(a["slopes"]) if a["SAVE"] else 0.0)
    cost.written = saved + 4.0 * a["C"] * node.grid[1] * width * a["DEPTH"] + 4.0 * count * a["N"]
    return cost


def _chain(node: Node, design: Design) -> Cost:
    """A loss, then the deltas back through all layers."""
    a, cost = node.given, Cost(math.prod(node.grid))
    rows, width = a["BLOCK_B"], a["H"]
    cost.wait(BARRIER)
    _product(cost, a, rows, a["N"], width, a["BLOCK_N"])
    for _ in range(a["DEPTH"] - 1):
        _product(cost, a, rows, width, width)
    # The slopes of each layer, then its deltas, which all threads write before any reads.
    cost.wait(L2_LATENCY, a["DEPTH"])
    cost.wait(BARRIER, a["DEPTH"])
    count = rows * cost.blocks
    cost.flops = 2.0 * count * (_parameters(a) - sum(a["K"]) * width)
    cost.written = size(a["deltas"], a["gradient"])
    cost.read += size(a["slopes"])
    return cost


def _critic(node: Node, design: Design) -> Cost:
    cost = _chain(node, design)
    cost.wait()
    cost.wait(REDUCTION)
    return cost


def _actor(node: Node, design: Design) -> Cost:
    a, cost = node.given, _chain(node, design)
    # The losses, with what weighs them or without.
    cost.wait(L2_LATENCY)
    cost.wait(REDUCTION)
    _weigh(cost, a)
    for _ in range(0, a["K"][1], a["BLOCK_X"]):
        _product(cost, a, a["BLOCK_B"], a["H"], a["BLOCK_X"])
    cost.flops += 2.0 * a["BLOCK_B"] * cost.blocks * a["K"][1] * a["H"]
    cost.written += size(a["embedding"])
    return cost


def _weigh(cost: Cost, a: Mapping[str, Any]) -> None:
    """Add mean and deviation of the advantage, the weights, and that all threads see them."""
    if a["weighing"] is not None:
        cost.wait(L2_LATENCY, 4)
        cost.wait(REDUCTION, 3)
        cost.wait(BARRIER)


def _weights(node: Node, design: Design) -> Cost:
    a, cost = node.given, Cost(math.prod(node.grid))
    rows, tile, full = a["BLOCK_ROWS"], a["BLOCK"], a["PRECISION"] == "fp32"
    products = rows * tile * tile / (FP32 if full else TENSOR)
    moved = 4 * 2 * rows * tile
    pipe = moved / (32 * 16) + moved / PIPE * (2 if full else 3)
    cost.clocks = -(-a["B"] // rows) * max(REDUCED, products, pipe, moved / L2_CLOCK)
    cost.wait(L2_LATENCY, 2)
    cost.wait(REDUCTION)
    cost.read = 8.0 * cost.blocks * a["B"] * tile
    cost.written = 4.0 * _parameters(a) * node.grid[1]
    cost.flops = 2.0 * a["B"] * _parameters(a) * node.grid[1]
    return cost


def _gradients(node: Node, design: Design) -> Cost:
    a, cost = node.given, _weights(node, design)
    cost.read -= 8.0 * 2 * a["PARTS"] * node.grid[1] * a["B"] * a["BLOCK"]
    cost.read += size(a["embedding"], a["levels"])
    products = 4 * a["FEATURES"] * a["HIDDEN"]
    rows = -(-a["B"] // (a["ROWS"] * a["PARTS"])) * a["ROWS"]
    cost.clocks = max(cost.clocks, rows * products / SMALL)
    cost.flops += 4.0 * a["B"] * products * node.grid[1]
    cost.written += size(a["parts"])
    _weigh(cost, a)
    return cost


def _batch(node: Node, design: Design) -> Cost:
    a, cost = node.given, Cost(math.prod(node.grid))
    # The counter, a row of the table, the same row's action, the nodes; the searches before them.
    cost.wait(L2_LATENCY, 3 + (a["lots"] is not None) + (a["STEPS"] if a["cdf"] is not None else 0))
    cost.wait(HBM_LATENCY)
    cost.wait(DRAW, 3 + a["M"] + a["V"])
    inputs = {"table", "lots", "nodes", "cdf", "num_nodes", "seeds", "step"}
    outputs = [x for name, x in a.items() if isinstance(x, Tensor) and name not in inputs]
    cost.read, cost.written = 4.0 * a["B"] * a["table"].shape[1] * node.grid[1], size(*outputs)
    return cost


def _fold(node: Node, design: Design) -> Cost:
    a, cost = node.given, Cost(math.prod(node.grid))
    # A step's bias takes one clock after the other: its level, two layers, the policy's first.
    cost.wait(L2_LATENCY, 2 * 4)
    cost.wait(BARRIER, 2 * 3)
    both = 2 * a["FEATURES"] * a["HIDDEN"]
    cost.clocks = 2 * a["BLOCK_K"] * (both + a["FEATURES"] * a["COLUMNS"]) / SMALL
    cost.flops = 2.0 * (3 * a["B"] + a["BIASES"] * a["K"]) * 2 * both * node.grid[1]
    cost.written = size(a["flat"], a["student"], a["teacher"])
    if a["units"] is not None:
        # The columns of one input, which a warp stores at once, lie 64 bytes apart.
        weights = (2 * a["A"] + a["O"] + (a["DEPTH"] - 1) * a["H"]) * a["H"]
        cost.written += SECTOR * weights * node.grid[1]
    cost.read = size(a["average"]) + 4.0 * 2 * both * cost.blocks
    return cost


def _begin(node: Node, design: Design) -> Cost:
    # Programs of both are at work at once; to draw a row's times again, a block of levels needs the
    # counter, a search and the nodes, and then no more than one clock.
    batch, fold = _batch(node, design), _fold(node, design)
    longer = max(batch, fold, key=lambda x: x.latency + x.clocks)
    both = (batch.read + fold.read, batch.written + fold.written, batch.flops + fold.flops)
    return Cost(math.prod(node.grid), *both, longer.steps, longer.latency, longer.clocks)


def _step(node: Node, design: Design) -> Cost:
    # The sums of squares, each loss, then the parameters.
    a, cost = node.given, Cost(math.prod(node.grid))
    cost.wait(L2_LATENCY, 2 + a["TERMS"])
    cost.wait(REDUCTION, 1 + a["TERMS"])
    buffers = [a[x] for x in ("parameter", "gradient", "first", "second", "average")]
    cost.read = size(*buffers) + cost.blocks * size(a["sums"][:1], a["losses"][:, :1])
    cost.written, cost.flops = size(*buffers) * 4 / 5, 15.0 * buffers[0].numel()
    cost.written += size(a["copied"], a["copied_average"])
    if a["parts"] is not None:
        # Every block sums and squares all parts, some write the sums and read them again.
        cost.wait(L2_LATENCY, 2)
        cost.wait(REDUCTION)
        cost.read += cost.blocks * size(a["parts"][:1])
    return cost


def _tally(node: Node, design: Design) -> Cost:
    a, cost = node.given, Cost(1)
    cost.wait(L2_LATENCY, 2)
    cost.wait(BARRIER)
    cost.read, cost.written = 2 * size(a["metrics"], a["bad_step"]), size(a["metrics"])
    return cost


TRITON: dict[str, Callable[[Node, Design], Cost]] = {
    "begin._begin_kernel": _begin, "batch._batch_kernel": _batch, "fold._fold_kernel": _fold,
    "mlp_pair._pair_kernel": _pair,
    "critic_backward._critic_kernel": _critic, "mlp_weights._weights_kernel": _weights,
    "step._step_kernel": _step, "actor_backward._actor_kernel": _actor,
    "actor_gradients._gradients_kernel": _gradients, "tally._tally_kernel": _tally,
}  # fmt: skip


def triton_cost(node: Node, design: Design) -> Cost:
    """Return the cost of a launch of Triton; KeyError for a kernel that the model lacks."""
    kernel = node.removeprefix("triton ")
    if kernel not in TRITON:
        raise KeyError(f"the model knows no cost of {node}")
    return TRITON[kernel](node, design)
