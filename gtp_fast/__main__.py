"""gtp_fast COMMAND, or python -m gtp_fast: versions, device, and the choices of `auto`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from gtp_fast import cli
from gtp_fast.errors import UserError

COMMANDS = {
    "train": "train and evaluate an agent on a dataset",
    "evaluate": "evaluate a trained run again",
    "sweep": "many runs by one file: local, Ray, Slurm",
    "report": "compare trained runs, draw curves, write a page",
    "compare": "scores and costs of agents on one task",
    "ablate": "the paper's ablation",
    "latency": "time a trained policy on this machine",
    "export": "C++ header, ONNX, torch.export",
    "push": "put a policy on the Hugging Face hub",
    "pull": "get a policy from the hub",
    "collect": "make a dataset locally",
    "demo": "everything once, in minutes",
    "toy": "the laws of one dimension",
}
_IN_ROOMS = ("export", "collect", "toy")


def main(argv: Sequence[str]) -> int:
    """Run a command; without one print the facts for a bug report. Return the exit code."""
    if argv and argv[0] in COMMANDS:
        name = f"gtp_fast.{argv[0]}{'.__main__' * (argv[0] in _IN_ROOMS)}"
        code: int = import_module(name).main(argv[1:]) or 0
        return code
    if argv and argv[0] not in ("-h", "--help"):
        raise UserError(f"There is no command {argv[0]!r}: choose one of {', '.join(COMMANDS)}.")
    for name, says in COMMANDS.items():
        print(f"gtp_fast {name:11s}{says}")
    if not argv:
        print()
        facts()
    return 0


def facts() -> None:
    """Print versions, processor, native module, and what `auto` chooses here."""
    import torch

    from gtp_fast import ops
    from gtp_fast.system import machine

    for name, value in machine.environment().items():
        print(f"{name:20s}{value}")
    for device in ("cpu", "cuda"):
        if device == "cuda" and not torch.cuda.is_available():
            print(f"{'auto on cuda':20s}PyTorch sees no CUDA GPU here")
            continue
        print(f"{'auto on ' + device:20s}{ops.resolve('auto', device).describe()}")


def console() -> int:
    """Entry point of the console command `gtp_fast`: finds what `python -m gtp_fast` finds."""
    if not sys.flags.safe_path:
        # A folder that is gone gets its sentence in `cli.run`.
        with contextlib.suppress(FileNotFoundError):
            if (folder := os.getcwd()) not in sys.path:
                sys.path.insert(0, folder)
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(cli.run(main))
