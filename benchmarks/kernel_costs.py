"""What a launch of each kernel of GTP's update reads, writes, computes and waits for on an H100.

A node waits for a chain of dependent steps; between them its longest block multiplies or streams.
Every constant is assumed or computed, none is measured: the first `make gpu` is to fit them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from nodes import Node
from torch import Tensor

CLOCK = 1755.0
"""Clocks in a microsecond: boost clock of an H100 SXM under load; assumed."""
MULTIPROCESSORS = 132
"""Of an H100 SXM; data sheet."""
SHARED, CLUSTERS = 232448, {"fp32": 16, "bf16": 48}
"""Bytes of shared memory a block, data sheet; clusters at once, by registers and shared memory."""
GAP = 1.2
"""Microseconds between dependent nodes of a graph; public records say 0.9 to 1.3."""
L2_LATENCY, HBM_LATENCY = 700, 1100
"""Clocks from a load to its use; assumed under light load."""
L2_CLOCK, L2_TOTAL = 64, 5.5e6 / CLOCK
"""Bytes a clock from L2, to one multiprocessor and to all (5.5 TB/s); assumed."""
PIPE = 128
"""Bytes a clock of shared memory; programming guide."""
FP32, SMALL = 128 * 0.7, 128 * 0.3
"""Multiply-adds a clock of the CUDA cores: the peak, times what large and small tiles reach."""
TENSOR = 1024
"""Multiply-adds a clock of bf16 by mma.sync, half of the peak; assumed."""
TENSOR_LATENCY = 33
"""Clocks of one product of the tensor cores that waits for another; assumed."""
BARRIER, REDUCTION, ROUND = 40, 200, 60
"""Clocks of a block's barrier, of its sum, of one turn of a loop of products; assumed."""
CLUSTER_BARRIER, FENCE = 350, 525
"""Clocks of a cluster's barrier (0.2 us), and of the fence over the whole GPU in it (0.3 us)."""
ACTIVATION = 0.25
"""Clocks for Mish and its slope of one number; from instruction counts."""
DRAW = 400
"""Clocks of ten rounds of Philox and what makes a normal of them; from instruction counts."""
REDUCED = 600
"""Clocks of one turn of a weight gradient: six barriers and twelve shuffles; from SASS."""


@dataclasses.dataclass(frozen=True)
class Design:
    """Choices of the kernels that a planned change would make otherwise."""

    copy_bytes: int = 4
    """Bytes of one copy of a weight; 16 where rows of parameters are padded."""
    gradient_rows: int = 1
    """Turns of a weight gradient that are taken as one."""
    clock_programs: int = 1
    """Programs that share the gradient of a clock."""
    fence: int = FENCE


@dataclasses.dataclass
class Cost:
    """Cost of one node: bytes and flops of all blocks, clocks of the longest one."""

    blocks: int
    read: float = 0.0
    written: float = 0.0
    flops: float = 0.0
    steps: int = 0
    latency: float = 0.0
    clocks: float = 0.0

    def wait(self, clocks: float = L2_LATENCY, times: int = 1) -> None:
        """Add dependent steps."""
        self.steps += times
        self.latency += clocks * times

    @property
    def microseconds(self) -> float:
        """The estimate, to a tenth."""
        busy = max(self.clocks, (self.read + self.written) / L2_TOTAL)
        return round((self.latency + busy) / CLOCK, 1)


def size(*tensors: Tensor | None) -> float:
    """Return the bytes of tensors."""
    return float(sum(x.numel() * x.element_size() for x in tensors if x is not None))


