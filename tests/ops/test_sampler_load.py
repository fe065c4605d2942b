"""Weights of the native sampler that are replaced while other threads sample."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from folded import Folded, Sizes
from native_cases import needs_native
from on_arrays import OnArrays

from gtp_fast.ops.sampler import NativeSampler

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
    assert first.wait(60)
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
        deadline = time.monotonic() + 300
        while len(results) < CALLS and time.monotonic() < deadline:
            sampler.load(NEW)
            sampler.load(OLD)
    assert len(results) == CALLS
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


def test_a_load_keeps_its_numbers_while_another_thread_loads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = NativeSampler(OLD.policy())
    flattened: list[weakref.ref[Any]] = []
    own, alive = made._own, []

    def noted(x: Any, name: str) -> Any:
        flat = own(x, name)
        flattened.append(weakref.ref(flat))
        return flat

    class Interrupted:
        """Native code in whose first call another one begins and ends."""

        def load(self, *arguments: Any) -> None:
            if len(flattened) == 1:
                made.load(NEW.policy())
                alive.append(flattened[0]() is not None)

    monkeypatch.setattr(made, "_own", noted)
    monkeypatch.setattr(made, "native", Interrupted())
    made.load(OLD.policy())
    assert alive == [True]
