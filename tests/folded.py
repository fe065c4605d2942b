"""A folded policy for the tests of the native sampler: random weights, its definition in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gtp_fast import reference


@dataclass(frozen=True)
class Sizes:
    """S seeds, O observation, A action, H width, L layers, K steps."""

    S: int = 1
    O: int = 29  # noqa: E741
    A: int = 8
    H: int = 256
    L: int = 3
    K: int = 5

    def tuple(self) -> tuple[int, ...]:
        """The order that the native constructors take."""
        return self.S, self.O, self.A, self.H, self.L, self.K


class Folded:
    """Random float32 weights whose activations stay of order one through all steps."""

    initial_scale = 1.5

    def __init__(self, sizes: Sizes, seed: int = 0):
        self.sizes = s = sizes
        draw = np.random.default_rng(seed)

        def normal(*shape: int, fan_in: int = 4) -> np.ndarray:
            return (draw.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)

        self.first_action = normal(s.S, s.A, s.H, fan_in=s.A)
        self.first_observation = normal(s.S, s.O, s.H, fan_in=s.O)
        self.step_bias = normal(s.S, s.K, s.H)
        self.hidden = [normal(s.S, s.H, s.H, fan_in=s.H) for _ in range(s.L - 1)]
        self.hidden_bias = [normal(s.S, s.H) for _ in range(s.L - 1)]
        self.last_weight = normal(s.S, s.H, s.A, fan_in=s.H)
        self.last_bias = normal(s.S, s.A)
        self.c_in, self.keep, self.gain = draw.uniform(0.2, 0.9, (3, s.K)).astype(np.float32)

    def flat(self, width: int = 0, action: int = 0) -> np.ndarray:
        """What `load` takes; with padded columns, what the CUDA kernels read."""
        wide = [self.first_action, self.first_observation, self.step_bias]
        wide += [*self.hidden, *self.hidden_bias]
        narrow = [self.last_weight, self.last_bias]
        parts = [_padded(x, width) for x in wide] + [_padded(x, action) for x in narrow]
        return np.concatenate([x.ravel() for x in (*parts, self.c_in, self.keep, self.gain)])

    def exact(self, observation: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """The folded sampler of the specification, in float64."""
        a = self.initial_scale * noise.astype(np.float64)
        state = observation.astype(np.float64) @ self.first_observation
        for k in range(self.sizes.K):
            hidden = float(self.c_in[k]) * (a @ self.first_action.astype(np.float64))
            hidden = mish(hidden + state + self.step_bias[:, k, None])
            for weight, bias in zip(self.hidden, self.hidden_bias, strict=True):
                hidden = mish(hidden @ weight.astype(np.float64) + bias[:, None])
            output = hidden @ self.last_weight.astype(np.float64) + self.last_bias[:, None]
            a = float(self.keep[k]) * a + float(self.gain[k]) * output
        return np.clip(a, -1.0, 1.0)

    def plain(self, observation: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """The same in plain PyTorch and float32."""
        policy = self.policy()
        result = reference.folded_sample(policy, torch.tensor(observation), torch.tensor(noise))
        return result.numpy()

    def policy(self) -> reference.FoldedPolicy:
        """The same weights as the package holds them."""
        one = torch.tensor
        return reference.FoldedPolicy(
            one(self.first_action), one(self.first_observation), one(self.step_bias),
            tuple(map(one, self.hidden)), tuple(map(one, self.hidden_bias)),
            one(self.last_weight), one(self.last_bias),
            one(self.c_in), 0 * one(self.c_in), torch.ones(self.sizes.K), one(self.keep),
            one(self.gain), 0 * one(self.c_in), 0 * one(self.c_in), self.initial_scale,
        )  # fmt: skip

    def inputs(self, rows: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Observation, noise, and an output full of NaN."""
        draw = np.random.default_rng(seed)
        s = self.sizes
        observation = draw.standard_normal((s.S, rows, s.O)).astype(np.float32)
        noise = draw.standard_normal((s.S, rows, s.A)).astype(np.float32)
        return observation, noise, np.full_like(noise, np.nan)


def mish(x: np.ndarray) -> np.ndarray:
    """x tanh(ln(1 + e^x)), by its definition: independent of the form the native code takes."""
    return x * np.tanh(np.logaddexp(0.0, x))


def _padded(x: np.ndarray, columns: int) -> np.ndarray:
    missing = max(0, columns - x.shape[-1])
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
