"""Diffusion-QL, a diffusion policy guided by Q.

Wang, Hunt, Zhou, "Diffusion policies as an expressive policy class for offline reinforcement
learning", arXiv 2208.06193.

Where it departs from its authors' code: networks start from U(-1, 1) / sqrt(fan in) in weights and
biases alike, as PyTorch's do; the last checkpoint is reported, no best one is selected; no decay of
the learning rates, whose schedule in their code hardly moves. As they do it acts with one of 50
candidates, chosen by softmax(Q) of the target critic (`num_candidates` in task_settings.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.rivals.chain import ChainActorCritic, ChainConfig
from gtp_fast.networks.actor import Steps, make_steps
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch


@dataclass(frozen=True)
class DiffusionQLConfig(ChainConfig):
    """Settings of Diffusion-QL."""

    diffusion_steps: int = 5
    """Steps T of the diffusion, all of which the sampler takes."""
    beta_min: float = 0.1
    """Start of the variance-preserving noise schedule."""
    beta_max: float = 10.0
    """End of the noise schedule."""


class DiffusionQL(ChainActorCritic):
    """A diffusion model of the data's actions whose samples are pushed uphill in Q."""

    Config = DiffusionQLConfig
    k_is_free = False
    ranges = {"diffusion_steps": (1, 64), "beta_min": (0, 1e6), "beta_max": (0, 1e6)}  # noqa: RUF012

    config: DiffusionQLConfig

    def steps_of(self, k: int | None) -> Steps:
        """Return the reverse process: x_0 recovered from eps and clipped, then the posterior."""
        c = self.config
        self.check_k(k, c.diffusion_steps)
        betas = reference.vp_betas(c.diffusion_steps, c.beta_min, c.beta_max)
        d = reference.diffusion(betas)
        like = self.actor.parameters.flat
        self.signal, self.noise = d.signal.to(like), d.noise.to(like)
        return make_steps(
            like,
            torch.arange(c.diffusion_steps - 1, -1, -1),
            skip=d.recover.flip(0),
            out=-d.remove.flip(0),
            clamp=True,
            keep=d.posterior_noisy.flip(0),
            gain=d.posterior_clean.flip(0),
            spread=d.posterior_std.flip(0),
        )

    def cloning_loss(self, batch: Batch, step: int | Tensor) -> Tensor:
        """Return the error of the predicted noise at a random step of the diffusion: [S]."""
        c = self.config
        i = self.ops.integers(self.keys, step, Stream.CLONE_TIME, c.batch_size, c.diffusion_steps)
        eps = self.chain_noise(step, Stream.CLONE_NOISE, c.batch_size)
        x = self.signal[i][..., None] * batch.action + self.noise[i][..., None] * eps
        predicted = self.network(self.actor.views, x, i.to(self.dtype), batch.observation)
        return reference.denoising_loss(predicted, eps)
