"""Q-weighted iterative policy optimisation (QIPO): energy weights on a support set, and the solver.

The policy proportional to mu(a|s) exp(beta Q(s, a)) is fitted by the ordinary conditional loss on M
actions of each state, weighted by softmax_j(beta Q_j).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gtp_fast.reference.plans import StepSchedule
from gtp_fast.reference.rivals.diffusion import vp_marginal
from gtp_fast.reference.rivals.values import softmax


def support_weights(values: Tensor, beta: Tensor) -> Tensor:
    """Return the softmax of beta Q over each state's actions: [S, M, B].

    values: Q [S, M, B]; beta: [S].
    """
    return softmax(beta[:, None, None] * values)


def support_loss(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the batch mean of sum_j g_j |predicted_j - target_j|^2 / A: [S].

    predicted, target: [S, M B, A], the first actions of all states before the second ones; weights:
    g [S, M, B], no gradient flows through them. With M = 1 and g = 1 the loss fits the behaviour.
    """
    error = (predicted - target).square().mean(-1).reshape(weights.shape)
    return (weights.detach() * error).sum(1).mean(-1)


def vp_perturb(
    a: Tensor, z: Tensor, t: Tensor, beta_min: float = 0.1, beta_max: float = 20.0
) -> Tensor:
    """Return alpha_t a + sigma_t z of the VP SDE: [..., A].

    t: [...] in [0, 1].
    """
    alpha, sigma = vp_marginal(t, beta_min, beta_max)
    return alpha[..., None] * a + sigma[..., None] * z


def solver_times(
    steps: int, t_end: float = 1e-3, beta_min: float = 0.1, beta_max: float = 20.0
) -> Tensor:
    """Return the K + 1 times of the solver, from 1 down to t_end: float64.

    They are evenly spaced in lambda = ln(alpha / sigma).
    """
    ends = torch.tensor([1.0, t_end], dtype=torch.float64, device="cpu")
    alpha, sigma = vp_marginal(ends, beta_min, beta_max)
    first, last = torch.log(alpha / sigma)
    level = (
        first + (last - first) * torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps
    )
    # ln alpha = -softplus(-2 lambda) / 2 is a quadratic in t.
    span, fall = beta_max - beta_min, 2.0 * torch.nn.functional.softplus(-2.0 * level)
    times: Tensor = (torch.sqrt(beta_min**2 + span * fall) - beta_min) / span
    times[0], times[-1] = 1.0, t_end
    return times


def solver_schedule(times: Tensor, beta_min: float = 0.1, beta_max: float = 20.0) -> StepSchedule:
    """Return the steps of DPM-Solver++(2M) (Lu et al. 2022) between times [K + 1].

    The network predicts the noise; phi is the clean action. With lambda = ln(alpha / sigma),
    h_k = lambda_{k+1} - lambda_k and r_k = h_{k-1} / h_k,

        x_{k+1} = sigma_{k+1} / sigma_k x_k
                  + alpha_{k+1} (1 - e^{-h_k}) ((1 + 1 / 2 r_k) phi_k - 1 / (2 r_k) phi_{k-1})

    The first step has no phi before it and the last one would amplify the error of phi most: both
    are of first order.
    """
    alpha, sigma = vp_marginal(times, beta_min, beta_max)
    level = torch.log(alpha / sigma)
    h = level[1:] - level[:-1]
    slope = torch.zeros_like(h)
    slope[1:-1] = 0.5 * h[1:-1] / h[:-2]
    reach = -alpha[1:] * torch.expm1(-h)
    return StepSchedule.of(
        len(h),
        skip=1.0 / alpha[:-1],
        out=-sigma[:-1] / alpha[:-1],
        keep=sigma[1:] / sigma[:-1],
        gain=reach * (1.0 + slope),
        carry=-reach * slope,
    )
