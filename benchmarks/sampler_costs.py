"""What the CUDA sampler's launches cost on an H100, by the plan that it would choose there."""

from __future__ import annotations

import ctypes
import functools
import math
import tempfile
from pathlib import Path

import emulated
from folded import Folded, Sizes
from nodes import Node

from benchmarks import h100 as gpu
from benchmarks.h100 import Cost, Design

BLOCKS, WARPS, THREADS = 8, 8, 256
"""Blocks of a cluster, warps and threads of a block (csrc/cuda)."""
CHUNK = 40
"""Instructions of a warp for four inputs, beside the products and the reads of rows; from SASS."""
ISSUED = 4 * 0.85
"""Instructions a clock of a multiprocessor: four schedulers, times what two warps each reach."""


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
    # The columns of one input, which a warp stores at once, lie 64 bytes apart.
    cost.read, cost.written = 4.0 * weights, float(gpu.SECTOR * weights)
    return cost


def sample(node: Node, precision: str, design: Design) -> Cost:
    """Return the cost of all steps of all rows of a recorded launch."""
    sizes, rows = node.given["sampler"].sizes, node.given["arguments"][0].shape[1]
    return act(sizes, rows, precision, design)


def act(sizes: tuple[int, ...], rows: int, precision: str, design: Design) -> Cost:
    """Return the cost of all steps of so many rows.

    sizes: seeds, numbers of observation and action, width, hidden layers, K.
    """
    seeds, observation, action, width, layers, steps = sizes
    path, tile = plan(sizes, precision, rows)
    tiles = seeds * -(-rows // tile)
    hidden = (layers - 1) * width
    if path in ("cluster", "counted"):
        cost = _cluster(tiles, tile, sizes, precision == "fp32", design)
    elif path in ("columns", "pair"):
        cost = _columns(tiles, tile, sizes, 2 if path == "pair" else 1)
    elif path == "throughput":
        cost = _throughput(tiles, tile, sizes)
    else:
        raise KeyError(f"the model knows no cost of the sampler's path {path}")
    products = observation + steps * (action + hidden + action)
    cost.flops = 2.0 * seeds * rows * products * width
    cost.read += 4.0 * seeds * rows * (observation + action)
    cost.written = 4.0 * seeds * rows * action
    return cost


def layer(cost: Cost, rows: int, depth: int, width: int, full: bool, design: Design) -> None:
    """Add a layer in a cluster that holds its weights: products, and results to all blocks."""
    columns = width // BLOCKS
    sent = (BLOCKS - 1) * rows * columns * (4 if full else 2) / gpu.REMOTE
    if full:
        # A warp reads all rows and its four columns of weights, sums over its lanes, and stores
        # rows that lie far apart.
        reads = -(-depth // 128) * (rows + 4) * 4 * WARPS
        products = rows * columns * depth / gpu.FP32
        cost.clocks += max(reads, products) + 4 * rows * WARPS
        sent = max(sent, rows * BLOCKS * WARPS)
    else:
        cost.wait(gpu.TENSOR_LATENCY, -(-depth // 32))
    cost.clocks += rows * columns * gpu.ACTIVATION + sent
    counts = design.counted and not full
    cost.wait(gpu.ARRIVAL if counts else gpu.CLUSTER_BARRIER + gpu.FENCE)


def _cluster(tiles: int, rows: int, sizes: tuple[int, ...], full: bool, design: Design) -> Cost:
    _, observation, action, width, layers, steps = sizes
    cost = Cost(tiles * BLOCKS)
    weights = (4 if full else 2) * (action + observation + (layers - 1) * width) * width / BLOCKS
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


def _columns(tiles: int, rows: int, sizes: tuple[int, ...], blocks: int) -> Cost:
    """Return the cost of blocks whose threads own columns, one or two a tile.

    Barriers do not stop the copies of weights: the bytes arrive beside all clocks but the first.
    """
    _, observation, action, width, layers, steps = sizes
    cost, own = Cost(tiles * blocks), width / blocks
    slices = THREADS // -(-width // (4 * blocks))

    def product(depth: int) -> float:
        chunks = math.ceil(depth / 4 / slices)
        issued = WARPS * chunks * ((16 + 1) * rows + CHUNK) / ISSUED
        # Weights go into shared memory and out of it, a row's inputs to all lanes at once.
        moved = WARPS * chunks * (4 * 2 * 4 + rows)
        return max(issued, moved, 4 * depth * own / gpu.L2_CLOCK)

    def finished() -> float:
        sums = 2 * THREADS * rows * 16 / gpu.PIPE
        sent = (blocks - 1) * (gpu.ARRIVAL + rows * own * 4 / gpu.REMOTE)
        return sums + rows * own * gpu.ACTIVATION + gpu.REDUCTION + 2 * gpu.BARRIER + sent

    # Four rows and columns a thread: 22 instructions an input, 64 to add up a warp's lanes.
    last = action / 4 * WARPS * (width / THREADS * rows / 4 * 22 + 64) / ISSUED
    step = last + gpu.REDUCTION + 2 * gpu.BARRIER
    cost.wait(gpu.L2_LATENCY, 2)
    cost.clocks = product(observation) + finished()
    cost.clocks += steps * (product(action) + (layers - 1) * product(width))
    cost.clocks += steps * (layers * finished() + step)
    inputs = observation + steps * (action + (layers - 1) * width)
    cost.read = tiles * 4.0 * width * (inputs + blocks * action)
    return cost


def _throughput(tiles: int, rows: int, sizes: tuple[int, ...]) -> Cost:
    """Return the cost of blocks that stream all weights, which each warp reads whole."""
    _, observation, action, width, layers, steps = sizes
    cost, own = Cost(tiles), max(1, rows // WARPS)
    wavefronts = WARPS * (4 * width / gpu.PIPE + own / 4)
    turn = max(wavefronts, rows * width / gpu.FP32, 4 * width / gpu.L2_CLOCK) + gpu.ROUND / 8
    inputs = observation + steps * (action + (layers - 1) * width)
    last = steps * action / 4 * (width / 32) * (4 + own)
    cost.clocks = inputs * turn + steps * layers * rows * width * gpu.ACTIVATION + last * WARPS
    # The first weights of each layer, then those of the last, which are summed over a warp.
    cost.wait(gpu.L2_LATENCY, 1 + steps * (layers + 1))
    cost.wait(gpu.REDUCTION, steps)
    cost.read = cost.blocks * 4.0 * width * (inputs + steps * action)
    return cost
