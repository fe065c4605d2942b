"""The transition table: every transition of a dataset in one resident tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtp_fast.tasks import Rules


class Columns(NamedTuple):
    """Place of each field in a row of the table [2 O + A + 2]."""

    observation: slice
    action: slice
    reward: int
    next_observation: slice
    mask: int

    @classmethod
    def of(cls, observation_dim: int, action_dim: int) -> Columns:
        """Return the columns for O and A."""
        o, a = observation_dim, action_dim
        reward = o + a
        return cls(
            slice(o), slice(o, reward), reward, slice(reward + 1, reward + 1 + o), reward + 1 + o
        )


class Batch(NamedTuple):
    """Views of one gather; leading axes are seeds S and rows B."""

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    mask: Tensor
    """1 - terminal: zero stops the bootstrap, a truncation does not."""


@dataclass(frozen=True)
class Statistics:
    """What the data's own policy achieved, after the loader's cuts, before its reward rule."""

    transitions: int
    episodes: int
    terminals: int
    mean_return: float
    """Mean undiscounted return of an episode as evaluation would count it."""
    mean_length: float
    success_rate: float | None
    """Share of episodes that reach their goal; None where the task has no goal."""


@dataclass(frozen=True)
class Provenance:
    """Where the data come from; every score names it."""

    dataset_id: str
    official: bool
    """Whether nothing in the dataset says that it was made locally."""
    description: str


@dataclass(frozen=True)
class TransitionTable:
    """All transitions of a dataset: rows [N, 2 O + A + 2], see `Columns`."""

    rows: Tensor
    episode: Tensor
    """Number of each row's episode [N] int32, from 0; an episode's rows are contiguous, in time."""
    observation_dim: int
    action_dim: int
    observation_keys: tuple[str, ...]
    """Dict keys concatenated into the state; empty for flat observations."""
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    """The environment's action box; actions in `rows` are scaled to [-1, 1]."""
    task: str
    rules: Rules
    statistics: Statistics
    provenance: Provenance
    environment: str | None = None
    """Collection environment as a gymnasium EnvSpec in JSON; None for files without one."""
    evaluation_environment: str | None = None
    """The dataset's own evaluation environment, likewise."""
    notes: tuple[str, ...] = ()
    """What was assumed of the data or left out, a sentence each."""
    observation_widths: tuple[int, ...] = ()
    """Numbers of each of `observation_keys`."""
    lots: Tensor | None = None
    """Alias table [N] int64 by which batches are drawn (`reference.alias_table`); None draws all
    rows alike."""

    @property
    def dataset_id(self) -> str:
        """Name of the dataset: a Minari id, ids joined by '+', or a file name."""
        return self.provenance.dataset_id

    @property
    def columns(self) -> Columns:
        """Where each field lies in `rows`."""
        return Columns.of(self.observation_dim, self.action_dim)

    @property
    def device(self) -> torch.device:
        """Device that holds the rows."""
        return self.rows.device

    def __len__(self) -> int:
        return self.rows.shape[0]

    def to(self, device: torch.device | str) -> TransitionTable:
        """The same table with all its tensors on another device."""
        tensors = {"rows": self.rows, "episode": self.episode, "lots": self.lots}
        moved = {name: None if x is None else x.to(device) for name, x in tensors.items()}
        return replace(self, **moved)  # type: ignore[arg-type]

    def episode_returns(self) -> Tensor:
        """Undiscounted sum of the table's own rewards in each episode [episodes], float64."""
        reward = self.all().reward.cpu().double()
        return torch.bincount(self.episode.cpu(), reward).to(self.device)

    def episode_scores(self) -> Tensor:
        """Return what evaluation would count of each episode [episodes], float64.

        1 for a goal reached where the task has one and the rules end an episode there, else the
        undiscounted return.
        """
        ends_at_goal = self.rules.cut_at_goal or self.rules.goal == "relabel"
        if self.statistics.success_rate is None or not ends_at_goal:
            return self.episode_returns()
        ends = torch.bincount(self.episode.cpu(), 1.0 - self.all().mask.cpu().double())
        return ends.clamp(max=1.0).to(self.device)

    def first_rows(self) -> Tensor:
        """Mark the first row of each episode [N]."""
        first = torch.ones_like(self.episode, dtype=torch.bool)
        first[1:] = self.episode[1:] != self.episode[:-1]
        return first

    def episode_starts(self) -> Tensor:
        """First state of each episode [episodes, O]."""
        return self.rows[self.first_rows(), self.columns.observation]

    def standardised(self, mean: Sequence[float], scale: Sequence[float]) -> TransitionTable:
        """Return the table with observations (o - mean) / scale, [O] each; its tensors are new."""
        rows = self.rows.clone()
        for place in (self.columns.observation, self.columns.next_observation):
            rows[:, place] -= torch.tensor(mean, dtype=rows.dtype, device=rows.device)
            rows[:, place] /= torch.tensor(scale, dtype=rows.dtype, device=rows.device)
        return replace(self, rows=rows)

    def moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the mean of the observations and their deviation + 1e-3, [O] each.

        The offset keeps a constant number at 0 (TD3+BC, Fujimoto and Gu 2021).
        """
        observation = self.all().observation.double()
        scale = observation.std(0, correction=0) + 1e-3
        return tuple(observation.mean(0).tolist()), tuple(scale.tolist())

    def facts(self) -> dict[str, Any]:
        """Return what tells the data apart: their numbers of rows and episodes, and a digest."""
        digest = hashlib.sha256(self.rows.cpu().contiguous().numpy().data)
        digest.update(self.episode.cpu().contiguous().numpy().data)
        episodes = int(self.episode[-1]) + 1
        return {"transitions": len(self), "episodes": episodes, "sha256": digest.hexdigest()}

    def gather(self, index: Tensor) -> Batch:
        """Return rows `index` [S, B] (int64) as a Batch of views [S, B, ...]."""
        rows = self.rows.index_select(0, index.reshape(-1)).view(*index.shape, self.rows.shape[1])
        return self._split(rows)

    def all(self) -> Batch:
        """Every row as a Batch of views with leading axis N."""
        return self._split(self.rows)

    def _split(self, rows: Tensor) -> Batch:
        return Batch(*(rows[..., place] for place in self.columns))
