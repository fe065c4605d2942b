"""Closed forms that judge the package: 1-D Gaussian mixtures, x_t = x + t z, numpy float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
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


def karras(count: int, t_max: float = 80.0, first: float = 0.0) -> Array:
    """Return the ascending grid from 0.002 to t_max; node 0 has the algebraic time `first`."""
    nodes = np.linspace(0.002 ** (1 / 7), t_max ** (1 / 7), count) ** 7
    nodes[0] = first
    return nodes


# --- Gaussian data -------------------------------------------------------------------------------


def gaussian_denoiser(x: Array, t: float, mean: float, sd: float) -> Array:
    """Return E[clean | x_t = x] for clean ~ N(mean, sd^2)."""
    return mean + sd**2 / (sd**2 + t**2) * (x - mean)


def gaussian_flow(x: Array, t: float, s: float, mean: float, sd: float) -> Array:
    """Return the exact flow map from t to s."""
    return mean + (x - mean) * np.sqrt((sd**2 + s**2) / (sd**2 + t**2))


def gaussian_recursion(times: Array, sd: float, u_mode: str) -> Array:
    """Return c[t, tau] of the population fixed point Phi = mu + c (x - mu): lower triangle [N, N].

    c(t, tau) = mean over u of c(u, tau) (sd^2 + u t) / (sd^2 + t^2), c(tau, tau) = 1.
    """
    count = len(times)
    c = np.eye(count)
    for t in range(1, count):
        factor = (sd**2 + times[:t] * times[t]) / (sd**2 + times[t] ** 2)
        if u_mode == "adjacent":
            c[t, :t] = c[t - 1, :t] * factor[t - 1]
        else:
            c[t, :t] = factor @ c[:t, :t] / (t - np.arange(t))
    return c


# --- mixtures ------------------------------------------------------------------------------------


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
        return np.sum(w * ndtr(y), -1)

    def log_cdf(self, x: Array, t: float, upper: bool = False) -> Array:
        """Return log F_t(x), or log (1 - F_t(x)), far into the tails."""
        w, y, _ = self._standard(x, t)
        return np.asarray(np.logaddexp.reduce(np.log(w) + log_ndtr(-y if upper else y), -1))

    def posterior(self, x: Array, t: float) -> tuple[Array, Array, Array]:
        """Return the mixture clean | x_t = x: weights [..., C], means [..., C], deviations [C]."""
        w, y, scale = self._standard(x, t)
        log_weight = np.log(w) - 0.5 * y**2 - np.log(scale)
        weight = np.exp(log_weight - log_weight.max(-1, keepdims=True))
        shrink = np.array(self.deviations) ** 2 / scale**2
        means = np.array(self.means) + shrink * y * scale
        return weight / weight.sum(-1, keepdims=True), means, t * np.array(self.deviations) / scale

    def denoiser(self, x: Array, t: float) -> Array:
        """Return D(x, t) = E[clean | x_t = x]."""
        weights, means, _ = self.posterior(x, t)
        return np.sum(weights * means, -1)

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
        return 0.5 * (low + high)

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
        return 0.5 * (low + high)


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
    return np.sum(weights[..., None] * wz * g(clean), (-2, -1))


# --- solvers -------------------------------------------------------------------------------------


def solve(field: Field, x: Array, t: float, s: float, steps: int, order: int) -> Array:
    """Integrate dx/dt = field from t to s by Euler (order 1), Heun (2) or Runge-Kutta (4)."""
    h = (s - t) / steps
    for i in range(steps):
        r = t + i * h
        end = s if i == steps - 1 else r + h
        k1 = field(x, r)
        if order == 1:
            x = x + h * k1
        elif order == 2:
            x = x + h / 2 * (k1 + field(x + h * k1, end))
        else:
            k2 = field(x + h / 2 * k1, r + h / 2)
            k3 = field(x + h / 2 * k2, r + h / 2)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + field(x + h * k3, end))
    return x


def slope(h: Array, error: Array) -> float:
    """Return the power p of error ~ h^p, by least squares."""
    return float(np.polyfit(np.log(h), np.log(error), 1)[0])


# --- the population fixed point of the consistency loss ------------------------------------------


class TableMap:
    """Phi(x, t, tau) of the population minimiser, tabulated over x / sqrt(1/4 + t^2).

    The minimiser obeys Phi(x_t, t, tau) = E[Phi(x + u z, u, tau) | x_t], averaged over u;
    it is computed from the lowest t upwards, linear between the points of the table.
    """

    def __init__(self, mixture: Mixture, count: int, u_mode: str, points: int = 1201):
        self.times = karras(count)
        self.scales = np.sqrt(0.25 + self.times**2)
        self.y = np.linspace(-6.0, 6.0, points)
        self.tables = [(self.scales[0] * self.y)[None]]
        z, wz = quadrature(12)
        for n in range(1, count):
            t = self.times[n]
            x = self.scales[n] * self.y
            weights, means, deviations = mixture.posterior(x, t)
            clean = (means[..., None] + deviations[:, None] * z).reshape(points, -1)
            mass = (weights[..., None] * wz).reshape(points, -1)
            total = np.zeros((n, points))
            for m in range(n - 1 if u_mode == "adjacent" else 0, n):
                r = self.times[m] / t
                total[: m + 1] += self._mean(m, r * x[:, None] + (1 - r) * clean, mass)
            share = np.ones(n) if u_mode == "adjacent" else 1.0 / (n - np.arange(n))
            self.tables.append(np.concatenate((total * share[:, None], x[None])))

    def _position(self, n: int, x: Array) -> tuple[NDArray[np.int64], Array]:
        step = self.y[1] - self.y[0]
        place = (x / self.scales[n] - self.y[0]) / step
        index = np.clip(np.floor(place).astype(np.int64), 0, len(self.y) - 2)
        return index, place - index

    def _mean(self, n: int, x: Array, mass: Array) -> Array:
        index, part = self._position(n, x)
        low, high = mass * (1 - part), mass * part
        table, total = self.tables[n], np.zeros((n + 1, len(x)))
        for j in range(x.shape[1]):
            total += table[:, index[:, j]] * low[:, j] + table[:, index[:, j] + 1] * high[:, j]
        return total

    def __call__(self, x: Array, n: int, n_tau: int) -> Array:
        """Return Phi(x, t_n, t_n_tau)."""
        index, part = self._position(n, x)
        row = self.tables[n][n_tau]
        return row[index] * (1 - part) + row[index + 1] * part

    def sample(self, noise: Array, steps: int) -> Array:
        """Carry T noise to clean values over equally spaced node indices."""
        last = len(self.times) - 1
        stops = np.round(np.linspace(last, 0, steps + 1)).astype(int)
        x = self.times[-1] * noise
        for n, m in pairwise(stops):
            x = self(x, int(n), int(m))
        return x


@dataclass(frozen=True)
class Shape:
    """Figures of a 1-D law: W1 distance to the truth, mass in |x| < 0.25, standard deviation."""

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
