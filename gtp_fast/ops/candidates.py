"""How one action is chosen when a policy acts: several candidates, compared by a critic.

Candidates are further draws of the same sampler, and what picks among them is one draw more. So
evaluation and `act` need to know nothing of them: they give the draws that a sampler asks for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gtp_fast.ops.sampling import Rows, Sampler, act_through_torch, action_through_act

Rule = Literal["softmax", "argmax", "mean"]
Score = Callable[[Tensor, Tensor], Tensor]
"""Scores [S, B] of observation [S, B, O] and action [S, B, A]."""


def choose(score: Tensor, draw: Tensor, rule: Rule = "softmax") -> Tensor:
    """Return the index of the chosen candidate [S, B]; score: [S, N, B]; draw: [S, B], normal.

    softmax: candidate j with probability softmax(score)_j, where the cumulated probabilities pass
    the quantile of the draw. argmax: the best one, whatever the draw.
    """
    if rule == "argmax":
        return score.argmax(1)
    quantile = 0.5 * (1.0 + torch.erf(draw / math.sqrt(2.0)))
    cumulated = torch.softmax(score, 1).cumsum(1)
    # Rounding may leave the last sum below 1.
    return (cumulated <= quantile[:, None]).sum(1).clamp(max=score.shape[1] - 1)


class CandidateSampler:
    """A sampler of `count` candidates from `inner`, of which the score chooses one, or whose mean
    acts (rule `mean`, which needs no score).

    Its noise [S, N D + 1, B, A] holds the D draws of each of N candidates, then the draw whose
    first number chooses. like: a tensor of the policy's device and type.
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
            n, d = self.count, self.inner.draws
            # Candidates lie behind one another in one batch of the inner sampler: [S, D, N B, A].
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

    def act(self, observation: Rows, out: Rows, seed: int, step: int) -> None:
        """Write the actions of one policy for observation [B, O] into out [B, A]."""
        act_through_torch(self, self.like, observation, out, seed, step)

    def action(self, observation: Rows, seed: int, step: int) -> Rows | None:
        """Return the action of one observation."""
        return action_through_act(self, self.like.shape[-1], observation, seed, step)

    def load(self, policy: object) -> None:
        """Refuse: the critic would not follow."""
        raise TypeError("a sampler of candidates is made anew for new weights")

    def describe(self) -> str:
        """Name the implementation."""
        if self.score is None:
            return f"{self.inner.describe()}, mean of {self.count} candidates"
        return f"{self.inner.describe()}, one of {self.count} candidates by {self.rule}"
