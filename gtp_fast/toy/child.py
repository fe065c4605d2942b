"""A process of the toy: it trains one target after another."""

from __future__ import annotations

from multiprocessing.connection import Connection

import torch

from gtp_fast.system import children
from gtp_fast.toy.experiment import run
from gtp_fast.toy.targets import targets


def serve(pipe: Connection) -> None:
    """Answer the name of each target, with updates and seeds, with its results."""
    # One thread each: these networks are too small to feed more.
    torch.set_num_threads(1)
    while True:
        name, updates, seeds = pipe.recv()
        pipe.send(run(targets()[name], updates, seeds))


if __name__ == "__main__":
    children.run(serve)
