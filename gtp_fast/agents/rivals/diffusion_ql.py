"""Diffusion-QL (Wang, Hunt, Zhou, arXiv 2208.06193).

"Diffusion policies as an expressive policy class for offline reinforcement learning". Deviations
from the authors' code: weights and biases start from U(-1, 1) / sqrt(fan in), as PyTorch's do; the
last checkpoint is reported, not the best one; the learning rates do not decay (their schedule
hardly moves). As there, one of 50 candidates acts, chosen by softmax(Q) of the target critic
(`num_candidates` in task_settings.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.agents.rivals.chain import ChainActorCritic, ChainConfig
from gtp_fast.errors import UserError
from gtp_fast.reference import Plan
from gtp_fast.reference.philox import Stream

if TYPE_CHECKING:
    from gtp_fast.data.table import Batch


@dataclass(frozen=True)
class DiffusionQLConfig(ChainConfig):
    """Settings of Diffusion-QL."""

    diffusion_steps: int = 5
    """Steps T of the diffusion; the sampler takes all of them."""
    beta_min: float = 0.1
    """Start of the variance-preserving noise schedule."""
    beta_max: float = 10.0
    """End of the noise schedule."""

    def check_new(self) -> None:
        """Raise UserError for settings that a new run may not have."""
        super().check_new()
        # Beyond 80 the signal that the last step leaves is no number of single precision.
        if not (0.0 <= self.beta_min <= self.beta_max and 0.0 < self.beta_max <= 80.0):
            raise UserError(
                f"--beta-min {self.beta_min:g} and --beta-max {self.beta_max:g} are no schedule of "
                "noise: the first is at least 0, the second no less, above 0 and at most 80."
            )


class DiffusionQL(ChainActorCritic):
    """A diffusion model of the data's actions, guided towards larger Q."""

    Config = DiffusionQLConfig
    k_is_free = False
    ranges = {"diffusion_steps": (1, 64), "beta_min": (0, 1e6), "beta_max": (0, 1e6)}  # noqa: RUF012

    config: DiffusionQLConfig

    def sampler_plan(self, k: int | None) -> Plan:
        """Return the reverse process: x_0 recovered from eps and clipped, then the posterior."""
        c = self.config
        self.check_k(k, c.diffusion_steps)
        betas = reference.vp_betas(c.diffusion_steps, c.beta_min, c.beta_max)
        d = reference.diffusion(betas)
        like = self.actor.parameters.flat
        self.signal, self.noise = d.signal.to(like), d.noise.to(like)
        plan = Plan.of(
            torch.arange(c.diffusion_steps - 1, -1, -1, device="cpu"),
            skip=d.recover.flip(0),
            out=-d.remove.flip(0),
            clamp=True,
            keep=d.posterior_noisy.flip(0),
            gain=d.posterior_clean.flip(0),
            spread=d.posterior_std.flip(0),
        )
        return plan.to(like)

    def cloning_loss(self, batch: Batch, step: int | Tensor) -> Tensor:
        """Return the error of the predicted noise at a random step of the diffusion: [S]."""
        c = self.config
        i = self.ops.integers(self.keys, step, Stream.CLONE_TIME, c.batch_size, c.diffusion_steps)
        eps = self.chain_noise(step, Stream.CLONE_NOISE, c.batch_size)
        x = self.signal[i][..., None] * batch.action + self.noise[i][..., None] * eps
        predicted = self.network(self.actor.views, x, i.to(self.dtype), batch.observation)
        return reference.denoising_loss(predicted, eps)
