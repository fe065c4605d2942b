"""Sums and faults of a run's updates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Totals(NamedTuple):
    """Where metrics of updates are added up."""

    total: Tensor
    """[n, S], the losses first."""
    limits: Tensor
    """[losses]: what each may reach."""
    bad_step: Tensor
    """[losses, S]: the step of the first bad loss, -1 before."""


def finite_within(loss: Tensor, limit: float | Tensor) -> Tensor:
    """Return whether each loss is finite and no larger than the limit."""
    return torch.isfinite(loss) & (loss.abs() <= limit)


def tally(
    metrics: Tensor,
    total: Tensor,
    limits: Tensor,
    bad_step: Tensor,
    step: int | Tensor,
    advance: bool = False,
) -> None:
    """Add metrics to total and record the step of the first bad loss, in place.

    metrics, total: [n, S]; the first rows are the losses. bad_step: [losses, S], -1 until a loss is
    not finite or above its limit [losses]. advance: increment `step` if it is a 0-d tensor.
    """
    total += metrics
    losses = bad_step.shape[0]
    fresh = ~finite_within(metrics[:losses], limits[:, None]) & (bad_step < 0)
    bad_step.copy_(torch.where(fresh, step, bad_step))
    if advance and isinstance(step, Tensor):
        step.add_(1)
