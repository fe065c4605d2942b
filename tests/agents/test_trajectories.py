"""Lots by trajectory weights: exact for ordinary ones, coarser for those that would overflow."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from agent_cases import make_table

from gtp_fast import reference
from gtp_fast.agents import trajectories
from gtp_fast.data.table import TransitionTable


def half_good(count: int, length: int = 100) -> TransitionTable:
    """Return episodes of one length, every other one with a reward in its first row."""
    row = torch.arange(count)
    reward = ((row % length == 0) & (row // length % 2 == 0)).float()
    zeros, ones = torch.zeros(count, 1), torch.ones(count)
    return make_table(zeros, zeros, reward, zeros, ones, length)


@pytest.mark.parametrize("maximum", [1e5, 1e6])
def test_heavy_weights_of_many_rows_draw_the_good_ones(maximum: float) -> None:
    count = 200_000
    lots = trajectories.favoured(half_good(count), 100.0, maximum, 0.0).lots
    assert lots is not None
    shares = reference.alias_shares(lots)
    good = (torch.arange(count) // 100) % 2 == 0
    assert float(shares.sum()) == pytest.approx(1.0)
    # A light row has at least 2^62 / (N N maximum) = 115 units, which are rounded.
    assert float(shares[~good].sum()) == pytest.approx(1.0 / (maximum + 1.0), rel=0.5 / 115)
    assert float(shares.min()) > 0.0


def test_ordinary_weights_have_units_of_1024() -> None:
    weights = torch.tensor([1.0, 1.5, 20.0], dtype=torch.float64)
    units = trajectories._whole(weights, torch.tensor([1000, 1000, 1000]))
    assert units.tolist() == [1024, 1536, 20480]


def test_units_stay_below_the_limit_and_above_zero() -> None:
    weights = torch.tensor([1.0, 1e6], dtype=torch.float64)
    rows = torch.tensor([2**29, 2**29])
    units = trajectories._whole(weights, rows)
    assert 2**61 < int(rows.sum()) * int((units * rows).sum()) <= 2**62
    # So many rows leave no units for the light ones, which keep the least.
    assert units[0] == 1


def test_every_episode_begins_a_piece() -> None:
    lengths = torch.tensor([5, 2, 4])
    table = replace(half_good(11), episode=torch.arange(3).repeat_interleave(lengths).int())
    pieces = trajectories._pieces(table, 2, 0.9)
    assert pieces.part.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 5]
