"""The K-step sampler (eq. 15), plain and with its constants folded."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtp_fast.reference.flow_map import flow_map
from gtp_fast.reference.mlp import ACTIVATIONS
from gtp_fast.reference.plans import StepSchedule


def sample(
    phi: Callable[[Tensor, Tensor, Tensor], Tensor],
    noise: Tensor,
    times: Tensor,
    clip: float | None = 1.0,
) -> Tensor:
    """Carry T noise to an action [S, B, A] in K steps (eq. 15).

    phi(a_t, t, tau) -> clean action [S, B, A], t and tau of shape []; times: [K + 1], descending to
    0; clip: bound of the action, None for none.
    """
    a = times[0] * noise
    for t, tau in pairwise(times):
        a = flow_map(a, phi(a, t, tau), t, tau)
    return a if clip is None else a.clamp(-clip, clip)


class FoldedPolicy(NamedTuple):
    """A K-step sampler with every constant taken out of its loop.

    Weights are [S, in, out]. `folded_sample` starts at a = initial_scale z_0 and takes the steps of
    `schedule`, with F(c_in_k a, k, s) for the network's output and z_{k+1} for the noise of step k,
    from 0. Eq. 15 of the paper is skip 0, out 1, carry 0, spread 0.
    """

    first_action: Tensor
    """[S, A, H], the action's part of the first layer."""
    first_observation: Tensor
    """[S, O, H], the observation's part."""
    step_bias: Tensor
    """[S, K, H], the first layer's bias in each step, with all that depends on time alone."""
    hidden_weights: tuple[Tensor, ...]
    """[S, H, H] each."""
    hidden_biases: tuple[Tensor, ...]
    """[S, H] each."""
    last_weight: Tensor
    """[S, H, A]."""
    last_bias: Tensor
    """[S, A]."""
    schedule: StepSchedule
    initial_scale: float
    activation: str = "mish"
    """mish, gelu (tanh form) or relu."""
    clamp: bool = False
    """Whether phi is clipped to [-1, 1] in every step."""
    squash: bool = False
    """Whether phi goes through tanh in every step, before it is clipped."""

    @property
    def k(self) -> int:
        """The number of steps, K."""
        return len(self.schedule.c_in)

    @property
    def draws(self) -> int:
        """Draws of noise for one action: 1, or K with noise after a step."""
        return self.k if bool(self.schedule.spread.any()) else 1

    def select(self, seed: int) -> FoldedPolicy:
        """Return the policy of one seed, the axis kept."""
        return self.mapped(lambda x: x[seed : seed + 1])._replace(schedule=self.schedule)

    def flatten(self) -> Tensor:
        """Return all numbers in one row: each tensor flattened, in the order of the fields."""
        parts: list[Tensor] = []
        for value in self:
            if isinstance(value, tuple):
                parts += value
            elif isinstance(value, Tensor):
                parts.append(value)
        return torch.cat([part.flatten() for part in parts])

    def of_raw(self, mean: Tensor, scale: Tensor) -> FoldedPolicy:
        """Return the policy of observations o where this one reads (o - mean) / scale, [O] each."""
        weight = self.first_observation / scale[:, None]
        shift = mean.expand(len(weight), 1, -1) @ weight
        return self._replace(first_observation=weight, step_bias=self.step_bias - shift)

    def rounded(self, precision: str = "bf16") -> FoldedPolicy:
        """Return the policy with hidden weights rounded to a precision, in their own dtype.

        bf16: to bfloat16; int8: to 127 levels on either side of 0 for each output unit.
        """
        weights = tuple(
            _on_levels(w, 127, -2) if precision == "int8" else w.to(torch.bfloat16).to(w.dtype)
            for w in self.hidden_weights
        )
        return self._replace(hidden_weights=weights)

    def to(self, to: torch.device | str | torch.dtype) -> FoldedPolicy:
        """Return the same policy on another device, or in another floating dtype."""
        return self.mapped(lambda x: x.to(to))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> FoldedPolicy:
        """Return the policy with every tensor changed."""
        changed: dict[str, Any] = {}
        for name, value in self._asdict().items():
            if isinstance(value, StepSchedule):
                changed[name] = StepSchedule(*map(change, value))
            elif isinstance(value, tuple):
                changed[name] = tuple(map(change, value))
            elif isinstance(value, Tensor):
                changed[name] = change(value)
        return self._replace(**changed)


def int8_inputs(h: Tensor) -> Tensor:
    """Round the inputs [.., H] of a hidden layer as precision int8 does.

    Each row has 32767 levels on either side of 0, or fewer where H > 516, so that integer sums of
    products with int8 weights stay below 2^31.
    """
    return _on_levels(h, min(32767, (2**31 - 1) // (127 * h.shape[-1])), -1)


def _on_levels(x: Tensor, levels: int, dim: int) -> Tensor:
    """Round x to multiples of its largest magnitude along dim / levels."""
    largest = x.abs().amax(dim, keepdim=True).clamp(min=1e-30)
    # Tensor / tensor rounds once, number / tensor twice.
    return (x * (largest.new_tensor(levels) / largest)).round() * (largest / levels)


def folded_sample(
    policy: FoldedPolicy,
    observation: Tensor,
    noise: Tensor,
    inputs: Callable[[Tensor], Tensor] = lambda h: h,
) -> Tensor:
    """Run a folded sampler; return actions [S, B, A] in [-1, 1].

    observation: [S, B, O]; noise: [S, B, A]; for a policy that adds noise [S, K, B, A]: draw 0 is
    the initial one, draw k + 1 is added after step k. inputs: rounds the inputs of hidden layers,
    as `int8_inputs`.
    """
    activation, steps = ACTIVATIONS[policy.activation], policy.schedule
    draws = noise[:, None] if noise.dim() == 3 else noise
    a = policy.initial_scale * draws[:, 0]
    before = torch.zeros_like(a)
    state = observation @ policy.first_observation
    for k in range(policy.k):
        h = steps.c_in[k] * (a @ policy.first_action) + state + policy.step_bias[:, k, None]
        h = activation(h)
        for weight, bias in zip(policy.hidden_weights, policy.hidden_biases, strict=True):
            h = activation(inputs(h) @ weight + bias[:, None])
        output = h @ policy.last_weight + policy.last_bias[:, None]
        phi = steps.skip[k] * a + steps.out[k] * output
        if policy.squash:
            phi = phi.tanh()
        if policy.clamp:
            phi = phi.clamp(-1.0, 1.0)
        a = steps.keep[k] * a + steps.gain[k] * phi + steps.carry[k] * before
        if draws.shape[1] > 1 and k + 1 < policy.k:
            a = a + steps.spread[k] * draws[:, k + 1]
        before = phi
    return a.clamp(-1.0, 1.0)
