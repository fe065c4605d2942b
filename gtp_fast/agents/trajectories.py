"""Batches in which better episodes have a larger share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gtp_fast import reference

if TYPE_CHECKING:
    from gtp_fast.data.table import TransitionTable


_UNITS = 1024


class _Judged(NamedTuple):
    """Parts of the data, whole episodes or pieces of them, with one score each.

    part [N]: number of each row's part. score [P]: of each part. start [P, O]: its first state.
    """

    part: Tensor
    score: Tensor
    start: Tensor


def favoured(
    table: TransitionTable,
    eta: float,
    maximum: float,
    least_share: float,
    piece: int | None = None,
    discount: float = 0.99,
) -> TransitionTable:
    """Return the table with lots that draw an episode's rows by its trajectory weight.

    The weights are `reference.trajectory_weights`. piece: rows of the pieces that are judged in
    place of whole episodes, by their discounted return to go, the rest of the episode included.
    """
    judged = _episodes(table) if piece is None else _pieces(table, piece, discount)
    advantage = reference.trajectory_advantage(judged.score, judged.start)
    weights = reference.trajectory_weights(
        advantage, torch.bincount(judged.part), eta, maximum, least_share
    )
    units = _whole(weights, torch.bincount(judged.part))
    lots = reference.alias_table(units[judged.part])
    return replace(table, lots=lots.to(table.device))


def _whole(weights: Tensor, rows: Tensor) -> Tensor:
    """Return weights [P] of at least 1 as whole numbers that `reference.alias_table` can add up.

    rows: of each part [P]. Rounded, because the last digits of a weight depend on the machine; the
    draws must not.
    """
    units, count = (weights * _UNITS).round().long(), int(rows.sum())
    total, most = int((units * rows).sum()), 2**62 // count
    if total < most:
        return units
    # Coarser ones: rounding adds at most half a unit a row, the least of 1 at most one.
    share = (most - 2 * count) / total
    return (weights * (_UNITS * share)).round().long().clamp(min=1)


def _episodes(table: TransitionTable) -> _Judged:
    starts = table.episode_starts().cpu()
    return _Judged(table.episode.cpu().long(), table.episode_scores().cpu(), starts)


def _pieces(table: TransitionTable, piece: int, discount: float) -> _Judged:
    rows, episode = table.all(), table.episode.cpu().long()
    lengths = torch.bincount(episode)
    begins = (lengths.cumsum(0) - lengths)[episode]
    first = (torch.arange(len(episode), device="cpu") - begins) % piece == 0
    returns = reference.return_to_go(rows.reward.cpu(), rows.mask.cpu(), episode, discount)
    return _Judged(first.cumsum(0) - 1, returns[first].double(), rows.observation.cpu()[first])
