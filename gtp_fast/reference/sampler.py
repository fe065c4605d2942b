"""The K-step sampler (eq. 15), plain and with its constants folded."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtp_fast.reference.flow_map import flow_map
from gtp_fast.reference.network import mish


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
    """The K-step sampler with every constant taken out of its loop; weights are [in, out], S seeds
    first.
    """

    first_action: Tensor
    first_observation: Tensor
    step_bias: Tensor
    hidden_weights: tuple[Tensor, ...]
    hidden_biases: tuple[Tensor, ...]
    last_weight: Tensor
    last_bias: Tensor
    c_in: Tensor
    keep: Tensor
    gain: Tensor
    initial_scale: float

    def select(self, seed: int) -> FoldedPolicy:
        """Return the policy of one seed, the axis kept."""
        pick = slice(seed, seed + 1)
        return FoldedPolicy(
            self.first_action[pick], self.first_observation[pick], self.step_bias[pick],
            tuple(w[pick] for w in self.hidden_weights), tuple(b[pick] for b in self.hidden_biases),
            self.last_weight[pick], self.last_bias[pick],
            self.c_in, self.keep, self.gain, self.initial_scale,
        )  # fmt: skip

    def flatten(self) -> Tensor:
        """Return every number in one row: the fields in their order, each [S, ...] flattened."""
        parts = (*self[:3], *self.hidden_weights, *self.hidden_biases, *self[5:10])
        return torch.cat([part.flatten() for part in parts])

    def to(self, device: torch.device | str) -> FoldedPolicy:
        """Return the same policy on another device."""
        moved: dict[str, Any] = {
            name: tuple(x.to(device) for x in value)
            if isinstance(value, tuple)
            else value.to(device)
            for name, value in self._asdict().items()
            if name != "initial_scale"
        }
        return self._replace(**moved)


def folded_sample(policy: FoldedPolicy, observation: Tensor, noise: Tensor) -> Tensor:
    """Run `sample` in its folded form: observation [S, B, O], noise [S, B, A] -> clipped actions
    [S, B, A].
    """
    a = policy.initial_scale * noise
    state = observation @ policy.first_observation
    for k in range(policy.c_in.shape[0]):
        h = mish(policy.c_in[k] * (a @ policy.first_action) + state + policy.step_bias[:, k, None])
        for weight, bias in zip(policy.hidden_weights, policy.hidden_biases, strict=True):
            h = mish(h @ weight + bias[:, None])
        output = h @ policy.last_weight + policy.last_bias[:, None]
        a = policy.keep[k] * a + policy.gain[k] * output
    return a.clamp(-1.0, 1.0)