def _product(
    cost: Cost, design: Design, a: Mapping[str, Any], rows: int, depth: int, columns: int,
    block: int = 0,
) -> None:  # fmt: skip
    """Add a tile [rows, depth] @ [depth, columns], its weights copied from L2 in blocks."""
    block = block or a["BLOCK_K"]
    moved = 4 * block * (columns + rows)
    full = a["PRECISION"] == "fp32"
    # A copy instruction serves a warp. Fragments of float32 weights meet in the banks, two by two.
    pipe = moved / (32 * design.copy_bytes) + moved / PIPE * (2 if full else 3)
    products = rows * block * columns / (FP32 if full else TENSOR)
    arrives = L2_LATENCY / max(1, a["num_stages"] - 1)
    turn = max(moved / L2_CLOCK, pipe, products, arrives) + ROUND
    cost.wait()
    cost.clocks += -(-depth // block) * turn
    cost.read += cost.blocks * 4 * depth * (columns + rows)


def _parameters(a: Mapping[str, Any]) -> int:
    width, depth = a["H"], a["DEPTH"]
    return int((sum(a["K"]) + (depth - 1) * width + a["N"]) * width)


def _pair(node: Node, design: Design) -> Cost:
    a, cost = node.given, Cost(math.prod(node.grid))
    rows, width = a["BLOCK_B"], a["H"]
    for depth in (*a["K"], *[width] * (a["DEPTH"] - 1)):
        _product(cost, design, a, rows, depth, width)
    _product(cost, design, a, rows, width, a["BLOCK_N"])
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
    _product(cost, design, a, rows, a["N"], width, a["BLOCK_N"])
    for _ in range(a["DEPTH"] - 1):
        _product(cost, design, a, rows, width, width)
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
    # Mean and deviation of the advantage, the weights and their statistics, the losses.
    cost.wait(L2_LATENCY, 4)
    cost.wait(REDUCTION, 6)
    for _ in range(0, a["K"][1], a["BLOCK_X"]):
        _product(cost, design, a, a["BLOCK_B"], a["H"], a["BLOCK_X"])
    cost.flops += 2.0 * a["BLOCK_B"] * cost.blocks * a["K"][1] * a["H"]
    cost.written += size(a["embedding"])
    return cost


def _weights(node: Node, design: Design) -> Cost:
    a, cost = node.given, Cost(math.prod(node.grid))
    rows, tile = a["BLOCK_ROWS"] * design.gradient_rows, a["BLOCK"]
    products = rows * tile * tile / (FP32 if a["PRECISION"] == "fp32" else TENSOR)
    cost.clocks = -(-a["B"] // rows) * max(REDUCED, products)
    cost.wait(L2_LATENCY, 2)
    cost.wait(REDUCTION)
    cost.read = 8.0 * cost.blocks * a["B"] * tile
    cost.written = 4.0 * _parameters(a) * node.grid[1]
    cost.flops = 2.0 * a["B"] * _parameters(a) * node.grid[1]
    return cost


def _gradients(node: Node, design: Design) -> Cost:
    a, cost = node.given, _weights(node, design)
    cost.read -= 8.0 * 2 * node.grid[1] * a["B"] * a["BLOCK"]
    cost.read += size(a["embedding"], a["levels"])
    products = 4 * a["FEATURES"] * a["HIDDEN"]
    turns = math.ceil(a["B"] / a["ROWS"] / design.clock_programs)
    cost.clocks = max(cost.clocks, turns * a["ROWS"] * products / SMALL)
    cost.flops += 4.0 * a["B"] * products * node.grid[1]
    cost.blocks += 2 * (design.clock_programs - 1) * node.grid[1]
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
    cost.read = size(a["average"]) + 4.0 * 2 * both * cost.blocks
    return cost


def _step(node: Node, design: Design) -> Cost:
    # The sums of squares, each loss, then the parameters.
    a, cost = node.given, Cost(math.prod(node.grid))
    cost.wait(L2_LATENCY, 2 + a["TERMS"])
    cost.wait(REDUCTION, 1 + a["TERMS"])
    buffers = [a[x] for x in ("parameter", "gradient", "first", "second", "average")]
    cost.read = size(*buffers) + cost.blocks * size(a["sums"][:1], a["losses"][:, :1])
    cost.written, cost.flops = size(*buffers) * 4 / 5, 15.0 * buffers[0].numel()
    return cost


def _tally(node: Node, design: Design) -> Cost:
    a, cost = node.given, Cost(1)
    cost.wait(L2_LATENCY, 2)
    cost.wait(BARRIER)
    cost.read, cost.written = 2 * size(a["metrics"], a["bad_step"]), size(a["metrics"])
    return cost


TRITON: dict[str, Callable[[Node, Design], Cost]] = {
    "batch._batch_kernel": _batch, "fold._fold_kernel": _fold, "mlp_pair._pair_kernel": _pair,
    "critic_backward._critic_kernel": _critic, "mlp_weights._weights_kernel": _weights,
    "step._step_kernel": _step, "actor_backward._actor_kernel": _actor,
    "actor_backward._gradients_kernel": _gradients, "tally._tally_kernel": _tally,
}  # fmt: skip


def triton_cost(node: Node, design: Design) -> Cost:
    """Return the cost of a launch of Triton; KeyError for a kernel that the model lacks."""
    kernel = node.removeprefix("triton ")
    if kernel not in TRITON:
        raise KeyError(f"the model knows no cost of {node}")
    return TRITON[kernel](node, design)
