"""How one action is chosen when a policy acts: the noise it takes, and the critic's choice among
candidates.

All randomness of a decision is one row of standard normals, so that evaluation and `act` draw it
alike, by counter: N candidates with D draws of A numbers each, in that order, then one number that
picks among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gtp_fast import random
from gtp_fast.random import Stream
from gtp_fast.samplers import Rows, Sampler

Rule = Literal["softmax", "argmax"]
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


class ActingSampler:
    """A sampler that takes its noise as rows [S, B, columns], and its best of `count` candidates.

    like: a tensor [..., A] of the policy's device and type. steps: K. draws: draws of noise [A]
    that the inner sampler takes for one action.
    """

    def __init__(
        self,
        inner: Sampler,
        like: Tensor,
        *,
        steps: int,
        draws: int = 1,
        count: int = 1,
        score: Score | None = None,
        rule: Rule = "softmax",
    ):
        if count > 1 and score is None:
            raise ValueError("candidates cannot be compared without a score")
        self.inner, self.like, self.action_dim = inner, like, like.shape[-1]
        self.steps, self.draws, self.count, self.score, self.rule = steps, draws, count, score, rule
        self.columns = count * draws * self.action_dim + (count > 1)

    def entry(self) -> Callable[[Rows, Rows, int, int], None]:
        """Return the shortest way to `act`: the inner sampler's own where it draws the same
        noise.
        """
        return self.inner.act if self.draws == self.count == 1 else self.act

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Map observation [S, B, O] and noise [S, B, columns] to actions [S, B, A]."""
        with torch.no_grad():
            seeds, rows, _ = noise.shape
            size = (seeds, rows, self.count, self.draws, self.action_dim)
            # [S, D, N B, A]: candidates lie behind one another, as batches of the inner sampler.
            z = noise[..., : math.prod(size[2:])].reshape(size).permute(0, 3, 2, 1, 4)
            z = z.reshape(seeds, self.draws, self.count * rows, self.action_dim)
            states = observation.repeat(1, self.count, 1)
            actions = self.inner.sample(states, z[:, 0] if self.draws == 1 else z)
            if self.score is None or self.count == 1:
                return actions
            scores = self.score(states, actions).reshape(seeds, self.count, rows)
            chosen = choose(scores, noise[..., -1], self.rule)
            actions = actions.reshape(seeds, self.count, rows, self.action_dim)
            index = chosen[:, None, :, None].expand(-1, -1, -1, self.action_dim)
            return actions.gather(1, index)[:, 0]

    def act(self, observation: Rows, out: Rows, seed: int, step: int) -> None:
        """Write the actions of one policy for observation [B, O] into out [B, A]."""
        keys = random.key_tensor([seed], self.like.device)
        noise = random.normals(keys, step, Stream.ACT, out.shape[0], self.columns, self.like.dtype)
        state = torch.from_numpy(observation).to(self.like)[None]
        out[:] = self.sample(state, noise)[0].cpu().numpy()

    def describe(self) -> str:
        """Name the implementation."""
        more = f", best of {self.count} by {self.rule}" if self.count > 1 else ""
        return self.inner.describe() + more
