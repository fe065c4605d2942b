"""What is noted of a run: sums and faults of its updates, and figures of its value guidance."""

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


def effective_share(w: Tensor) -> Tensor:
    """Return the effective share of weights w [..., n]: (sum w)^2 / (n sum w^2)."""
    return w.sum(-1).square() / (w.shape[-1] * w.square().sum(-1))


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Return Pearson's correlation over the last axis; 1 of two constants, 0 of one."""
    constant = [v.amax(-1) == v.amin(-1) for v in (x, y)]
    x, y = x - x.mean(-1, keepdim=True), y - y.mean(-1, keepdim=True)
    found = (x * y).sum(-1) / (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    found = torch.where(constant[0] | constant[1], 0.0, found)
    return torch.where(constant[0] & constant[1], 1.0, found)


def quartiles(values: Tensor) -> Tensor:
    """Return the quartile 0..3 of each value [n] among all; equal ones take their middle rank."""
    ordered = values.sort().values
    below = torch.searchsorted(ordered, values)
    upto = torch.searchsorted(ordered, values, right=True)
    # The middle rank is at most n - 1/2, so the quartile is below 4.
    return 2 * (below + upto) // len(values)


def quartile_means(w: Tensor, quartile: Tensor) -> Tensor:
    """Return the mean of w [S, n] in each quartile [S, n]: [4, S], nan where there is no row."""
    inside = [(quartile == number).to(w.dtype) for number in range(4)]
    return torch.stack([(w * part).sum(-1) / part.sum(-1) for part in inside])


def mean_action_error(samples: Tensor, action: Tensor) -> Tensor:
    """Return the mean squared distance, per number, of E[a|s] from the data's action: [S].

    samples: [S, m, n, A], whose mean over m is E[a|s]; action: [S, n, A].
    """
    return (samples.mean(1) - action).square().mean((-2, -1))


def action_deviation(samples: Tensor) -> Tensor:
    """Return the standard deviation over m of samples [S, m, n, A], averaged over the rest: [S]."""
    return samples.std(1).flatten(1).mean(-1)
