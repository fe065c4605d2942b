"""What the CUDA sampler's launches cost on an H100, by the plan that it would choose there."""

from __future__ import annotations

import ctypes
import functools
import tempfile
from pathlib import Path

import emulated
from folded import Folded, Sizes
from nodes import Node

from benchmarks import h100 as gpu
from benchmarks.h100 import Cost, Design

BLOCKS, WARPS = 8, 8
"""Blocks of a cluster, warps of a block (csrc/cuda)."""
COLUMNS_WAVEFRONTS = 24
"""Of shared memory for one input of a layer, where a lane would own columns; from a count."""


@functools.cache
def _emulation() -> ctypes.CDLL:
    """Return the emulation, in which the sampler's own choice runs."""
    with tempfile.TemporaryDirectory() as folder:
        return emulated.build(Path(folder))


def plan(sizes: tuple[int, ...], precision: str, rows: int) -> tuple[str, int]:
    """Return path and rows of the sampler's choice for a batch on an H100."""
    device = gpu.MULTIPROCESSORS, gpu.SHARED, gpu.CLUSTERS[precision]
    return emulated.choose(_emulation(), Folded(Sizes(*sizes)), precision, rows, device)[:2]


def take(node: Node) -> Cost:
    """Return the cost of packing the weights for the tensor cores."""
    seeds, observation, action, width, layers, _ = node.given["sampler"].sizes
    cost = Cost(gpu.MULTIPROCESSORS * seeds)
    weights = seeds * (action + observation + (layers - 1) * width + action) * width
    cost.wait(gpu.L2_LATENCY, layers + 2)
    cost.read, cost.written = 4.0 * weights, 2.0 * weights
    return cost


def sample(node: Node, precision: str, design: Design) -> Cost:
    """Return the cost of all steps of all rows."""
    sizes, rows = node.given["sampler"].sizes, node.given["arguments"][0].shape[1]
    seeds, observation, action, width, layers, steps = sizes
    path, tile = plan(sizes, precision, rows)
    waves = 1
    if design.sampler == "waves" and path == "throughput":
        path, tile = "cluster", 16
        waves = -(-seeds * -(-rows // tile) // gpu.CLUSTERS["fp32"])
    tiles = seeds * -(-rows // tile)
    hidden = (layers - 1) * width
    if path == "cluster":
        cost = _cluster(tiles, tile, sizes, precision == "fp32", design, waves)
    elif path == "throughput":
        cost = _throughput(tiles, tile, sizes, design)
    else:
        raise KeyError(f"the model knows no cost of the sampler's path {path}")
    products = observation + steps * (action + hidden + action)
    cost.flops = 2.0 * seeds * rows * products * width
    cost.read += 4.0 * seeds * rows * (observation + action)
    cost.written = 4.0 * seeds * rows * action
    return cost


def layer(cost: Cost, rows: int, depth: int, width: int, full: bool, design: Design) -> None:
    """Add a layer in a cluster that holds its weights: products, results to all, a barrier."""
    columns = width // BLOCKS
    if full:
        # A warp reads all rows and its four columns of weights, sums over its lanes, and stores
        # rows that lie far apart.
        reads = -(-depth // 128) * (rows + 4) * 4 * WARPS
        products = rows * columns * depth / gpu.FP32
        cost.clocks += max(reads, products) + 4 * rows * WARPS + rows * BLOCKS * WARPS
    else:
        cost.wait(gpu.TENSOR_LATENCY, -(-depth // 32))
    cost.clocks += rows * columns * gpu.ACTIVATION
    cost.wait(gpu.CLUSTER_BARRIER + design.fence)


def _cluster(
    tiles: int, rows: int, sizes: tuple[int, ...], full: bool, design: Design, waves: int
) -> Cost:
    _, observation, action, width, layers, steps = sizes
    cost = Cost(tiles * BLOCKS)
    weights = (4 if full else 2) * (action + observation + (layers - 1) * width) * width / BLOCKS
    for _ in range(waves):
        cost.wait()
        cost.clocks += weights / gpu.L2_CLOCK
        for _ in range(steps):
            layer(cost, rows, action + observation, width, full, design)
            for _ in range(layers - 1):
                layer(cost, rows, width, width, full, design)
            # Every block computes the few columns of the last layer.
            if full:
                cost.clocks += rows * width * 4 / 32 + -(-width // 128) * (rows + 4) * action
            else:
                cost.wait(gpu.TENSOR_LATENCY, -(-width // 32))
            cost.wait(gpu.REDUCTION)
    cost.read = cost.blocks * weights
    return cost


def _throughput(tiles: int, rows: int, sizes: tuple[int, ...], design: Design) -> Cost:
    """Return the cost of blocks that stream all weights, which each warp reads whole."""
    _, observation, action, width, layers, steps = sizes
    cost, own = Cost(tiles), max(1, rows // WARPS)
    wavefronts = WARPS * (4 * width / gpu.PIPE + own / 4)
    if design.sampler == "columns":
        wavefronts = COLUMNS_WAVEFRONTS
    turn = max(wavefronts, rows * width / gpu.FP32, 4 * width / gpu.L2_CLOCK) + gpu.ROUND / 8
    inputs = observation + steps * (action + (layers - 1) * width)
    last = steps * action / 4 * (width / 32) * (4 + own)
    cost.clocks = inputs * turn + steps * layers * rows * width * gpu.ACTIVATION + last * WARPS
    # The first weights of each layer, then those of the last, which are summed over a warp.
    cost.wait(gpu.L2_LATENCY, 1 + steps * (layers + 1))
    cost.wait(gpu.REDUCTION, steps)
    cost.read = cost.blocks * 4.0 * width * (inputs + steps * action)
    return cost
