"""Steps as RLDS stores them: what the marks of an observation mean for the transitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gtp_fast.data import TransitionTable, load_table
from gtp_fast.errors import UserError
from gtp_fast.tasks import of_dataset

# Episodes of three, one and two transitions: the first and the third end in a terminal state.
LENGTHS, TERMINAL = (3, 1, 2), (True, False, True)


def load(data: dict[str, Any], **more: Any) -> TransitionTable:
    return load_table(of_dataset("", "x"), data, use_cache=False, **more)


def same(one: TransitionTable, other: TransitionTable) -> bool:
    return torch.equal(one.rows, other.rows) and torch.equal(one.episode, other.episode)


def rlds() -> dict[str, np.ndarray]:
    """Return steps; actions and rewards of last steps are garbage."""
    parts = []
    for number, (length, terminal) in enumerate(zip(LENGTHS, TERMINAL, strict=True)):
        at = np.arange(length + 1)
        parts.append({
            "observation": np.stack([10.0 * number + at, -at], 1),
            "action": np.where(at < length, 0.1 * at, 0.77)[:, None],
            "reward": np.where(at < length, 1.0 + at, 99.0),
            "is_first": at == 0,
            "is_last": at == length,
            "is_terminal": (at == length) & terminal,
        })  # fmt: skip
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def plain() -> dict[str, np.ndarray]:
    """Return the same as transitions with their next observations."""
    whole = rlds()
    rows = np.flatnonzero(~whole["is_last"])
    return {
        "observations": whole["observation"][rows],
        "actions": whole["action"][rows],
        "rewards": whole["reward"][rows],
        "next_observations": whole["observation"][rows + 1],
        "terminals": whole["is_terminal"][rows + 1],
        "episode_ends": np.cumsum(LENGTHS),
    }


def without(*names: str) -> dict[str, np.ndarray]:
    return {key: value for key, value in rlds().items() if key not in names}


@pytest.mark.parametrize(
    "left_out", [(), ("is_first",), ("is_last",), ("is_first", "is_last")], ids=str
)
def test_the_last_step_is_the_next_observation_and_no_transition(left_out: tuple[str, ...]) -> None:
    steps = without(*left_out)
    if left_out == ("is_first", "is_last"):
        steps["last_steps"] = rlds()["is_last"]
    table = load(steps)
    assert same(table, load(plain()))
    assert len(table.rows) == sum(LENGTHS) and table.statistics.terminals == 2
    assert table.statistics.episodes == len(LENGTHS)


def test_a_discount_alone_does_not_say_which_states_are_terminal() -> None:
    steps = without("is_terminal") | {"discount": 1.0 - rlds()["is_terminal"]}
    with pytest.raises(UserError, match=r"discount but no is_terminal, .*: add is_terminal \[N\]"):
        load(steps)
    assert same(load(steps | {"is_terminal": rlds()["is_terminal"]}), load(plain()))
    # Without a zero it has nothing to say.
    same_all = steps | {"discount": np.full(len(steps["discount"]), 0.99)}
    assert load(same_all).statistics.terminals == 0


def test_a_time_out_marks_a_last_step_too() -> None:
    steps = without("is_first")
    steps["timeouts"] = steps["is_last"] & (np.arange(len(steps["is_last"])) == 5)
    assert steps["timeouts"].sum() == 1
    steps["is_last"] = steps["is_last"] & ~steps["timeouts"]
    assert same(load(steps), load(plain()))


def test_marks_may_be_columns_and_stacks_of_episodes() -> None:
    expected = load(plain())
    columns = {key: v[:, None] if v.ndim == 1 else v for key, v in rlds().items()}
    assert same(load(columns), expected)
    one = {key: value[:4] for key, value in rlds().items()}
    stack = {key: np.stack([value, value]) for key, value in one.items()}
    twice = {key: np.concatenate([value, value]) for key, value in one.items()}
    assert same(load(stack), load(twice))
    without_last = {key: value for key, value in stack.items() if key != "is_last"}
    assert same(load(without_last), load(twice))


def test_an_episode_that_is_cut_off_keeps_its_last_observation_as_the_next() -> None:
    cut = load({key: value[:3] for key, value in without("is_first").items()})
    expected = {key: value[:2] for key, value in plain().items()}
    assert same(cut, load(expected | {"episode_ends": np.array([2])}))
    assert len(cut.rows) == 2 and not cut.statistics.terminals


def test_with_next_observations_every_row_is_a_transition() -> None:
    own = plain()
    ends = np.zeros(sum(LENGTHS), np.bool_)
    ends[own.pop("episode_ends") - 1] = True
    assert same(load(own | {"is_last": ends}), load(plain()))
    # A terminal mark is its own transition's, also where the episode goes on.
    inside = own["terminals"].copy()
    inside[0] = True
    found = load(own | {"is_last": ends, "terminals": inside})
    assert (found.all().mask == 0.0).nonzero().flatten().tolist() == [0, 2, 5]


def test_terminals_of_steps_may_mark_ends_alone() -> None:
    table = load(rlds(), rules_override={"terminals": "trajectory_end"})
    assert not table.statistics.terminals and len(table.rows) == sum(LENGTHS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda steps: steps | {"is_last": np.ones(9, np.bool_)}, "each of its episodes is a sing"),
        (lambda steps: steps | {"is_last": np.full(9, 2)}, "row 0: last_steps is 2"),
        (lambda steps: steps | {"is_last": np.ones(8)}, r"last_steps has shape \(8,\)"),
        (lambda steps: steps | {"masks": np.ones(9)}, "masks and last_steps"),
    ],
)
def test_steps_that_make_no_sense_are_refused(change: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load(change(rlds()))
