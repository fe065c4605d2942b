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


@pytest.mark.parametrize(
    "marks",
    [
        {"terminals": (2, 5, 8)},
        {"terminals": (2, 8), "timeouts": (5,)},
        {"episode_starts": (0, 3, 6, 9)},
    ],
)
def test_numbers_may_start_again_where_each_episode_has_ended(
    marks: dict[str, tuple[int, ...]],
) -> None:
    # As two recordings have them, one below the other.
    marked = {key: np.isin(np.arange(12), rows) for key, rows in marks.items()}
    twice = np.repeat([0, 1, 0, 1], 3)
    assert load(unmarked() | marked | {"episode_ids": twice}).statistics.episodes == 4
    # Without the mark of its end episode 1 goes on after another one.
    unended = np.arange(12) != (6 if "episode_starts" in marks else 5)
    marked = {key: rows & unended for key, rows in marked.items()}
    with pytest.raises(UserError, match="row 9: the episode 1 of episode_ids returns"):
        load(unmarked() | marked | {"episode_ids": twice})


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


@pytest.mark.parametrize("followed", [False, True])
def test_a_terminal_state_at_the_time_limit_is_terminal_where_what_follows_is_stored(
    followed: bool,
) -> None:
    # D4RL's loader drops every row of a time-out, for lack of what follows it.
    arrays = unmarked() | {key: np.arange(12) == 7 for key in ("terminals", "timeouts")}
    if followed:
        arrays["next_observations"] = arrays["observations"] + 1.0
    table = load(arrays)
    mask = table.all().mask.tolist()
    assert mask == ([1.0] * 7 + [0.0] + [1.0] * 4 if followed else [1.0] * 10)
    assert np.bincount(table.episode.numpy()).tolist() == ([8, 4] if followed else [7, 3])


def test_a_time_out_between_terminal_rows_ends_an_episode() -> None:
    # Terminal rows in a row are one episode that went on after its goal, unless it is cut there.
    arrays = unmarked() | {"terminals": np.isin(np.arange(12), (2, 3))}
    arrays["next_observations"] = arrays["observations"]
    for timeouts, lengths in (((7,), [4, 4, 4]), ((2, 7), [3, 1, 4, 4])):
        table = load(arrays | {"timeouts": np.isin(np.arange(12), timeouts)})
        assert np.bincount(table.episode.numpy()).tolist() == lengths
