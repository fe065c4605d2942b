"""How one action is chosen when a policy acts: several candidates, compared by a critic.

N candidates use N x D noise draws; one more draw picks one of them. Evaluation and `act` give as
many draws as a sampler asks for, so they need no code for candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gtp_fast.ops.sampling import ActsBySampling, Sampler

Rule = Literal["softmax", "argmax", "mean"]
Score = Callable[[Tensor, Tensor], Tensor]
"""Scores [S, B] of observation [S, B, O] and action [S, B, A]."""


def choose(score: Tensor, draw: Tensor, rule: Rule = "softmax") -> Tensor:
    """Return the index of the chosen candidate [S, B]; score: [S, N, B]; draw: [S, B], normal.

    softmax: candidate j with probability softmax(score)_j, where the cumulated probabilities pass
    the quantile of the draw. argmax: the best one, for any draw.
    """
    if rule == "argmax":
        return score.argmax(1)
    quantile = 0.5 * (1.0 + torch.erf(draw / math.sqrt(2.0)))
    cumulated = torch.softmax(score, 1).cumsum(1)
    # Rounding may leave the last sum below 1.
    return (cumulated <= quantile[:, None]).sum(1).clamp(max=score.shape[1] - 1)


class CandidateSampler(ActsBySampling):
    """A sampler that draws `count` candidates from `inner` and acts by one or by their mean.

    The score chooses one; rule `mean` takes the mean and needs no score. The noise
    [S, N D + 1, B, A] holds the D draws of each of N candidates; the first number of the last draw
    chooses. like: a tensor of the policy's device and type.
    """

    def __init__(
        self,
        inner: Sampler,
        like: Tensor,
        score: Score | None,
        count: int,
        rule: Rule = "softmax",
    ):
        self.inner, self.like, self.score = inner, like, score
        self.count, self.rule = count, rule
        self.draws = count * inner.draws + 1
        self.fit = inner.fit._replace(draws=self.draws)

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Map observation [S, B, O] and noise [S, draws, B, A] to actions [S, B, A]."""
        self.fit.check(observation, noise)
        with torch.no_grad():
            seeds, _, rows, width = noise.shape
            if not rows:
                return noise.new_empty(seeds, 0, width)
            n, d = self.count, self.inner.draws
            # Candidates lie one after another in one batch of the inner sampler: [S, D, N B, A].
            z = noise[:, :-1].reshape(seeds, n, d, rows, width).transpose(1, 2)
            z = z.reshape(seeds, d, n * rows, width)
            states = observation.repeat(1, n, 1)
            actions = self.inner.sample(states, z[:, 0] if d == 1 else z)
            if self.score is None:
                return actions.reshape(seeds, n, rows, width).mean(1)
            scores = self.score(states, actions).reshape(seeds, n, rows)
            chosen = choose(scores, noise[:, -1, :, 0], self.rule)
            index = chosen[:, None, :, None].expand(-1, -1, -1, width)
            return actions.reshape(seeds, n, rows, width).gather(1, index)[:, 0]

    def load(self, policy: object) -> None:
        """Raise TypeError: the critic would keep its old weights."""
        raise TypeError("make a new sampler of candidates for new weights")

    def describe(self) -> str:
        """Name the implementation."""
        if self.score is None:
            return f"{self.inner.describe()}, mean of {self.count} candidates"
        return f"{self.inner.describe()}, one of {self.count} candidates by {self.rule}"
