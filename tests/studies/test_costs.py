"""Costs on a GPU: what an engine does once is no cost of an update."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from agent_cases import make, synthetic_table

from gtp_fast import engine
from gtp_fast.engine.loop import Captured
from gtp_fast.studies import costs
from gtp_fast.studies.sweeps import estimate


class Clock:
    """A clock that stands still but for what it is told; stands in for a device too."""

    replay: Callable[[], None]

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def record(self, work: Callable[[], None]) -> Clock:
        """Record for long."""
        self.now += 1000.0
        made = Clock()
        made.replay = work
        return made

    def warm(self, work: Callable[[], None]) -> None:
        """Compile for long, then work."""
        self.now += 500.0
        work()


@pytest.mark.parametrize("begins", [25, 100])
def test_a_phase_that_begins_among_timed_updates_costs_no_recording(
    begins: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, agent = Clock(), make("bc", (0,))
    monkeypatch.setattr(time, "perf_counter", clock)

    def advance(step: int, table: object) -> None:
        agent.phase = int(step >= begins)

    def update_into(*_: object) -> None:
        clock.now += 1.0

    monkeypatch.setattr(agent, "advance", advance)
    monkeypatch.setattr(agent, "update_into", update_into)
    monkeypatch.setattr(agent, "updates_per_advance", lambda step: begins - step if step < begins
                        else 1000)  # fmt: skip
    made = Captured(agent, synthetic_table(), engine.Watch(agent), clock.record, clock.warm, 16)
    monkeypatch.setattr(engine, "build", lambda *_: made)
    chosen = engine.Choice("captured", "auto", "a test")
    taken = costs.update_seconds(agent, synthetic_table(), chosen, 200, 1, costs.WARM_UPDATES)
    assert taken == 1.0
    assert made.once.updates == 2 * Captured.WARM and made.once.seconds >= 4000.0


def test_a_probe_on_a_gpu_records_before_it_is_timed() -> None:
    warm, timed = estimate._UPDATES["cuda"]
    assert warm == costs.WARM_UPDATES == Captured.WARM + 16 + 1 and timed >= 16
    assert set(estimate._UPDATES) == {torch.device(name).type for name in ("cpu", "cuda")}
