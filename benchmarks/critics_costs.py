"""What the critics' cluster kernel costs on an H100 (csrc/cuda/critics.cuh)."""

from __future__ import annotations

from nodes import Node

from benchmarks import h100 as gpu
from benchmarks.h100 import Cost, Design
from benchmarks.sampler_costs import BLOCKS, WARPS, layer
from gtp_fast.ops.critics import TILE


def critics(node: Node, design: Design) -> Cost:
    """Return the cost of one launch: both twins' passes, the TD step, the deltas."""
    observation, action, width, depth, repeats = node.given["sizes"]
    seeds, rows = node.given["seeds"], node.given["rows"]
    clusters, inputs = seeds * -(-rows // TILE), observation + action
    cost = Cost(BLOCKS * clusters)
    hidden = (depth - 1) * width * width
    # Bytes a block copies: of two networks forward, of two backward.
    forward, backward = (2 * 2 * x / BLOCKS for x in (inputs * width + hidden, hidden))
    cost.read = cost.blocks * (2 * forward + backward)
    cost.written = 4.0 * 2 * seeds * rows * (2 * depth * width + 1)
    passes = 2 * (repeats + 1) * (inputs * width + hidden + width)
    cost.flops = 2.0 * seeds * rows * (passes + 2 * (hidden + width))
    for _ in range(-(-clusters // gpu.CLUSTERS["critics"])):
        # What small there is, then the targets; the other weights arrive behind these passes.
        cost.wait(gpu.L2_LATENCY, 2)
        cost.clocks += forward / gpu.L2_CLOCK
        for _ in range(repeats + 1):
            _layer(cost, inputs, width, design)
            for _ in range(depth - 1):
                _layer(cost, width, width, design)
            # A warp sums the values of its rows one after another.
            cost.wait(gpu.REDUCTION, 2 * TILE // WARPS)
            cost.wait(gpu.BARRIER)
        cost.wait(gpu.REDUCTION)
        cost.wait(gpu.BARRIER)
        # The first deltas need no product, the last ones are not sent.
        cost.wait(gpu.ARRIVAL, min(1, depth - 1))
        for _ in range(depth - 1):
            _layer(cost, width, width, design)
    return cost


def _layer(cost: Cost, depth: int, width: int, design: Design) -> None:
    """Add a layer of both twins; a warp takes groups of eight columns in turn."""
    layer(cost, 2 * TILE, depth, width, False, design)
    turns = -(-2 * width // (8 * BLOCKS * WARPS))
    cost.wait(gpu.TENSOR_LATENCY, (turns - 1) * -(-depth // 32))
