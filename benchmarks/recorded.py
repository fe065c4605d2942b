"""Updates as a run on a GPU does them: recorded, replayed in pieces, timed between events."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gtp_fast import engine
from gtp_fast.agents.base import Agent
from gtp_fast.data.table import TransitionTable
from gtp_fast.engine.loop import Captured, Recorder, cuda_record, cuda_warm

PIECE, PIECES = 16, 20


class DeviceClock:
    """Seconds as the GPU counts them, between events; each reading waits for all work before."""

    def __init__(self) -> None:
        self.seconds, self.last = 0.0, None

    def __call__(self) -> float:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        event.synchronize()
        if self.last is not None:
            # One event after another: a time is a float32 of milliseconds.
            self.seconds += self.last.elapsed_time(event) * 1e-3
        self.last = event
        return self.seconds


def clock() -> Callable[[], float]:
    """Return the device's clock where there is a GPU, else the clock on the wall."""
    return DeviceClock() if torch.cuda.is_available() else time.perf_counter


class Again:
    """Stands in for a recording where there is no GPU: does the work again."""

    def __init__(self, work: Callable[[], None]):
        self.replay = work


def warm_here(work: Callable[[], None]) -> None:
    """Do work at once, where there are no streams."""
    work()


class Recorded:
    """The captured engine of an agent, its recordings made, the agent's state as it was.

    step: the update that is repeated. Without a GPU every replay does the work again.
    """

    def __init__(self, agent: Agent, table: TransitionTable, step: int, piece: int = PIECE):
        on_gpu = agent.device.type == "cuda"
        ways: tuple[Recorder, Callable[[Callable[[], None]], None]] = (
            (cuda_record, cuda_warm) if on_gpu else (Again, warm_here)
        )
        self.agent, self.step, self.piece = agent, step, piece
        self.watch = engine.Watch(agent)
        self.engine = Captured(agent, table, self.watch, *ways, longest=piece)
        self.start = {name: value.clone() for name, value in agent.state_dict().items()}
        self.engine.do(step, Captured.WARM + piece + 1)
        self.rewind()

    def rewind(self) -> None:
        """Go back to the state before the first update."""
        self.agent.load_state_dict(self.start)
        self.watch.means()

    def one(self) -> Mapping[str, Tensor]:
        """Replay one update from the start; return its gradients and metrics [rows, S]."""
        self.rewind()
        self.engine.do(self.step, 1)
        metrics = torch.tensor(list(self.watch.means().values()))
        gradients = {
            f"gradient of the {name}": part.parameters.gradient.clone()
            for name, part in self.agent.learners().items()
        }
        return {**gradients, "metrics": metrics}

    def run(self, pieces: int = PIECES) -> int:
        """Do so many pieces of updates; return how many updates they are."""
        self.engine.do(self.step, pieces * self.piece)
        return pieces * self.piece

    def microseconds(self, pieces: int = PIECES, repeats: int = 7) -> float:
        """Return the median time of an update by the device's clock."""
        now, times = clock(), []
        for _ in range(repeats):
            began = now()
            count = self.run(pieces)
            times.append((now() - began) * 1e6 / count)
        return statistics.median(times)
