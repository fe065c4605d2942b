"""Episodes in order, from this process or several; the result is the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import count
from typing import Any

import gymnasium as gym

from gtp_fast.collect.buffers import Stored
from gtp_fast.collect.planner import Planner
from gtp_fast.collect.plans import collection_spec, plan_of
from gtp_fast.data.environment import MAZE_SCALES
from gtp_fast.errors import UserError
from gtp_fast.evaluation.vector import make
from gtp_fast.tasks import Task


class Collector:
    """An environment built once, and the task's behaviour in it."""

    def __init__(self, task: Task, seed: int, noise: float) -> None:
        spec = collection_spec(task)
        self._plan, self._seed, self._noise = plan_of(task), seed, noise
        # Without gymnasium's wrappers a step of PointMaze costs half.
        self._env: gym.Env[Any, Any] = make(spec).unwrapped
        self._planner = Planner(spec.kwargs["maze_map"], MAZE_SCALES[task.family])

    def episode(self, number: int) -> Stored:
        """Episode `number`, a pure function of task, seed, noise and number."""
        plan = self._plan
        return plan.behaviour(self._env, self._planner, self._seed, number, self._noise, plan.limit)


def episodes(task: Task, seed: int, noise: float, workers: int) -> Generator[Stored]:
    """Yield episodes 0, 1, 2, ... until the caller closes the iterator."""
    if workers <= 1:
        collector = Collector(task, seed, noise)
        yield from map(collector.episode, count())
    # A fresh process inherits neither threads nor CUDA, which a forked one could deadlock on.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin, (task, seed, noise)) as pool:
        numbers = count()
        waiting: deque[Future[Stored]] = deque(
            pool.submit(_episode, next(numbers)) for _ in range(2 * workers)
        )
        try:
            while True:
                done = waiting.popleft().result()
                waiting.append(pool.submit(_episode, next(numbers)))
                yield done
        except BrokenProcessPool as error:
            raise UserError(
                f"A process that collects {task.name} was ended from outside, so nothing was "
                "written: collect again, with --workers 1 should memory be short."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_collector: Collector


def _begin(task: Task, seed: int, noise: float) -> None:
    global _collector
    # Ctrl-C and SIGTERM are the parent's to handle: it stops the pool and says so once.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _collector = Collector(task, seed, noise)


def _end_with_parent() -> None:
    """End this worker once the owner of the pool is gone, which pools miss."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _episode(number: int) -> Stored:
    return _collector.episode(number)
