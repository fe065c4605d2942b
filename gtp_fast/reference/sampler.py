"""The K-step sampler (eq. 15), plain and with its constants folded."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtp_fast.reference.flow_map import flow_map
from gtp_fast.reference.network import ACTIVATIONS


def sample(
    phi: Callable[[Tensor, Tensor, Tensor], Tensor],
    noise: Tensor,
    times: Tensor,
    clip: float | None = 1.0,
) -> Tensor:
    """Carry a_T = T noise to an action in K deterministic steps (eq. 15): [S, B, A].

    phi(a_t, t, tau) -> clean action [S, B, A], with t and tau of shape []; times: [K + 1]
    descending to 0.
    """
    a = times[0] * noise
    for t, tau in pairwise(times):
        a = flow_map(a, phi(a, t, tau), t, tau)
    return a if clip is None else a.clamp(-clip, clip)


class FoldedPolicy(NamedTuple):
    """A K-step sampler with every constant taken out of its loop; weights are [in, out], S seeds
    first.

    In step k, F_k being the network on c_in_k a: phi = skip_k a + out_k F_k, clipped to [-1, 1] if
    `clamp`; then a <- keep_k a + gain_k phi + carry_k phi_before + spread_k z_{k + 1}.
    """

    first_action: Tensor
    first_observation: Tensor
    step_bias: Tensor
    hidden_weights: tuple[Tensor, ...]
    hidden_biases: tuple[Tensor, ...]
    last_weight: Tensor
    last_bias: Tensor
    c_in: Tensor
    skip: Tensor
    out: Tensor
    keep: Tensor
    gain: Tensor
    carry: Tensor
    spread: Tensor
    initial_scale: float
    activation: str = "mish"
    clamp: bool = False
    stochastic: bool = False
    """Whether noise is added after a step: the noise is then [S, K, B, A], else [S, B, A]."""

    def select(self, seed: int) -> FoldedPolicy:
        """Return the policy of one seed, the axis kept."""
        pick = slice(seed, seed + 1)
        return self._replace(
            first_action=self.first_action[pick],
            first_observation=self.first_observation[pick],
            step_bias=self.step_bias[pick],
            hidden_weights=tuple(w[pick] for w in self.hidden_weights),
            hidden_biases=tuple(b[pick] for b in self.hidden_biases),
            last_weight=self.last_weight[pick],
            last_bias=self.last_bias[pick],
        )

    def flatten(self) -> Tensor:
        """Return every number in one row: the fields in their order, each [S, ...] flattened."""
        parts = (*self[:3], *self.hidden_weights, *self.hidden_biases, *self[5:8], self.keep,
                 self.gain)  # fmt: skip
        return torch.cat([part.flatten() for part in parts])

    def to(self, device: torch.device | str) -> FoldedPolicy:
        """Return the same policy on another device."""
        moved: dict[str, Any] = {
            name: tuple(x.to(device) for x in value)
            if isinstance(value, tuple)
            else value.to(device)
            for name, value in self._asdict().items()
            if isinstance(value, tuple | Tensor)
        }
        return self._replace(**moved)


def folded_sample(policy: FoldedPolicy, observation: Tensor, noise: Tensor) -> Tensor:
    """Run a folded policy: observation [S, B, O], noise [S, B, A], or [S, K, B, A] if stochastic,
    draw 0 the initial one -> clipped actions [S, B, A].
    """
    activation = ACTIVATIONS[policy.activation]
    a = policy.initial_scale * (noise[:, 0] if policy.stochastic else noise)
    state = observation @ policy.first_observation
    before, steps = torch.zeros_like(a), policy.c_in.shape[0]
    for k in range(steps):
        h = policy.c_in[k] * (a @ policy.first_action) + state + policy.step_bias[:, k, None]
        h = activation(h)
        for weight, bias in zip(policy.hidden_weights, policy.hidden_biases, strict=True):
            h = activation(h @ weight + bias[:, None])
        output = h @ policy.last_weight + policy.last_bias[:, None]
        phi = policy.skip[k] * a + policy.out[k] * output
        if policy.clamp:
            phi = phi.clamp(-1.0, 1.0)
        a = policy.keep[k] * a + policy.gain[k] * phi + policy.carry[k] * before
        if policy.stochastic and k + 1 < steps:
            a = a + policy.spread[k] * noise[:, k + 1]
        before = phi
    return a.clamp(-1.0, 1.0)
