"""A policy judged on data alone: fitted Q evaluation, energy score, coverage, held-out episodes.

Fitted Q evaluation (FQE): Le, Voloshin, Yue, "Batch policy learning under constraints", ICML 2019,
algorithm 3, here with a target network.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gtp_fast.reference import philox
from gtp_fast.reference.philox import Stream
from gtp_fast.reference.td import td_loss


def fqe_loss(
    values: Tensor,
    next_values: Tensor,
    reward: Tensor,
    mask: Tensor,
    discount: float,
    loss: Callable[..., Tensor] = td_loss,
) -> Tensor:
    """Return the mean of (Q(s, a) - r - gamma mask mean_j Q_target(s', a'_j))^2: [S].

    values, reward, mask: [S, B]; next_values: [S, m, B], target values of m actions a'_j of the
    policy; no gradient reaches them. loss: a form of `td_loss`, which this is with one critic.
    """
    return loss(values[None], next_values.mean(1)[None], reward, mask, discount)


def shifted_reward(
    reward: Tensor, mask: Tensor, discount: float, shift: float, scale: float
) -> Tensor:
    """Return the reward of which f is the value, where shift + scale f is that of `reward`.

    reward, mask: any shape. Exact for every policy: put shift + scale f into Bellman's equation.
    """
    return (reward - (1.0 - discount * mask) * shift) / scale


def policy_value(values: Tensor) -> Tensor:
    """Return V, the mean of Q over m actions of the policy in each of n states: [S].

    values: [S, m, n].
    """
    return values.mean((1, 2))


def energy_score(actions: Tensor, observed: Tensor) -> Tensor:
    """Return mean_j |x_j - y| - 1/2 mean_{j < k} |x_j - x_k|: [S, B]; the lower, the better.

    actions: [S, m, B, A], m >= 2 draws x of the policy in each state; observed: [B, A], the one
    action y of the data there. Raises ValueError for m = 1. Gneiting and Raftery 2007, "Strictly
    proper scoring rules, prediction, and estimation", eq. 22; the mean over pairs j < k makes its
    expectation free of m. Its mean over states is the energy distance between policy and data up
    to 1/2 E|Y - Y'|, which needs two actions of the data in a state and is the same for all
    policies.
    """
    m = actions.shape[1]
    if m < 2:
        raise ValueError("the energy score needs two actions of the policy in each state")
    distance = _distances(actions, observed).mean(1)
    x = actions.transpose(1, 2)
    apart: Tensor = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    return distance - 0.5 * apart.sum((-1, -2)) / (m * (m - 1))


def covered(actions: Tensor, observed: Tensor, radius: float) -> Tensor:
    """Return 1 where the nearest of m actions lies within the radius of the data's: [S, B].

    actions: [S, m, B, A]; observed: [B, A]; radius: root mean square over the A numbers of an
    action. The mean is 1 - miss rate of m predictions (Chang et al., "Argoverse", CVPR 2019).
    """
    nearest = _distances(actions, observed).amin(1)
    return (nearest <= radius * math.sqrt(observed.shape[-1])).to(actions.dtype)


def held_out(episodes: int, share: float) -> Tensor:
    """Return which episodes are held out: [episodes] bool, at least one of them True.

    Those round(share episodes) with the smallest words drawn for their numbers, key 0.
    """
    word = philox.words(philox.key_tensor([0]), 0, Stream.HEALTH_ROWS, episodes, 1)[0].flatten()
    chosen = torch.zeros(episodes, dtype=torch.bool, device="cpu")
    chosen[word.argsort(stable=True)[: max(1, round(share * episodes))]] = True
    return chosen


def _distances(actions: Tensor, observed: Tensor) -> Tensor:
    """Return |x_j - y| [S, m, B]."""
    distances: Tensor = torch.linalg.vector_norm(actions - observed, dim=-1)
    return distances
