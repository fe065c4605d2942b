"""Batches in which better episodes have a larger share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from gtp_fast import reference

if TYPE_CHECKING:
    from gtp_fast.data.table import TransitionTable


_UNITS = 1024


def favoured(
    table: TransitionTable, eta: float, maximum: float, least_share: float
) -> TransitionTable:
    """Return the table with lots that draw an episode's rows by its trajectory weight.

    The weights are `reference.trajectory_weights`.
    """
    advantage = reference.trajectory_advantage(
        table.episode_scores().cpu(), table.episode_starts().cpu()
    )
    episode = table.episode.cpu().long()
    weights = reference.trajectory_weights(
        advantage, torch.bincount(episode), eta, maximum, least_share
    )
    # Rounded, because the last digits of a weight depend on the machine; the draws must not.
    units = (weights * _UNITS).round().long()
    lots = reference.alias_table(units[episode])
    return replace(table, lots=lots.to(table.device))
