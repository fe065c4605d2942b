"""Policies for the small environment, and one call that evaluates them."""

from __future__ import annotations

from typing import Any

import fake_environments
import numpy as np
import torch
from torch import Tensor

from gtp_fast.evaluation.episodes import ROWS
from gtp_fast.evaluation.evaluator import Evaluator
from gtp_fast.evaluation.record import Evaluation

KEYS = ("state", "goal")


class Linear:
    """One fixed linear policy for each seed, in plain matrix products."""

    draws = 1

    def __init__(self, policies: int) -> None:
        generator = torch.Generator().manual_seed(1)
        self.observation = torch.randn(policies, 3, 2, generator=generator)
        self.noise = torch.randn(policies, 2, 2, generator=generator)

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        assert observation.shape[1] == noise.shape[1] == ROWS
        # Each row of the batch acts a little differently, so that a change of place is seen.
        place = 1 + torch.arange(ROWS)[:, None] / 100
        return torch.tanh(place * (observation @ self.observation + noise @ self.noise))

    def only(self, policy: int) -> Linear:
        """Return one of the policies."""
        other = Linear(1)
        pick = slice(policy, policy + 1)
        other.observation, other.noise = self.observation[pick], self.noise[pick]
        return other


def play(seeds: tuple[int, ...] = (3,), episodes: int = 20, **options: Any) -> Evaluation:
    """Evaluate the linear policies in the chaotic environment."""
    settings = options.pop("settings", {})
    sampler = options.pop("sampler", None) or Linear(len(seeds))
    keys = () if settings.get("flat") else KEYS
    spec = fake_environments.spec(**settings)
    with Evaluator(spec, keys, seeds, episodes, **{"processes": 0, **options}) as evaluator:
        return evaluator.evaluate(sampler)


def equal(one: Evaluation, other: Evaluation) -> bool:
    names = ("returns", "lengths", "successes", "environment_seeds")
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in names)
