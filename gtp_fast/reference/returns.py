"""Discounted sums of the data's own rewards to the end of an episode."""

from __future__ import annotations

import torch
from torch import Tensor


def return_to_go(reward: Tensor, mask: Tensor, episode: Tensor, discount: float) -> Tensor:
    """Return the discounted sum of rewards from each row to its episode's end: [N] float32.

    reward, mask [N]: mask 0 ends the sum. episode [N]: numbers, an episode's rows contiguous and in
    time order. An episode that ends without a terminal continues for ever with the mean reward of
    its last H rows, mean / (1 - discount), H the horizon round(1 / (1 - discount)) or the whole
    episode; with discount 1 nothing follows. Computed in float64.
    """
    value, alive = reward.double(), mask.double()
    last = torch.ones_like(episode, dtype=torch.bool)
    last[:-1] = episode[1:] != episode[:-1]
    ends = last.nonzero()[:, 0]
    value = value.index_add(0, ends, discount * alive[ends] * _beyond(value, ends, discount))
    # value_i + weight_i * (the sum from row i + reach on), with twice the reach in every pass.
    weight = discount * alive.masked_fill(last, 0.0)
    reach = 1
    while reach < len(value) and weight.any():
        # Each product is complete before it is stored: a pass reads the last one's values only.
        value[:-reach] += weight[:-reach] * value[reach:]
        weight[:-reach] = weight[:-reach] * weight[reach:]
        weight[-reach:] = 0.0
        reach *= 2
    return value.float()


def _beyond(reward: Tensor, ends: Tensor, discount: float) -> Tensor:
    """Return the value that follows each episode if it is cut: [episodes]."""
    if discount == 1.0:
        return torch.zeros_like(ends, dtype=reward.dtype)
    sums = torch.cat((reward.new_zeros(1), reward.cumsum(0)))
    begins = torch.cat((ends.new_zeros(1), ends[:-1] + 1))
    after = ends + 1
    count = torch.clamp(after - begins, max=round(1.0 / (1.0 - discount)))
    return (sums[after] - sums[after - count]) / count / (1.0 - discount)
