"""Whoever waits for an evaluation hears from it within an episode too, and can end it there."""

from __future__ import annotations

from typing import Any

import fake_environments
import numpy as np
import pytest
from fake_policies import KEYS, Linear, play

from gtp_fast.evaluation import episodes
from gtp_fast.evaluation.evaluator import Evaluator
from gtp_fast.evaluation.vector import make


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass between two words."""
    monkeypatch.setattr(episodes, "TOLD_SECONDS", 0.0)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("processes", [0, 1])
def test_an_episode_without_an_end_can_be_ended(processes: int) -> None:
    class Stopped(Exception):
        pass

    heard = []

    def stop(done: int, total: int) -> None:
        heard.append((done, total))
        if len(heard) == 7:
            raise Stopped

    endless = fake_environments.spec(limit=10**9, entry="Endless")
    with (
        Evaluator(endless, KEYS, (3, 5), 4, processes=processes, progress=stop) as evaluator,
        pytest.raises(Stopped),
    ):
        evaluator.evaluate(Linear(2))
    assert heard == [(0, 8)] * 7


@pytest.mark.usefixtures("always")
def test_every_step_is_told_where_there_is_time() -> None:
    told: list[int] = []
    evaluation = play(episodes=3, environments=1, progress=lambda done, _: told.append(done))
    assert len(told) == evaluation.lengths.sum()
    assert [told.count(done) for done in range(4)] == [
        evaluation.lengths[0, 0] - 1, *evaluation.lengths[0, 1:], 1,
    ]  # fmt: skip


def test_between_the_ends_of_episodes_words_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0.0, 1e6, 0.4 * episodes.TOLD_SECONDS))
    monkeypatch.setattr(episodes.time, "monotonic", lambda: next(clock))
    told: list[int] = []
    evaluation = play(episodes=1, environments=1, progress=lambda done, _: told.append(done))
    assert len(told) == evaluation.lengths[0, 0] // 3 + (evaluation.lengths[0, 0] % 3 > 0)


@pytest.mark.usefixtures("always")
def test_a_live_environment_counts_the_episodes_of_all_policies() -> None:
    told: list[tuple[int, int]] = []
    live: Any = make(fake_environments.spec(limit=3))
    with Evaluator(
        live, KEYS, (3, 5), 2, progress=lambda done, total: told.append((done, total))
    ) as evaluator:
        evaluator.evaluate(Linear(2))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {total for _, total in told} == {4} and told[-1] == (4, 4)
