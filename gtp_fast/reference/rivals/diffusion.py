"""Denoising diffusion that preserves variance: Diffusion-QL's discrete schedule, and the SDE.

Time runs from 0 (data) upwards. Discrete steps are numbered 0..T-1, step i holding noise level
i + 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Diffusion(NamedTuple):
    """The constants of every discrete step, [T] each."""

    signal: Tensor
    """sqrt of the product of alphas: x_i = signal a + noise eps."""
    noise: Tensor
    """sqrt(1 - product of alphas)."""
    recover: Tensor
    """1 / signal: x_0 = recover x_i - remove eps."""
    remove: Tensor
    """noise / signal."""
    posterior_clean: Tensor
    """Weight of x_0 in the mean of q(x_{i-1} | x_i, x_0)."""
    posterior_noisy: Tensor
    """Weight of x_i in that mean."""
    posterior_std: Tensor
    """Its standard deviation; 0 at step 0, after which no noise is added."""


def vp_betas(steps: int, beta_min: float = 0.1, beta_max: float = 10.0) -> Tensor:
    """Return the betas of the discrete schedule: [T] float64.

    1 - exp(-beta_min / T - (beta_max - beta_min) (2 i - 1) / (2 T^2)), i = 1..T.
    """
    i = torch.arange(1, steps + 1, dtype=torch.float64, device="cpu")
    slope = 0.5 * (beta_max - beta_min) * (2 * i - 1) / steps**2
    return 1.0 - torch.exp(-beta_min / steps - slope)


def diffusion(betas: Tensor) -> Diffusion:
    """Return the constants of a schedule of betas [T].

    Ho et al. 2020, eq. 4 and 7.
    """
    alphas = 1.0 - betas
    product = torch.cumprod(alphas, 0)
    before = torch.cat((torch.ones_like(product[:1]), product[:-1]))
    variance = betas * (1.0 - before) / (1.0 - product)
    return Diffusion(
        signal=product.sqrt(),
        noise=(1.0 - product).sqrt(),
        recover=product.rsqrt(),
        remove=(1.0 / product - 1.0).sqrt(),
        posterior_clean=betas * before.sqrt() / (1.0 - product),
        posterior_noisy=(1.0 - before) * alphas.sqrt() / (1.0 - product),
        posterior_std=variance.sqrt(),
    )


def vp_marginal(t: Tensor, beta_min: float = 0.1, beta_max: float = 20.0) -> tuple[Tensor, Tensor]:
    """Return alpha and sigma of the VP SDE at times t in [0, 1].

    x_t = alpha a + sigma eps.
    """
    log_alpha = -0.25 * t * t * (beta_max - beta_min) - 0.5 * t * beta_min
    return torch.exp(log_alpha), torch.sqrt(-torch.expm1(2.0 * log_alpha))


def denoising_loss(predicted: Tensor, noise: Tensor) -> Tensor:
    """Return the mean of |eps_theta - eps|^2 over batch and dimensions: [S].

    predicted, noise: [S, B, A].
    """
    return (predicted - noise).square().mean((-2, -1))
