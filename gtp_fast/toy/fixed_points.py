"""The population's fixed points of the consistency loss, by the law of u: no training."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gtp_fast.toy.laws import Array, Mixture, quadrature


def karras(count: int, t_max: float = 80.0, first: float = 0.0) -> Array:
    """Return the ascending grid from 0.002 to t_max; node 0 has the algebraic time `first`."""
    nodes = np.linspace(0.002 ** (1 / 7), t_max ** (1 / 7), count) ** 7
    nodes[0] = first
    return nodes


def gaussian_recursion(times: Array, sd: float, u_mode: str) -> Array:
    """Return c[t, tau] of the fixed point Phi = mu + c (x - mu): lower triangle [N, N].

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
        return np.asarray(row[index] * (1 - part) + row[index + 1] * part)

    def sample(self, noise: Array, steps: int) -> Array:
        """Carry T noise to clean values over equally spaced node indices."""
        last = len(self.times) - 1
        stops = np.round(np.linspace(last, 0, steps + 1)).astype(int)
        x: Array = self.times[-1] * noise
        for n, m in pairwise(stops):
            x = self(x, int(n), int(m))
        return x
