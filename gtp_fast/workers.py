"""Slots shared out over worker processes, started afresh rather than forked: they import no torch.

A worker ends when the pipe to its parent closes, however the parent ends.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from gtp_fast.errors import UserError
from gtp_fast.vector import Floats, LocalSlots, Moment


class SharedSlots:
    """Slots over worker processes, in order; each worker holds LocalSlots."""

    def __init__(self, spec: EnvSpec, counts: Sequence[int], keys: Sequence[str]):
        self._edges = np.cumsum([0, *counts])
        self._workers: list[tuple[subprocess.Popen[bytes], Connection]] = []
        try:
            for worker, count in enumerate(counts):
                self._workers.append(_start())
                self._send(worker, (spec.to_json(), count, tuple(keys)))
            boxes = [self._receive(i) for i in range(len(counts))]
        except BaseException:
            self.close()
            raise
        self.low, self.high = boxes[0]

    def reset(self, seeds: Sequence[int | None], mask: NDArray[np.bool_]) -> Floats:
        """Start an episode in each masked slot, or put it to rest where its seed is None."""
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
        for _, pipe in self._workers:
            pipe.close()
        for process, _ in self._workers:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._workers.clear()

    def _ranges(self) -> list[tuple[int, int]]:
        return [(int(a), int(b)) for a, b in zip(self._edges[:-1], self._edges[1:], strict=True)]

    def _everywhere(self, what: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        for worker, argument in enumerate(arguments):
            self._send(worker, (what, argument))
        return [self._receive(worker) for worker in range(len(arguments))]

    def _send(self, worker: int, message: Any) -> None:
        try:
            self._workers[worker][1].send(message)
        except OSError as error:
            raise self._death(worker) from error

    def _receive(self, worker: int) -> Any:
        try:
            answer = self._workers[worker][1].recv()
        except (EOFError, OSError) as error:
            raise self._death(worker) from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _death(self, worker: int) -> RuntimeError:
        process = self._workers[worker][0]
        return RuntimeError(f"evaluation worker {process.pid} died with code {process.wait(10)}")


def _start() -> tuple[subprocess.Popen[bytes], Connection]:
    ours, theirs = socket.socketpair()
    with theirs:
        # The worker looks where we look, and leaves the cores to its siblings.
        surroundings = os.environ | {
            "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path),
            "OMP_NUM_THREADS": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "gtp_fast.workers", str(theirs.fileno())],
            env=surroundings,
            pass_fds=[theirs.fileno()],
        )
    return process, Connection(ours.detach())


def _serve(pipe: Connection) -> None:
    """Obey until the other end is closed."""
    slots = None
    try:
        spec, count, keys = pipe.recv()
        slots = LocalSlots(EnvSpec.from_json(spec), count, keys)
        pipe.send((slots.low, slots.high))
        while True:
            what, arguments = pipe.recv()
            pipe.send(slots.reset(*arguments) if what == "reset" else tuple(slots.step(*arguments)))
    except EOFError:
        pass
    except UserError as error:
        pipe.send(error)
    finally:
        if slots is not None:
            slots.close()


if __name__ == "__main__":
    # Ctrl-C reaches the whole group; the parent decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _serve(Connection(int(sys.argv[1])))
