"""python -m benchmarks.memory TABLE BACKEND DEVICE: the memory of a start and three updates.

A process of its own, for what a process has once held is never forgotten.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import torch

from gtp_fast.agents.gtp import GTP, GTPConfig
from gtp_fast.agents.setup import Setup
from gtp_fast.data import cache
from gtp_fast.data.table import TransitionTable

CONFIG, SEEDS, UPDATES = GTPConfig(k=5, batch_size=256, width=256), 5, 3


def main(path: str, backend: str, device: str) -> None:
    """Print the losses of the last update and the memory of a run, in JSON.

    Bytes: the packages, the peak while the table is loaded from the cache, the table, the state
    with gradients, and the peak of all.

    """
    packages = _peak()
    table = cache.load([Path(path)])
    assert table is not None
    table = table.to(device)
    loaded = _peak()
    losses, agent = trained(table, backend, torch.float32)
    on_gpu = agent.device.type == "cuda"
    facts = {
        "losses": losses.tolist(),
        "packages": packages,
        "loading": loaded,
        "table": table.rows.nbytes,
        "state": state_bytes(agent),
        "peak": torch.cuda.max_memory_allocated() if on_gpu else _peak(),
    }
    print(json.dumps(facts))


def trained(table: TransitionTable, backend: str, dtype: torch.dtype) -> tuple[torch.Tensor, GTP]:
    """Return the losses [losses, S] of the last of three updates, and the agent."""
    shape = (table.observation_dim, table.action_dim)
    agent = GTP(CONFIG, Setup(*shape, range(SEEDS), table.device, backend, dtype))
    agent.prepare(UPDATES)
    for step in range(UPDATES):
        metrics = agent.update(table, step)
    return metrics[: len(agent.loss_names)], agent


def state_bytes(agent: GTP) -> int:
    """Return the bytes of everything that learns: parameters, moments, averages and gradients."""
    gradients = sum(part.parameters.gradient.nbytes for part in agent.learners().values())
    return gradients + sum(tensor.nbytes for tensor in agent.state_dict().values())


def _peak() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would count what our parent held when it started us.
        words = status.read_text().split()
        return 1024 * int(words[words.index("VmHWM:") + 1])
    # Kilobytes on most systems, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(*sys.argv[1:])
