"""Draws in given proportions by Walker's alias method: one look-up a draw, whatever the number."""

from __future__ import annotations

import torch
from torch import Tensor


def alias_table(weights: Tensor) -> Tensor:
    """Return Walker's alias table of row weights [N] int64, for draws in proportion: [N] int64.

    weights: above 0, N times their sum below 2^63; whole numbers, so that every machine makes the
    same table. The upper 32 bits of entry i, unsigned, are the largest word by which row i itself
    is drawn, the lower ones the row that is drawn by a greater word. Each entry is exact to 2^-32 /
    N.
    """
    # A row with share 1 / N has `whole`; all N rows together have N times that.
    whole, has = weights.sum(), weights * len(weights)
    light, heavy = torch.nonzero(has <= whole)[:, 0], torch.nonzero(has > whole)[:, 0]
    own, alias = torch.full_like(has, int(whole)), torch.arange(len(has), device=has.device)
    if len(heavy):
        # Heavy rows give their excess over it, in turn, to the light ones; a heavy row that its
        # last gift left below takes the rest from the next.
        given, had = (whole - has[light]).cumsum(0), (has[heavy] - whole).cumsum(0)
        before = torch.cat((given.new_zeros(1), given))[:-1]
        giver = torch.searchsorted(had, before, right=True).clamp(max=len(heavy) - 1)
        own[light], alias[light] = has[light], heavy[giver]
        own[heavy] = whole - (given[torch.searchsorted(given, had)] - had)
        alias[heavy[:-1]] = heavy[1:]
    limit = ((own.double() / whole.double() * 2.0**32).round() - 1).clamp(0, 2**32 - 1).long()
    # Shifted by way of a signed number: the upper half of an unsigned one is its negative half.
    return torch.where(limit >= 2**31, limit - 2**32, limit) * 2**32 + alias


def alias_shares(table: Tensor) -> Tensor:
    """Return the share of each row in draws by an alias table [N]: [N] float64."""
    own = (((table >> 32) & 0xFFFFFFFF) + 1).double() * 2.0**-32
    return own.index_add(0, table & 0xFFFFFFFF, 1.0 - own) / len(table)
