"""Whole episodes kept from training, on which a policy shows what it has learned by heart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.data.table import TransitionTable
from gtp_fast.errors import UserError
from gtp_fast.system.numbers import many


def split(table: TransitionTable, share: float) -> tuple[TransitionTable, ...]:
    """Return the table without some of its episodes, then the table of those.

    share: what part of the episodes is held out, at least one; below 1, and 0 gives the table
    alone. Raises UserError where none is left to train on.
    """
    if not share:
        return (table,)
    rows = _held_out(table, share)
    if rows.all():
        episodes = many(int(table.episode[-1]) + 1, "episode")
        raise UserError(
            f"--hold-out {share:g} of {table.dataset_id} leaves nothing of its {episodes} to "
            "train on: name a smaller share, or 0 where there is but one episode."
        )
    return _part(table, ~rows), _part(table, rows)


def share_of(config: Mapping[str, Any]) -> float:
    """Return what share of the episodes a run folder's configuration holds out.

    Raises UserError for a run that held out other episodes than `split` does.
    """
    # Older runs lack the setting: they hold nothing out.
    share: float = config.get("hold_out", 0.0)
    if share and "data" not in config:
        raise UserError(
            "An older version has begun this run, and held out other episodes: train a new one."
        )
    return share


def held_out(table: TransitionTable, share: float) -> TransitionTable:
    """Return the table of the episodes that `split` holds out; of one episode, all of it."""
    return _part(table, _held_out(table, share))


def _held_out(table: TransitionTable, share: float) -> Tensor:
    """Return which rows [N] are of episodes that are held out."""
    chosen = reference.held_out(int(table.episode[-1]) + 1, share).to(table.device)
    rows: Tensor = chosen[table.episode.long()]
    return rows


def _part(table: TransitionTable, rows: Tensor) -> TransitionTable:
    """Return the table of the marked rows [N], its episodes numbered from 0."""
    _, episode = torch.unique_consecutive(table.episode[rows], return_inverse=True)
    return replace(table, rows=table.rows[rows], episode=episode.to(table.episode.dtype))
