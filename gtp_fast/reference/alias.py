"""Draws in given proportions by Walker's alias method: one look-up a draw, whatever the number."""

from __future__ import annotations

import torch
from torch import Tensor


def alias_table(weights: Tensor) -> Tensor:
    """Return Walker's alias table of row weights [N], N < 2^31, for draws in proportion: [N] int64.

    The upper 32 bits of entry i, unsigned, are the largest word by which row i itself is drawn,
    the lower ones the row that is drawn by a greater word. Each entry is exact to 2^-32 / N.
    """
    w = weights.double()
    w = w * (len(w) / w.sum())
    light, heavy = torch.nonzero(w <= 1.0)[:, 0], torch.nonzero(w > 1.0)[:, 0]
    own, alias = torch.ones_like(w), torch.arange(len(w), device=w.device)
    if len(heavy):
        # Heavy rows give what they have above 1, in turn, to the light ones; each heavy row whose
        # last gift left it below 1 takes the rest from the next.
        given, had = torch.cumsum(1.0 - w[light], 0), torch.cumsum(w[heavy] - 1.0, 0)
        before = torch.cat((given.new_zeros(1), given))
        giver = torch.searchsorted(had, before[:-1], right=True).clamp(max=len(heavy) - 1)
        own[light], alias[light] = w[light], heavy[giver]
        last = torch.searchsorted(given, had).clamp(max=max(len(given) - 1, 0))
        short = (given[last] - had).clamp(min=0.0) if len(given) else had.new_zeros(len(had))
        own[heavy] = 1.0 - short
        alias[heavy[:-1]] = heavy[1:]
    limit = ((own * 2.0**32).round() - 1).clamp(0, 2**32 - 1).to(torch.int64)
    # Shifted by way of a signed number: the upper half of an unsigned one is its negative half.
    return torch.where(limit >= 2**31, limit - 2**32, limit) * 2**32 + alias


def alias_shares(table: Tensor) -> Tensor:
    """Return the share of each row in the draws by an alias table [N]: [N], float64."""
    own = (((table >> 32) & 0xFFFFFFFF) + 1).double() * 2.0**-32
    return own.index_add(0, table & 0xFFFFFFFF, 1.0 - own) / len(table)
