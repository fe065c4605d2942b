"""The K-step sampler (eq. 15), plain and with its constants folded."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtp_fast.reference.flow_map import flow_map
from gtp_fast.reference.mlp import ACTIVATIONS


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
    """A K-step sampler with every constant taken out of its loop.

    Weights are [in, out], S seeds first.

    Step k of `folded_sample`, from 0, with F the network and phi_before that of step k - 1 (0):

        phi = skip_k a + out_k F(c_in_k a, k, s), through tanh if `squash`, clipped if `clamp`
        a <- keep_k a + gain_k phi + carry_k phi_before + spread_k z_{k+1}

    Eq. 15 of the paper is skip 0, out 1, carry 0, spread 0. The last step adds no noise.
    """

    first_action: Tensor
    """[S, A, H], the action's part of the first layer."""
    first_observation: Tensor
    """[S, O, H], the observation's part."""
    step_bias: Tensor
    """[S, K, H], what else the first layer adds in each step: its bias, and all that depends on
    time alone."""
    hidden_weights: tuple[Tensor, ...]
    """[S, H, H] each."""
    hidden_biases: tuple[Tensor, ...]
    """[S, H] each."""
    last_weight: Tensor
    """[S, H, A]."""
    last_bias: Tensor
    """[S, A]."""
    c_in: Tensor
    """[K], as every coefficient of a step."""
    skip: Tensor
    out: Tensor
    keep: Tensor
    gain: Tensor
    carry: Tensor
    spread: Tensor
    initial_scale: float
    """a = initial_scale z_0 before the first step."""
    activation: str = "mish"
    """mish, gelu (tanh form) or relu."""
    clamp: bool = False
    """Whether phi is clipped to [-1, 1] in every step."""
    squash: bool = False
    """Whether phi goes through tanh in every step, before it is clipped."""

    @property
    def draws(self) -> int:
        """Draws of noise for one action: 1, or K where noise is added after a step."""
        return self.c_in.shape[0] if bool(self.spread.any()) else 1

    def select(self, seed: int) -> FoldedPolicy:
        """Return the policy of one seed, the axis kept."""
        pick = slice(seed, seed + 1)
        chosen: dict[str, Any] = {
            name: tuple(x[pick] for x in value) if isinstance(value, tuple) else value[pick]
            for name, value in self._asdict().items()
            if name in _PER_SEED
        }
        return self._replace(**chosen)

    def coefficients(self) -> Tensor:
        """Return the seven coefficients of every step in one row [7 K], in their order."""
        return torch.cat(
            [self.c_in, self.skip, self.out, self.keep, self.gain, self.carry, self.spread]
        )

    def flatten(self) -> Tensor:
        """Return every number in one row: the tensors in their order, each flattened."""
        parts: list[Tensor] = []
        for value in self:
            if isinstance(value, tuple):
                parts += value
            elif isinstance(value, Tensor):
                parts.append(value)
        return torch.cat([part.flatten() for part in parts])

    def rounded(self, precision: str = "bf16") -> FoldedPolicy:
        """Return the policy with the hidden weights of a sampler's precision, in their dtype.

        bf16 rounds them to bfloat16, int8 to 127 levels either side of 0 for each output unit.
        """
        weights = tuple(
            _on_levels(w, 127, -2) if precision == "int8" else w.to(torch.bfloat16).to(w.dtype)
            for w in self.hidden_weights
        )
        return self._replace(hidden_weights=weights)

    def to(self, to: torch.device | str | torch.dtype) -> FoldedPolicy:
        """Return the same policy on another device, or in another floating dtype."""
        moved: dict[str, Any] = {
            name: tuple(x.to(to) for x in value) if isinstance(value, tuple) else value.to(to)
            for name, value in self._asdict().items()
            if isinstance(value, tuple | Tensor)
        }
        return self._replace(**moved)


_PER_SEED = FoldedPolicy._fields[:7]


def int8_inputs(h: Tensor) -> Tensor:
    """Return the inputs [.., H] of a hidden layer as a sampler of precision int8 reads them.

    Each row on 32767 levels either side of 0; on fewer where H > 516, so that the whole numbers of
    a product with int8 weights add up to less than 2^31.
    """
    return _on_levels(h, min(32767, (2**31 - 1) // (127 * h.shape[-1])), -1)


def _on_levels(x: Tensor, levels: int, dim: int) -> Tensor:
    """Round x to multiples of its largest magnitude along dim / levels."""
    largest = x.abs().amax(dim, keepdim=True).clamp(min=1e-30)
    # A tensor over a tensor is rounded once, a number over a tensor twice.
    return (x * (largest.new_tensor(levels) / largest)).round() * (largest / levels)


def folded_sample(
    policy: FoldedPolicy,
    observation: Tensor,
    noise: Tensor,
    inputs: Callable[[Tensor], Tensor] = lambda h: h,
) -> Tensor:
    """Run a folded sampler: observation [S, B, O], noise [S, B, A] -> actions [S, B, A] in [-1, 1].

    A policy that adds noise takes noise [S, K, B, A]: draw 0 is the initial one, draw k + 1 is
    added after step k. inputs: rounds what the hidden layers multiply, as `int8_inputs`.
    """
    activation = ACTIVATIONS[policy.activation]
    steps, draws = policy.c_in.shape[0], noise[:, None] if noise.dim() == 3 else noise
    a = policy.initial_scale * draws[:, 0]
    before = torch.zeros_like(a)
    state = observation @ policy.first_observation
    for k in range(steps):
        h = policy.c_in[k] * (a @ policy.first_action) + state + policy.step_bias[:, k, None]
        h = activation(h)
        for weight, bias in zip(policy.hidden_weights, policy.hidden_biases, strict=True):
            h = activation(inputs(h) @ weight + bias[:, None])
        output = h @ policy.last_weight + policy.last_bias[:, None]
        phi = policy.skip[k] * a + policy.out[k] * output
        if policy.squash:
            phi = phi.tanh()
        if policy.clamp:
            phi = phi.clamp(-1.0, 1.0)
        a = policy.keep[k] * a + policy.gain[k] * phi + policy.carry[k] * before
        if draws.shape[1] > 1 and k + 1 < steps:
            a = a + policy.spread[k] * draws[:, k + 1]
        before = phi
    return a.clamp(-1.0, 1.0)
