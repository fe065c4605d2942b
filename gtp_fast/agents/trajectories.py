"""Batches in which better episodes have a larger share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gtp_fast import reference

if TYPE_CHECKING:
    from gtp_fast.data.table import TransitionTable


def favoured(table: TransitionTable, eta: float, maximum: float) -> TransitionTable:
    """Return the table with lots that draw an episode's rows in proportion to its trajectory
    weight (`reference.trajectory_weights`).
    """
    advantage = reference.trajectory_advantage(
        table.episode_returns().cpu(), table.episode_starts().cpu()
    )
    weights = reference.trajectory_weights(advantage, eta, maximum)
    lots = reference.alias_table(weights[table.episode.cpu().long()])
    return replace(table, lots=lots.to(table.device))
