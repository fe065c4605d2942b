"""What the transition table says of its own rows, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from agent_cases import make_table

from gtp_fast.data import TransitionTable


def table() -> TransitionTable:
    """Return two episodes of two rows; the second number of every state is 5."""
    observation = torch.tensor([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0], [6.0, 5.0]])
    action, reward = torch.tensor([[0.1], [0.2], [0.3], [0.4]]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    return make_table(observation, action, reward, observation + 1.0, torch.ones(4), length=2)


def test_moments_are_those_of_the_states_with_an_offset_for_constants() -> None:
    mean, scale = table().moments()
    # Deviations 3, 1, 1, 3 from the mean.
    assert mean == (3.0, 5.0) and scale == pytest.approx((5**0.5 + 1e-3, 1e-3))


def test_a_standardised_table_has_new_states_and_next_states_alone() -> None:
    own = table()
    before = own.rows.clone()
    found = own.standardised((3.0, 5.0), (0.5, 0.25))
    rows, kept = found.all(), own.all()
    assert rows.observation.tolist() == [[-6.0, 0.0], [-2.0, 0.0], [2.0, 0.0], [6.0, 0.0]]
    assert rows.next_observation.tolist() == [[-4.0, 4.0], [0.0, 4.0], [4.0, 4.0], [8.0, 4.0]]
    for name in ("action", "reward", "mask"):
        assert torch.equal(getattr(rows, name), getattr(kept, name))
    assert torch.equal(own.rows, before)


def test_episodes_begin_at_their_first_rows() -> None:
    assert table().first_rows().tolist() == [True, False, True, False]
    assert table().episode_starts().tolist() == [[0.0, 5.0], [4.0, 5.0]]
    assert table().episode_returns().tolist() == [3.0, 7.0]


def test_an_episode_that_stays_at_its_goal_scores_once() -> None:
    own = table()
    own.rows[:, own.columns.mask] = torch.tensor([1.0, 1.0, 0.0, 0.0])
    goals = replace(
        own,
        rules=replace(own.rules, goal="relabel"),
        statistics=replace(own.statistics, success_rate=0.5),
    )
    assert goals.episode_scores().tolist() == [0.0, 1.0]


def test_the_digest_tells_apart_rows_and_episodes() -> None:
    own = table()
    other = replace(own, episode=torch.tensor([0, 1, 1, 1], dtype=torch.int32))
    moved = replace(own, rows=own.rows + 1.0)
    facts = [one.facts() for one in (own, other, moved)]
    assert all((fact["transitions"], fact["episodes"]) == (4, 2) for fact in facts)
    assert len({fact["sha256"] for fact in facts}) == 3 and facts[0] == table().facts()
