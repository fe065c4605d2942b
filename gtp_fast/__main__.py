"""python -m gtp_fast: versions, device, native module, and the choices of `auto`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch

from gtp_fast import cli, ops
from gtp_fast.system import machine


def main(argv: Sequence[str]) -> int:
    """Print the facts for a bug report; return the exit code."""
    if argv:
        print(
            "python -m gtp_fast takes no options; commands: train, evaluate, report, compare, "
            "ablate, latency, demo, collect, export, toy"
        )
    for name, value in machine.environment().items():
        print(f"{name:20s}{value}")
    for device in ("cpu", "cuda"):
        if device == "cuda" and not torch.cuda.is_available():
            print(f"{'auto on cuda':20s}PyTorch sees no CUDA GPU here")
            continue
        print(f"{'auto on ' + device:20s}{ops.resolve('auto', device).describe()}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
