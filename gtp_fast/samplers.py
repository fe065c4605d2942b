"""The K-step sampler behind one interface, and its plain PyTorch form."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gtp_fast import random, reference
from gtp_fast.random import Stream
from gtp_fast.reference import FoldedPolicy

Rows = NDArray[np.float32]


class Sampler(Protocol):
    """The K-step sampler of S policies."""

    def load(self, policy: FoldedPolicy) -> None:
        """Take new weights of the same shapes."""

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Map observation [S, B, O] and standard normal noise [S, B, A] to actions [S, B, A]."""

    def act(self, observation: Rows, out: Rows, seed: int, step: int) -> None:
        """Write the actions of one policy for observation [B, O] into out [B, A], noise drawn by
        counter.
        """

    def describe(self) -> str:
        """Name the implementation."""


class ReferenceSampler:
    """`reference.folded_sample` behind the interface, on any device."""

    def __init__(self, policy: FoldedPolicy):
        self.load(policy)

    def load(self, policy: FoldedPolicy) -> None:
        """Take new weights."""
        self.policy = policy

    def sample(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Map observation [S, B, O] and noise [S, B, A] to actions [S, B, A]."""
        with torch.no_grad():
            return reference.folded_sample(self.policy, observation, noise)

    def act(self, observation: Rows, out: Rows, seed: int, step: int) -> None:
        """Write the actions of one policy for observation [B, O] into out [B, A]."""
        act_through_torch(self, self.policy.first_action, observation, out, seed, step)

    def describe(self) -> str:
        """Name the implementation."""
        return "reference PyTorch"


def act_through_torch(
    sampler: Sampler, weight: Tensor, observation: Rows, out: Rows, seed: int, step: int
) -> None:
    """Serve `act` with `sample`: draw the noise by counter on the device of `weight`, bring the
    actions back.
    """
    keys = random.key_tensor([seed], weight.device)
    noise = random.normals(keys, step, Stream.ACT, out.shape[0], out.shape[1], weight.dtype)
    state = torch.from_numpy(observation).to(weight)[None]
    out[:] = sampler.sample(state, noise)[0].cpu().numpy()
