"""Figures of value guidance and of a policy's actions."""

from __future__ import annotations

import torch
from torch import Tensor


def effective_share(w: Tensor) -> Tensor:
    """Return the effective share of weights w [..., n]: (sum w)^2 / (n sum w^2)."""
    return w.sum(-1).square() / (w.shape[-1] * w.square().sum(-1))


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Return Pearson's correlation over the last axis; 1 for two constants, 0 for one."""
    constant = [v.amax(-1) == v.amin(-1) for v in (x, y)]
    x, y = x - x.mean(-1, keepdim=True), y - y.mean(-1, keepdim=True)
    found = (x * y).sum(-1) / (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    found = torch.where(constant[0] | constant[1], 0.0, found)
    return torch.where(constant[0] & constant[1], 1.0, found)


def quartiles(values: Tensor) -> Tensor:
    """Return the quartile 0..3 of each value [n]; equal values share their middle rank."""
    ordered = values.sort().values
    below = torch.searchsorted(ordered, values)
    upto = torch.searchsorted(ordered, values, right=True)
    # The middle rank is at most n - 1/2, so the quartile is below 4.
    return 2 * (below + upto) // len(values)


def quartile_means(w: Tensor, quartile: Tensor) -> Tensor:
    """Return the mean of w in each quartile: [4, S], nan for an empty one.

    w, quartile: [S, n].
    """
    members = [(quartile == number).to(w.dtype) for number in range(4)]
    return torch.stack([(w * one).sum(-1) / one.sum(-1) for one in members])


def mean_action_error(samples: Tensor, action: Tensor) -> Tensor:
    """Return the mean squared error of E[a|s] as a prediction of the data's action: [S].

    samples: [S, m, n, A], their mean over m is E[a|s]; action: [S, n, A].
    """
    return (samples.mean(1) - action).square().mean((-2, -1))


def action_deviation(samples: Tensor) -> Tensor:
    """Return the mean standard deviation over m of samples [S, m, n, A]: [S]."""
    return samples.std(1).flatten(1).mean(-1)
