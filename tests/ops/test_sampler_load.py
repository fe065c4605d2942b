"""Weights of the native sampler that are replaced while other threads sample."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from folded import Folded, Sizes
from native_cases import needs_native
from on_arrays import OnArrays

pytestmark = needs_native
ROWS, CALLS = 4000, 8
OLD, NEW = (Folded(Sizes(H=64), seed=seed) for seed in (0, 1))


@contextlib.contextmanager
def sampling(sampler: OnArrays) -> Iterator[list[np.ndarray]]:
    """Let a thread sample again and again; yield its first actions, call by call."""
    observation, noise, _ = OLD.inputs(ROWS)
    results: list[np.ndarray] = []
    stop, first = threading.Event(), threading.Event()

    def work() -> None:
        while not stop.is_set():
            out = np.empty_like(noise)
            sampler.sample(observation, noise, out)
            results.extend([out] if len(results) < CALLS else [])
            first.set()

    thread = threading.Thread(target=work)
    thread.start()
    first.wait()
    try:
        yield results
    finally:
        stop.set()
        thread.join()


def test_a_call_has_the_weights_before_or_after_and_no_mixture() -> None:
    sampler = OnArrays(OLD)
    observation, noise, before = OLD.inputs(ROWS)
    after = np.empty_like(noise)
    sampler.sample(observation, noise, before)
    OnArrays(NEW).sample(observation, noise, after)
    with sampling(sampler) as results:
        while len(results) < CALLS:
            sampler.load(NEW)
            sampler.load(OLD)
    assert not np.array_equal(before, after)
    assert all(np.array_equal(x, before) or np.array_equal(x, after) for x in results)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_loads_although_a_thread_was_sampling() -> None:
    """The thread does not exist in the child, which must not wait for it."""
    sampler, flat = OnArrays(OLD), NEW.flat()
    statuses = []
    with sampling(sampler):
        for _ in range(5):
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(60)
                sampler.sampler.native.load(flat.ctypes.data, flat.size, NEW.initial_scale)
                os._exit(0)
            statuses.append(os.waitpid(child, 0)[1])
    assert statuses == [0] * 5
