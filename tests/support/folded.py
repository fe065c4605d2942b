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


@dataclass(frozen=True)
class Form:
    """Activation, whether phi is clipped, is carried, has noise added, goes through tanh."""

    activation: str = "mish"
    clamp: bool = False
    carries: bool = False
    stochastic: bool = False
    squash: bool = False

    def tuple(self) -> tuple[str, bool, bool, bool]:
        """What the native constructors take behind the sizes."""
        return self.activation, self.clamp, self.stochastic, self.squash


FORMS = [
    Form("gelu"),
    Form("relu"),
    Form(clamp=True),
    Form("relu", carries=True, clamp=True),
    Form("gelu", stochastic=True),
    Form(clamp=True, carries=True, stochastic=True),
    Form("relu", squash=True),
    Form(clamp=True, carries=True, stochastic=True, squash=True),
]


class Folded:
    """Random float32 weights whose activations stay of order one through all steps."""

    initial_scale = 1.5

    def __init__(self, sizes: Sizes, seed: int = 0, form: Form | None = None):
        self.sizes = s = sizes
        self.form = form = form or Form()
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
        self.skip, self.carry, self.spread = np.zeros((3, s.K), np.float32)
        self.out = np.ones(s.K, np.float32)
        if form != Form(form.activation):
            self.skip, self.out = draw.uniform(-1.5, 1.5, (2, s.K)).astype(np.float32)
        if form.carries:
            self.carry = draw.uniform(-0.5, 0.5, s.K).astype(np.float32)
        if form.stochastic:
            self.spread = draw.uniform(0.2, 0.5, s.K).astype(np.float32)

    @property
    def schedule(self) -> tuple[np.ndarray, ...]:
        """The coefficients of the steps, in the order of the flat policy."""
        return self.c_in, self.skip, self.out, self.keep, self.gain, self.carry, self.spread

    def arguments(self) -> tuple:
        """What the native constructors take."""
        return *self.sizes.tuple(), *self.form.tuple()

    def flat(self, width: int = 0, action: int = 0) -> np.ndarray:
        """What `load` takes; with padded columns, what the CUDA kernels read."""
        wide = [self.first_action, self.first_observation, self.step_bias]
        wide += [*self.hidden, *self.hidden_bias]
        narrow = [self.last_weight, self.last_bias]
        parts = [_padded(x, width) for x in wide] + [_padded(x, action) for x in narrow]
        return np.concatenate([x.ravel() for x in (*parts, *self.schedule)])

    def exact(self, observation: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """The folded sampler of the specification, in float64."""
        activation = {"mish": mish, "gelu": gelu, "relu": lambda x: np.maximum(x, 0)}
        draws = (noise if self.form.stochastic else noise[:, None]).astype(np.float64)
        a, before = self.initial_scale * draws[:, 0], 0.0
        state = observation.astype(np.float64) @ self.first_observation
        for k in range(self.sizes.K):
            _, skip, out, keep, gain, carry, spread = (float(x[k]) for x in self.schedule)
            hidden = float(self.c_in[k]) * (a @ self.first_action.astype(np.float64))
            hidden = activation[self.form.activation](hidden + state + self.step_bias[:, k, None])
            for weight, bias in zip(self.hidden, self.hidden_bias, strict=True):
                hidden = hidden @ weight.astype(np.float64) + bias[:, None]
                hidden = activation[self.form.activation](hidden)
            output = hidden @ self.last_weight.astype(np.float64) + self.last_bias[:, None]
            phi = skip * a + out * output
            phi = np.tanh(phi) if self.form.squash else phi
            phi = np.clip(phi, -1, 1) if self.form.clamp else phi
            a = keep * a + gain * phi + carry * before
            if self.form.stochastic and k + 1 < self.sizes.K:
                a = a + spread * draws[:, k + 1]
            before = phi
        return np.clip(a, -1.0, 1.0)

    def plain(self, observation: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """The same in plain PyTorch and float32."""
        policy = self.policy()
        result = reference.folded_sample(policy, torch.tensor(observation), torch.tensor(noise))
        return result.numpy()

    def int8(self, observation: np.ndarray, noise: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """What a sampler of precision int8 computes, in plain float32 and in float64."""
        rounded, inputs = self.policy().rounded("int8"), reference.int8_inputs
        plain, exact = (
            reference.folded_sample(
                rounded.to(to), torch.tensor(observation).to(to), torch.tensor(noise).to(to), inputs
            )
            for to in (torch.float32, torch.float64)
        )
        return plain, exact

    def policy(self) -> reference.FoldedPolicy:
        """The same weights as the package holds them."""
        one = torch.tensor
        return reference.FoldedPolicy(
            one(self.first_action), one(self.first_observation), one(self.step_bias),
            tuple(map(one, self.hidden)), tuple(map(one, self.hidden_bias)),
            one(self.last_weight), one(self.last_bias),
            reference.StepSchedule(*map(one, self.schedule)), self.initial_scale,
            self.form.activation, self.form.clamp, self.form.squash,
        )  # fmt: skip

    def inputs(self, rows: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Observation, noise ([S, K, B, A] for a form that adds noise), an output full of NaN."""
        draw = np.random.default_rng(seed)
        s = self.sizes
        observation = draw.standard_normal((s.S, rows, s.O)).astype(np.float32)
        draws = (s.K,) if self.form.stochastic else ()
        noise = draw.standard_normal((s.S, *draws, rows, s.A)).astype(np.float32)
        return observation, noise, np.full((s.S, rows, s.A), np.nan, np.float32)


def mish(x: np.ndarray) -> np.ndarray:
    """x tanh(ln(1 + e^x)), by its definition: independent of the form the native code takes."""
    return x * np.tanh(np.logaddexp(0.0, x))


def gelu(x: np.ndarray) -> np.ndarray:
    """GELU in its tanh form, by its definition."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _padded(x: np.ndarray, columns: int) -> np.ndarray:
    missing = max(0, columns - x.shape[-1])
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
