"""Timing of rows: builds them, holds them to the gate, warms up, measures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from tolerance import assert_as_accurate

from benchmarks.workload import Results, Row, Subject, Unavailable, Workload
from gtp_fast.system import machine as this_machine

_LEAST_ROUNDS, _MOST_ROUNDS = 2, 2000
# A CUDA graph is recorded in the second call and replayed from the third on.
_WARM_CALLS = {"cpu": 1, "cuda": 4}
_WARM_SECONDS = 0.3


class RedGate(AssertionError):
    """A row computes something wrong, so its time is not reported."""


class Stage:
    """Measures the rows of one workload after another; keeps what the current one has built."""

    def __init__(self, device: torch.device, seconds: float):
        self.device, self.seconds = device, seconds
        self.machine = machine(device)
        self.skipped: list[dict[str, str]] = []
        self.group = ""
        self._forget()

    def measure(self, benchmark: Any, workload: Workload, row: Row) -> None:
        """Time one row for about `seconds`; skips where it is not available.

        Raises RedGate where its results are wrong.
        """
        if workload.group != self.group:
            self._forget()
            self.group = workload.group
        try:
            subject = self._ready(workload, row)
        except Unavailable as reason:
            name = {"group": workload.group, "row": row.name, "role": row.role}
            if name | {"reason": str(reason)} not in self.skipped:
                self.skipped.append(name | {"reason": str(reason)})
            pytest.skip(f"{row.name}: {reason}")
        timed = self._timed(subject.run)
        benchmark.group = workload.group
        benchmark.extra_info.update(
            {
                **self.machine,
                **workload.facts,
                "row": row.name,
                "role": row.role,
                "note": subject.note,
                "repeats": subject.repeats,
                "peak_memory_bytes": self._peak_memory(timed),
            }
        )
        rounds = min(max(_LEAST_ROUNDS, round(self.seconds / _best_of_three(timed))), _MOST_ROUNDS)
        benchmark.pedantic(timed, rounds=rounds, iterations=1)

    def _forget(self) -> None:
        self.subjects: dict[str, Subject] = {}
        self.refusals: dict[str, Unavailable | RedGate] = {}
        self.truth: Results | None = None

    def _ready(self, workload: Workload, row: Row) -> Subject:
        if row.name in self.refusals:
            raise self.refusals[row.name]
        if row.name not in self.subjects:
            try:
                self.subjects[row.name] = self._build(workload, row)
            except (Unavailable, RedGate) as refusal:
                self.refusals[row.name] = refusal
                raise
        return self.subjects[row.name]

    def _build(self, workload: Workload, row: Row) -> Subject:
        subject = workload.build(row)
        plain = subject if row == workload.plain else self._ready(workload, workload.plain)
        if self.truth is None:
            self.truth = workload.exact()
        judge = subject.judge or (plain.results, self.truth)
        gate(f"{workload.group}, {row.name}", subject.results, *judge)
        self._warm(subject.run)
        return subject

    def _warm(self, run: Callable[[], object]) -> None:
        began, calls = time.perf_counter(), 0
        while calls < _WARM_CALLS[self.device.type] or (
            calls < 10 and time.perf_counter() - began < _WARM_SECONDS
        ):
            run()
            calls += 1

    def _timed(self, run: Callable[[], object]) -> Callable[[], None]:
        if self.device.type != "cuda":

            def call() -> None:
                run()

            return call

        def call_and_wait() -> None:
            run()
            torch.cuda.synchronize()

        torch.cuda.synchronize()
        return call_and_wait

    def _peak_memory(self, timed: Callable[[], None]) -> int | None:
        if self.device.type != "cuda":
            return None
        torch.cuda.reset_peak_memory_stats()
        timed()
        return torch.cuda.max_memory_allocated()


def _best_of_three(timed: Callable[[], None]) -> float:
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        timed()
        spent.append(time.perf_counter() - began)
        if spent[0] > 0.1:
            break
    return min(spent)


def gate(name: str, results: Results, plain: Results, exact: Results) -> None:
    """Hold a row's results to the tests' comparison rule; raises RedGate."""
    # A rival that draws its own numbers is held to less than all of it, but never to nothing.
    if not results:
        raise RedGate(f"{name}: no time is reported, for there is no result to judge")
    for key in results:
        try:
            assert_as_accurate(f"{name}: {key}", results[key], plain[key], exact[key])
        except AssertionError as error:
            raise RedGate(f"no time is reported, for the result is wrong: {error}") from error


def machine(device: torch.device) -> Mapping[str, Any]:
    """Return the name of the device and the versions that a time depends on."""
    facts = this_machine.environment()
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else facts["processor"]
    driver = (
        facts["gpu"].splitlines()[0].split(",")[-1].strip() if on_gpu and facts["gpu"] else None
    )
    kept = ("gtp_fast", "python", "torch", "triton", "processor", "git", "native")
    return {
        "device": name,
        "driver": driver,
        "threads": torch.get_num_threads(),
        **{key: facts[key] for key in kept},
    }
