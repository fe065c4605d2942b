"""Whole episodes kept from training, on which a policy shows what it has learned by heart."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gtp_fast.data.table import TransitionTable
from gtp_fast.errors import UserError
from gtp_fast.system.numbers import many


def split(table: TransitionTable, share: float) -> tuple[TransitionTable, ...]:
    """Return the table without some of its episodes, then the table of those.

    share: what part of the episodes is held out, spread evenly; below 1, and 0 gives the table
    alone. The same table and share give the same episodes. Raises UserError where the share is
    less than one episode.
    """
    if not share:
        return (table,)
    count = int(table.episode[-1]) + 1
    at = torch.arange(count + 1, dtype=torch.float64) * share
    # Where the sum of the shares passes a whole number, an episode is held out.
    chosen = (at[1:].floor() > at[:-1].floor()).to(table.device)
    if not chosen.any():
        raise UserError(
            f"--hold-out {share:g} of {table.dataset_id} holds out none of "
            f"{many(count, 'episode')}: name a larger share."
        )
    rows = chosen[table.episode.long()]
    return _part(table, ~rows), _part(table, rows)


def _part(table: TransitionTable, rows: Tensor) -> TransitionTable:
    """Return the table of the marked rows [N], its episodes numbered from 0."""
    _, episode = torch.unique_consecutive(table.episode[rows], return_inverse=True)
    return replace(table, rows=table.rows[rows], episode=episode.to(table.episode.dtype))
