"""The common form every source reads into, before any rule is applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtp_fast.data.table import Columns
from gtp_fast.errors import UserError

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

    def place(self, row: int) -> str:
        """Name of a row for an error message: dataset, episode and row."""
        return f"{self.name}, episode {int(self.episode[row])}, row {row}"


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


def concatenate(parts: list[Recording]) -> Recording:
    """One Recording out of several of the same shape; UserError when they do not fit."""
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts[1:]:
        same_box = np.array_equal(part.action_low, first.action_low) and np.array_equal(
            part.action_high, first.action_high
        )
        if part.rows.shape[1] != first.rows.shape[1] or not same_box:
            raise UserError(
                f"{part.name} cannot be joined to {first.name}: observations or actions differ"
                " in shape; choose one with --dataset"
            )
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
        achieved=_join([p.achieved for p in parts]),
        desired=_join([p.desired for p in parts]),
        environment=first.environment,
        evaluation_environment=first.evaluation_environment,
        description=" / ".join(dict.fromkeys(p.description for p in parts if p.description)),
        official=all(p.official for p in parts),
        box_is_known=first.box_is_known,
        notes=[note for p in parts for note in p.notes],
    )


def _join(arrays: list[Float64 | None]) -> Float64 | None:
    present = [a for a in arrays if a is not None]
    return np.concatenate(present) if len(present) == len(arrays) else None
