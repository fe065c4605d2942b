"""Marks of episodes in flat data that would mix two of them are refused."""

from __future__ import annotations

import numpy as np
import pytest
import sets

from gtp_fast.data import TransitionTable, load_table
from gtp_fast.errors import UserError
from gtp_fast.tasks import Rules, of_dataset

Arrays = dict[str, np.ndarray]


def load(arrays: Arrays, rules: Rules | None = None) -> TransitionTable:
    return load_table(of_dataset("", "x"), arrays, rules, use_cache=False)


def unmarked() -> Arrays:
    return {k: v for k, v in sets.flat().items() if k not in ("terminals", "timeouts")}


@pytest.mark.parametrize("followed", [False, True])
@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (np.arange(12) % 2, "row 2: the episode 0 of episode_ids returns"),
        (np.repeat([7, 3, 7], 4), "row 8: the episode 7 of episode_ids returns"),
        (np.full(12, np.nan), "row 1: the episode nan of episode_ids returns"),
    ],
)
def test_an_episode_that_returns_is_refused(ids: np.ndarray, said: str, followed: bool) -> None:
    arrays = unmarked() | {"episode_ids": ids}
    if followed:
        arrays["next_observations"] = arrays["observations"] + 10.0
    with pytest.raises(UserError, match=said):
        load(arrays)


def test_episodes_may_have_any_numbers() -> None:
    assert load(unmarked() | {"episode_ids": np.repeat([7, 3, -1], 4)}).statistics.episodes == 3


def test_masks_alone_mark_no_end() -> None:
    alone = unmarked() | {"masks": np.arange(12) != 3}
    with pytest.raises(UserError, match="marks no end of an episode"):
        load(alone)
    whole = load(alone | {"next_observations": alone["observations"]})
    assert len(whole) == 12 and whole.statistics.terminals == 1


def test_terminals_that_mark_trajectories_but_no_end_are_refused() -> None:
    never = unmarked() | {"terminals": np.zeros(12)}
    with pytest.raises(UserError, match="marks no end of an episode"):
        load(never, Rules(terminals="trajectory_end"))
