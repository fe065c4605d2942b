"""Gaussian mixtures on a line, noised as x_t = x + t z, in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Field = Callable[[Array, float], Array]


def _special(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Array], Array]:
    def apply(x: Array) -> Array:
        return np.asarray(function(torch.from_numpy(np.ascontiguousarray(x, np.float64))).numpy())

    return apply


ndtr, log_ndtr, ndtri = (
    _special(f) for f in (torch.special.ndtr, torch.special.log_ndtr, torch.special.ndtri)
)


def gaussian_denoiser(x: Array, t: float, mean: float, sd: float) -> Array:
    """Return E[clean | x_t = x] for clean ~ N(mean, sd^2)."""
    return mean + sd**2 / (sd**2 + t**2) * (x - mean)


def gaussian_flow(x: Array, t: float, s: float, mean: float, sd: float) -> Array:
    """Return the exact flow map from t to s."""
    return np.asarray(mean + (x - mean) * np.sqrt((sd**2 + s**2) / (sd**2 + t**2)))


@dataclass(frozen=True)
class Mixture:
    """A 1-D Gaussian mixture; at time t its variances are inflated by t^2."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    def _standard(self, x: Array, t: float) -> tuple[Array, Array, Array]:
        w, m, s = np.array(self.weights), np.array(self.means), np.array(self.deviations)
        scale = np.sqrt(s**2 + t**2)
        return w, (np.asarray(x)[..., None] - m) / scale, scale

    def cdf(self, x: Array, t: float) -> Array:
        """Return F_t(x)."""
        w, y, _ = self._standard(x, t)
        return np.asarray(np.sum(w * ndtr(y), -1))

    def log_cdf(self, x: Array, t: float, upper: bool = False) -> Array:
        """Return log F_t(x), or log (1 - F_t(x)), far into the tails."""
        w, y, _ = self._standard(x, t)
        return np.asarray(np.logaddexp.reduce(np.log(w) + log_ndtr(-y if upper else y), -1))

    def posterior(self, x: Array, t: float) -> tuple[Array, Array, Array]:
        """Return clean | x_t = x as a mixture: weights, means [..., C], deviations [C]."""
        w, y, scale = self._standard(x, t)
        log_weight = np.log(w) - 0.5 * y**2 - np.log(scale)
        weight = np.exp(log_weight - log_weight.max(-1, keepdims=True))
        shrink = np.array(self.deviations) ** 2 / scale**2
        means = np.array(self.means) + shrink * y * scale
        return weight / weight.sum(-1, keepdims=True), means, t * np.array(self.deviations) / scale

    def denoiser(self, x: Array, t: float) -> Array:
        """Return D(x, t) = E[clean | x_t = x]."""
        weights, means, _ = self.posterior(x, t)
        return np.asarray(np.sum(weights * means, -1))

    def field(self, x: Array, t: float) -> Array:
        """Return the true field f*(x, t) = (x - D) / t."""
        return (x - self.denoiser(x, t)) / t

    def flow(self, x: Array, t: float, s: float) -> Array:
        """Return the exact flow map by quantile transport, F_s^-1(F_t(x)), by bisection."""
        x = np.asarray(x, np.float64)
        upper = self.cdf(x, t) > 0.5
        goal = np.where(upper, self.log_cdf(x, t, True), self.log_cdf(x, t))
        _, y, _ = self._standard(x, t)
        below = np.array(self.means) + y * np.sqrt(np.array(self.deviations) ** 2 + s**2)
        # A component's own quantile at the same standard score brackets the mixture's.
        low, high = below.min(-1) - 1e-12, below.max(-1) + 1e-12
        for _ in range(64):
            middle = 0.5 * (low + high)
            value = np.where(upper, -self.log_cdf(middle, s, True), self.log_cdf(middle, s))
            right = value < np.where(upper, -goal, goal)
            low, high = np.where(right, middle, low), np.where(right, high, middle)
        return np.asarray(0.5 * (low + high))

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """Draw clean values."""
        c = rng.choice(len(self.weights), count, p=self.weights)
        return rng.normal(np.array(self.means)[c], np.array(self.deviations)[c])

    def quantiles(self, count: int) -> Array:
        """Return the clean values at the probabilities (i + 1/2) / count."""
        level = (np.arange(count) + 0.5) / count
        low, high = np.full(count, -50.0), np.full(count, 50.0)
        for _ in range(64):
            middle = 0.5 * (low + high)
            right = self.cdf(middle, 0.0) < level
            low, high = np.where(right, middle, low), np.where(right, high, middle)
        return np.asarray(0.5 * (low + high))


TWO_MODES = Mixture((0.5, 0.5), (-0.6, 0.6), (0.15, 0.15))


def quadrature(points: int = 24) -> tuple[Array, Array]:
    """Return nodes and weights of E[g(z)], z ~ N(0, 1)."""
    nodes, weights = hermegauss(points)
    return nodes, weights / weights.sum()


def posterior_expectation(
    mixture: Mixture, x: Array, t: float, g: Callable[[Array], Array], points: int = 24
) -> Array:
    """Return E[g(clean) | x_t = x] by Gauss-Hermite in every component."""
    z, wz = quadrature(points)
    weights, means, deviations = mixture.posterior(x, t)
    clean = means[..., None] + deviations[:, None] * z
    return np.asarray(np.sum(weights[..., None] * wz * g(clean), (-2, -1)))


@dataclass(frozen=True)
class Shape:
    """Figures of a 1-D law: W1 to the truth, mass in |x| < 0.25, deviation."""

    distance: float
    middle: float
    deviation: float


def judge(samples: Array, mixture: Mixture = TWO_MODES) -> Shape:
    """Measure samples of a 1-D law against a mixture."""
    ordered = np.sort(samples)
    return Shape(
        float(np.abs(ordered - mixture.quantiles(len(ordered))).mean()),
        float((np.abs(ordered) < 0.25).mean()),
        float(ordered.std()),
    )


def normal_scores(count: int) -> Array:
    """Return the normal's quantiles at (i + 1/2) / count: a sample without sampling error."""
    return np.asarray(ndtri((np.arange(count) + 0.5) / count))
