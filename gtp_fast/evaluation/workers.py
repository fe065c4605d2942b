"""Slots spread over worker processes, which must not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from gtp_fast.evaluation.vector import Floats, LocalSlots, Moment
from gtp_fast.system import children, specs
from gtp_fast.system.children import Child


class SharedSlots:
    """Slots over worker processes, in order; each worker holds LocalSlots."""

    def __init__(self, spec: EnvSpec, counts: Sequence[int], keys: Sequence[str]):
        self._edges = np.cumsum([0, *counts])
        text = specs.to_json(spec)
        self._workers: list[Child] = []
        try:
            for count in counts:
                worker = Child("gtp_fast.evaluation.workers", "an evaluation worker")
                self._workers.append(worker)
                worker.send((text, count, tuple(keys)))
            boxes = [worker.receive() for worker in self._workers]
        except BaseException:
            self.close()
            raise
        self.low, self.high = boxes[0]

    def reset(self, seeds: Sequence[int | None], mask: NDArray[np.bool_]) -> Floats:
        """Start an episode in each masked slot; without a seed it rests."""
        parts = self._everywhere(
            "reset", [(list(seeds[a:b]), mask[a:b]) for a, b in self._ranges()]
        )
        return np.concatenate(parts)

    def step(self, actions: Floats) -> Moment:
        """Apply actions [n, A]."""
        parts = self._everywhere("step", [(actions[a:b],) for a, b in self._ranges()])
        return Moment(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def close(self) -> None:
        """End the workers and wait for them."""
        children.close(self._workers)
        self._workers.clear()

    def _ranges(self) -> list[tuple[int, int]]:
        return [(int(a), int(b)) for a, b in zip(self._edges[:-1], self._edges[1:], strict=True)]

    def _everywhere(self, what: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        for worker, argument in zip(self._workers, arguments, strict=True):
            worker.send((what, argument))
        return [worker.receive() for worker in self._workers]


def _serve(pipe: Connection) -> None:
    slots = None
    try:
        spec, count, keys = pipe.recv()
        slots = LocalSlots(EnvSpec.from_json(spec), count, keys)
        pipe.send((slots.low, slots.high))
        while True:
            what, arguments = pipe.recv()
            pipe.send(slots.reset(*arguments) if what == "reset" else tuple(slots.step(*arguments)))
    finally:
        if slots is not None:
            slots.close()


if __name__ == "__main__":
    children.run(_serve)
