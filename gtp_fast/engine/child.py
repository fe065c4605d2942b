"""A process of `Processes`: it trains its own seeds in one thread."""

from __future__ import annotations

import os
from dataclasses import replace
from multiprocessing.connection import Connection

import torch

from gtp_fast.engine.build import build
from gtp_fast.engine.processes import Part
from gtp_fast.engine.watch import Watch
from gtp_fast.system import children
from gtp_fast.system.memory import Shared


def serve(pipe: Connection) -> None:
    """Run (first, count, reset) requests; on None copy the state into shared memory."""
    part: Part = pipe.recv()
    if part.core is not None:
        os.sched_setaffinity(0, {part.core})
    torch.set_num_threads(1)
    memory = Shared(part.layout, part.file).tensors
    agent = part.kind(part.config, part.setup)
    agent.prepare(part.total_updates)
    own = slice(part.first, part.last)
    results = {name: memory[name][own] for name in agent.state_dict()}
    agent.load_state_dict(results)
    watch = Watch(agent)
    total, bad_step = memory["total"][:, own], memory["bad_step"][:, own]
    # A run that was stopped between two rows of metrics goes on with their sums.
    watch.total.copy_(total)
    table = replace(
        part.table, rows=memory["rows"], episode=memory["episode"], lots=memory.get("lots")
    )
    engine = build(part.choice, agent, table, watch)
    while True:
        pipe.send(None)
        piece: tuple[int, int, bool] | None = pipe.recv()
        if piece is None:
            total.copy_(watch.total)
            bad_step.copy_(watch.bad_step)
            for name, value in agent.state_dict().items():
                results[name].copy_(value)
            continue
        first, count, reset = piece
        if reset:
            # The parent has read the means of the updates before.
            watch.total.zero_()
        engine.do(first, count)


if __name__ == "__main__":
    children.run(serve)
