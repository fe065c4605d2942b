"""The common form every source reads into, before any rule is applied."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtp_fast.data.box import shown
from gtp_fast.data.judging import kind
from gtp_fast.data.table import Columns
from gtp_fast.errors import UNREADABLE, UserError

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass
class Recording:
    """Transitions as stored; `rows` has the table's layout, reward and mask still unset.

    rows [N, 2 O + A + 2]; rewards [N] float64; terminals [N] bool; episode [N], ascending numbers;
    achieved, desired [N, 2]: position after the step and goal during it, metres, for goal rules.
    """

    name: str
    rows: Float32
    observation_dim: int
    action_dim: int
    rewards: Float64
    terminals: NDArray[np.bool_]
    episode: NDArray[np.int64]
    action_low: Float64
    action_high: Float64
    observation_keys: tuple[str, ...] = ()
    observation_widths: tuple[int, ...] = ()
    """Numbers of each key."""
    achieved: Float64 | None = None
    desired: Float64 | None = None
    environment: str | None = None
    evaluation_environment: str | None = None
    description: str = ""
    official: bool = False
    box_is_known: bool = True
    """Whether the action box is the dataset's own, not assumed."""
    notes: list[str] = field(default_factory=list)
    """What was assumed of the data or left out, a sentence each."""

    @property
    def columns(self) -> Columns:
        """Where each field lies in `rows`."""
        return Columns.of(self.observation_dim, self.action_dim)

    @property
    def actions(self) -> Float32:
        """View [N, A] of the actions in `rows`."""
        return self.rows[:, self.columns.action]

    def state(self) -> str:
        """Return the keys of the state with their widths, for an error message."""
        return keyed(self.observation_keys, self.observation_widths)

    def place(self, row: int) -> str:
        """Name of a row for an error message: dataset, episode and row."""
        return f"{self.name}, episode {int(self.episode[row])}, row {row}"


def keyed(keys: Sequence[str], widths: Sequence[int]) -> str:
    """Return the keys of a state in words, each with its width."""
    pairs = zip(keys, widths, strict=True)
    return ", ".join(f"{key} [{width}]" for key, width in pairs) or "no keys"


def allocate(count: int, observation_dim: int, action_dim: int) -> Float32:
    """Rows of a Recording; the columns that rules fill, reward and mask, are zero."""
    columns = Columns.of(observation_dim, action_dim)
    rows = np.empty((count, columns.mask + 1), np.float32)
    rows[:, [columns.reward, columns.mask]] = 0.0
    return rows


def joined(observation: Any, action: Any, following: Any) -> Float32:
    """Return the rows of transitions: observation [N, O], action [N, A], the next one [N, O]."""
    o, a = observation.shape[1], action.shape[1]
    rows, columns = allocate(len(observation), o, a), Columns.of(o, a)
    rows[:, columns.observation] = observation
    rows[:, columns.action] = action
    rows[:, columns.next_observation] = following
    return rows


def check_filled(recording: Recording) -> None:
    """Raise UserError for a recording without a row."""
    if not len(recording.rows):
        raise UserError(f"{recording.name} holds no transition; give another with --dataset")


def concatenate(parts: list[Recording]) -> Recording:
    """One Recording out of several that fit; UserError when they do not.

    A note says where they come from other forms of one environment: the first one's is kept.
    """
    for part in parts:
        check_filled(part)
    first = parts[0]
    if len(parts) == 1:
        return first
    notes = [note for part in parts[1:] for note in _joint(first, part)]
    offsets = np.cumsum([0] + [int(p.episode[-1]) + 1 for p in parts[:-1]])
    return Recording(
        name="+".join(p.name for p in parts),
        rows=np.concatenate([p.rows for p in parts]),
        observation_dim=first.observation_dim,
        action_dim=first.action_dim,
        rewards=np.concatenate([p.rewards for p in parts]),
        terminals=np.concatenate([p.terminals for p in parts]),
        episode=np.concatenate([p.episode + o for p, o in zip(parts, offsets, strict=True)]),
        action_low=first.action_low,
        action_high=first.action_high,
        observation_keys=first.observation_keys,
        observation_widths=first.observation_widths,
        achieved=_join([p.achieved for p in parts]),
        desired=_join([p.desired for p in parts]),
        environment=first.environment,
        evaluation_environment=first.evaluation_environment,
        description=" / ".join(dict.fromkeys(p.description for p in parts if p.description)),
        official=all(p.official for p in parts),
        box_is_known=first.box_is_known,
        notes=[note for p in parts for note in p.notes] + notes,
    )


def _joint(a: Recording, b: Recording) -> list[str]:
    """Return notes on joining `b` to `a`; UserError when they do not fit."""
    (one, of_a), (other, of_b) = _origin(a.environment), _origin(b.environment)
    how = _unlike(a, b)
    if one and other and kind(one) != kind(other):
        how = f"they come from {one} and {other}"
    if how:
        raise UserError(f"{b.name} cannot be joined to {a.name}: {how}; choose one with --dataset")
    if not (one and other) or of_a == of_b:
        return []
    return [f"{a.name} comes from {of_a} and {b.name} from {of_b}: the first one is kept for both"]


def _unlike(a: Recording, b: Recording) -> str:
    """Return what keeps two sets' states or actions from standing in one; empty without such."""
    if a.observation_dim != b.observation_dim:
        return f"their states have {a.observation_dim} and {b.observation_dim} numbers"
    if a.action_dim != b.action_dim:
        return f"their actions have {a.action_dim} and {b.action_dim} numbers"
    keys = [part.state() for part in (a, b)]
    if keys[0] != keys[1]:
        return f"their states hold {keys[0]} and {keys[1]}, in these orders"
    # What scales actions is float32.
    boxes = [np.stack((part.action_low, part.action_high)).astype(np.float32) for part in (a, b)]
    differ = (boxes[0] != boxes[1]).any(0)
    if differ.any():
        ends = " and ".join(shown(differ, box) for box in boxes)
        return f"their action boxes differ, action {differ.argmax()} lies in {ends}"
    return ""


def _origin(environment: str | None) -> tuple[str, str]:
    """Return the id in a specification, and the id with the time limit; empty without one."""
    try:
        facts = json.loads(environment or "{}")
        name, limit = str(facts.get("id", "")), facts.get("max_episode_steps")
    except UNREADABLE:
        return "", ""
    return name, name if limit is None else f"{name} of {limit} steps"


def _join(arrays: list[Float64 | None]) -> Float64 | None:
    present = [a for a in arrays if a is not None]
    return np.concatenate(present) if len(present) == len(arrays) else None
