"""What is noted of each update: metrics summed, and the first step at which a loss went wrong."""

from __future__ import annotations

import torch
from torch import Tensor


def sound(loss: Tensor, limit: float | Tensor) -> Tensor:
    """Say of each loss whether it is finite and no larger than the limit."""
    return torch.isfinite(loss) & (loss.abs() <= limit)


def account(
    metrics: Tensor,
    total: Tensor,
    limits: Tensor,
    bad_step: Tensor,
    step: int | Tensor,
    advance: bool = False,
) -> None:
    """Add metrics [n, S] to total [n, S], in place; write the step into bad_step [losses, S], -1
    before, where a loss, of which the first rows are, is not sound for its limit [losses].

    advance: count `step`, a 0-d tensor, one on.
    """
    total += metrics
    losses = bad_step.shape[0]
    fresh = ~sound(metrics[:losses], limits[:, None]) & (bad_step < 0)
    bad_step.copy_(torch.where(fresh, step, bad_step))
    if advance and isinstance(step, Tensor):
        step.add_(1)
