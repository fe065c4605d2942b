"""A law of n_t with words at its very bounds, where implementations would come to differ."""

from __future__ import annotations

import torch
from torch import Tensor

from gtp_fast.reference import philox


def cdf_of_drawn_words(keys: Tensor, step: int, count: int) -> Tensor:
    """Return a law over `count` nodes [count] whose inner bounds are words drawn at this step."""
    word = philox.words(keys[:1], step, philox.Stream.TIME, count - 2, 1)[0].flatten()
    ends = torch.tensor([0, 2**32], device=keys.device)
    return torch.cat((ends[:1], word.sort().values, ends[1:]))
