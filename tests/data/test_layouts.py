"""Flat data as people have them: every layout gives one table."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import sets
import torch
from flat_layouts import Arrays, cast, load, renamed

from gtp_fast.data import TransitionTable
from gtp_fast.errors import UserError
from gtp_fast.tasks import Rules


def same(one: TransitionTable, other: TransitionTable) -> bool:
    return torch.equal(one.rows, other.rows) and torch.equal(one.episode, other.episode)


@pytest.mark.parametrize(
    "change",
    [
        cast("rewards", lambda x: x[:, None]),
        cast("terminals", lambda x: x.astype(np.float64)),
        cast("terminals", lambda x: x.astype(np.uint8)[:, None]),
        cast("timeouts", lambda x: x.astype(np.float32)),
        cast("observations", lambda x: x.astype(np.float64)),
        cast("observations", lambda x: x.astype(">f4")),
        cast("observations", np.asfortranarray),
        cast("rewards", lambda x: x.astype(np.int64)),
        lambda arrays: arrays | {"infos/qpos": np.full(12, np.nan)},
        lambda arrays: arrays | {"label": np.array(["a"] * 12)},
        renamed(observations="obs", actions="action", rewards="reward", terminals="is_terminal"),
        renamed(observations="states", terminals="terminated", timeouts="truncated"),
        lambda arrays: (
            renamed(terminals="done")(arrays) | {"done": arrays["terminals"] | arrays["timeouts"]}
        ),
    ],
)
def test_a_layout_gives_the_plain_ones_table(change: Callable[[Arrays], Arrays]) -> None:
    arrays = sets.flat()
    assert same(load(change(arrays)), load(arrays))


@pytest.mark.parametrize("form", ["dict", "npz"])
@pytest.mark.parametrize("column", [False, True])
def test_a_done_beside_a_timeout_is_no_terminal_state(
    form: str, column: bool, tmp_path: Path
) -> None:
    arrays: Any = sets.flat() | {"next_observations": sets.flat()["observations"] + 1}
    expected = load(arrays)
    assert expected.statistics.terminals == 1
    done = arrays.pop("terminals") | arrays["timeouts"]
    arrays["dones"] = done[:, None] if column else done
    if form == "npz":
        np.savez(tmp_path / "old.npz", **arrays)
        arrays = tmp_path / "old.npz"
    assert same(load(arrays), expected)


@pytest.mark.parametrize("form", ["npz", "npz.gz", "hdf5", "hdf5.gz", "npz as .dat"])
def test_a_format_is_told_by_its_content(form: str, tmp_path: Path) -> None:
    arrays = sets.flat()
    path = tmp_path / ("x.npz" if "npz" in form else "x.hdf5")
    if "npz" in form:
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for key, value in arrays.items():
                file[key] = value
    if form.endswith(".gz"):
        packed = tmp_path / f"x.{form}"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    if form.endswith(".dat"):
        path = path.rename(tmp_path / "x.dat")
    assert same(load(path), load(arrays))


def test_half_precision_is_read(tmp_path: Path) -> None:
    arrays = sets.flat()
    arrays["observations"] = arrays["observations"].astype(np.float16)
    table = load(arrays)
    assert table.rows.dtype == torch.float32 and torch.isfinite(table.rows).all()


@pytest.mark.parametrize("how", ["starts", "ids", "ends"])
def test_episodes_may_be_marked_in_other_ways(how: str) -> None:
    arrays = sets.flat()
    whole = load(arrays | {"timeouts": arrays["timeouts"] | (np.arange(12) == 11)})
    del arrays["timeouts"]
    ids = np.repeat([7, 9, 4], 4)
    marks = {
        "starts": {"episode_starts": np.arange(12) % 4 == 0},
        "ids": {"episode_ids": ids},
        "ends": {"episode_ends": np.array([4, 8, 12])},
    }
    assert same(load(arrays | marks[how]), whole)


def test_stacks_are_episodes() -> None:
    arrays = sets.flat()
    stacked = {
        key: value.reshape(3, 4, *value.shape[1:])
        for key, value in arrays.items()
        if key != "timeouts"
    }
    assert same(load(stacked), load(arrays | {"timeouts": np.isin(np.arange(12), (7, 11))}))
    longer = dict(stacked)
    longer["observations"] = np.concatenate(
        [stacked["observations"], stacked["observations"][:, -1:] + 5], 1
    )
    table = load(longer)
    assert len(table) == 12 and table.statistics.episodes == 3
    following = table.all().next_observation.view(3, 4, 3)
    assert following.numpy().tolist() == longer["observations"][:, 1:].tolist()
    assert "a stack of 3 episodes of 4 steps" in table.notes


def test_one_step_stacks_are_episodes_of_their_own() -> None:
    arrays = {k: v for k, v in sets.flat().items() if k != "timeouts"}
    arrays["terminals"] = np.ones(12, bool)
    stacked = {key: value.reshape(12, 1, *value.shape[1:]) for key, value in arrays.items()}
    # The last row goes, as in D4RL.
    assert load(stacked).statistics.episodes == 11


def test_nan_after_a_terminal_state_is_masked_anyway() -> None:
    arrays = sets.flat()
    following = np.roll(arrays["observations"], -1, 0)
    # Without next observations a terminal state stands in for what follows it.
    alone = load(arrays).all()
    assert torch.equal(alone.next_observation[3], alone.observation[3])
    arrays["next_observations"] = following.copy()
    assert load(arrays).all().next_observation[3].tolist() == following[3].tolist()
    arrays["next_observations"][3, 1:] = np.nan
    table = load(arrays)
    assert torch.isfinite(table.rows).all() and float(table.all().mask[3]) == 0.0
    arrays["next_observations"][5] = np.nan
    with pytest.raises(UserError, match="episode 1, row 5: the next observation holds NaN"):
        load(arrays)


def test_terminals_may_end_a_trajectory() -> None:
    arrays = sets.flat()
    arrays["terminals"] = arrays["terminals"] | arrays.pop("timeouts")
    ends = load(arrays, Rules(terminals="trajectory_end"))
    assert float(ends.all().mask.min()) == 1.0 and len(ends) == 9
    assert "no state is terminal" in ends.notes[0]
    assert len(load(arrays)) == 11
    masked = load(arrays | {"masks": 1.0 - (np.arange(12) == 3)})
    assert float(masked.all().mask[3]) == 0.0 and masked.statistics.terminals == 1
    inside = load(arrays | {"masks": 1.0 - (np.arange(12) == 5)})
    assert (inside.all().mask == 0.0).nonzero().flatten().tolist() == [4]
    assert inside.statistics.episodes == 3


def test_one_step_episodes_and_one_episode_alone() -> None:
    arrays = sets.flat()
    arrays["terminals"] = np.arange(12) % 2 == 0
    arrays["timeouts"] = np.arange(12) == 5
    assert load(arrays).statistics.episodes >= 6
    alone = sets.flat()
    alone["terminals"], alone["timeouts"] = np.arange(12) == 11, np.zeros(12, bool)
    assert load(alone).statistics.episodes == 1


def test_an_unfinished_episode_is_said() -> None:
    notes = load(sets.flat()).notes
    assert any(note.startswith("the last episode has no end") for note in notes)
    ended = load(sets.flat() | {"timeouts": np.isin(np.arange(12), (7, 11))}).notes
    assert not any(note.startswith("the last episode has no end") for note in ended)


def test_the_action_box_is_given_or_the_environments_or_assumed_aloud() -> None:
    arrays = sets.flat()
    plain = load(arrays)
    assert "the action box is assumed to be [-1, 1]" in plain.notes
    wide = arrays | {"actions": 2.0 * arrays["actions"]}
    for table in (
        load(wide, Rules(action_low=(-2.0,), action_high=(2.0, 2.0))),
        load(wide, box=([-2.0, -2.0], [2.0, 2.0])),
    ):
        assert same(table, plain) and table.action_high == (2.0, 2.0)
        assert not any("assumed" in note for note in table.notes)
    with pytest.raises(UserError, match=r"row 0: .* assumed; give the box by --action-low"):
        load(wide)
    with pytest.raises(UserError, match="actions of 2 numbers and the action box"):
        load(wide, box=([-2.0] * 3, [2.0] * 3))
    constant = arrays | {"actions": np.zeros((12, 2), np.float32)}
    assert load(constant).action_dim == 2
    rounded = arrays | {"actions": np.full((12, 2), 1.00005, np.float32)}
    assert float(load(rounded).all().action.max()) == 1.0
    beyond = arrays | {"actions": np.full((12, 2), 1.0002, np.float32)}
    with pytest.raises(UserError, match="row 0: the action lies outside the action box"):
        load(beyond)
