"""An H100 as the model of an update sees it: its constants, and what a node costs.

A node waits for a chain of dependent steps; between them its longest block multiplies or streams.
Every constant is assumed or computed, none is measured: the first `make gpu` is to fit them.
"""

from __future__ import annotations

import dataclasses

CLOCK = 1755.0
"""Clocks in a microsecond: boost clock of an H100 SXM under load; assumed."""
MULTIPROCESSORS = 132
"""Of an H100 SXM; data sheet."""
SHARED, CLUSTERS = 232448, {"fp32": 16, "bf16": 48, "critics": 16}
"""Bytes of shared memory a block, data sheet; clusters at once, by registers and shared memory: the
sampler's by precision, and the critics', whose blocks take a multiprocessor each."""
GAP = 1.2
"""Microseconds between dependent nodes of a graph; public records say 0.9 to 1.3."""
CALL = 9, 11
"""Microseconds that a call from Python, its launch and the wait for its end add; assumed."""
L2_LATENCY, HBM_LATENCY = 700, 1100
"""Clocks from a load to its use; assumed under light load."""
L2_CLOCK, L2_TOTAL = 64, 5.5e6 / CLOCK
"""Bytes a clock from L2, to one multiprocessor and to all (5.5 TB/s); assumed."""
SECTOR = 32
"""Bytes that a store moves to L2 at least, of a sector that nothing beside it writes."""
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
REMOTE, ARRIVAL = 16, 250
"""Bytes a clock from block to block, and clocks until they have arrived; assumed."""
ACTIVATION = 0.25
"""Clocks for Mish and its slope of one number; from instruction counts."""
DRAW = 400
"""Clocks of ten rounds of Philox and what makes a normal of them; from instruction counts."""
REDUCED = 600
"""Clocks of one turn of a weight gradient: six barriers and twelve shuffles; from SASS."""


@dataclasses.dataclass(frozen=True)
class Design:
    """Choices of the kernels that could be made otherwise."""

    counted: bool = True
    """In bf16 the blocks of a cluster count what they get, instead of meeting at a barrier."""


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
