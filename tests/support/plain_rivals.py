"""Diffusion-QL, Consistency-AC, IQL and cloning by their formulas: Python numbers, one row at a
time.

Weights are read from an agent once; nothing else of the package is used.
"""

from __future__ import annotations

import math
from typing import Any

Row = list[float]


def mish(x: float) -> float:
    return x * math.tanh(math.log1p(math.exp(x)))


def relu(x: float) -> float:
    return x if x > 0 else 0.0


def layer(views: dict[str, Any], name: str, x: Row) -> Row:
    weight, bias = views[f"{name}.weight"], views[f"{name}.bias"]
    return [bias[j] + sum(x[i] * weight[i][j] for i in range(len(x))) for j in range(len(bias))]


def perceptron(views: dict[str, Any], x: Row, depth: int, act: Any) -> Row:
    for i in range(depth):
        x = [act(number) for number in layer(views, f"layer{i}", x)]
    return layer(views, f"layer{depth}", x)


def embedding(views: dict[str, Any], t: float) -> Row:
    """Diffusion-QL's: sin and cos of t exp(-i ln(10000) / 7), i = 0..7, then 32 Mish units, 16."""
    angles = [t * math.exp(-i * math.log(10_000) / 7) for i in range(8)]
    sines = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    return layer(views, "t.1", [mish(x) for x in layer(views, "t.0", sines)])


def timed(views: dict[str, Any], a: Row, t: float, s: Row, depth: int) -> Row:
    """The network of Diffusion-QL and Consistency-AC: action, time, state, in this order."""
    return perceptron(views, [*a, *embedding(views, t), *s], depth, mish)


def clip(row: Row) -> Row:
    return [min(1.0, max(-1.0, x)) for x in row]


def squash(row: Row) -> Row:
    return [math.tanh(x) for x in row]


def mean(numbers: Row) -> float:
    return sum(numbers) / len(numbers)


class VP:
    """Diffusion-QL's schedule: alpha_t = exp(-b_min / T - (b_max - b_min)(2 t - 1) / (2 T^2))."""

    def __init__(self, steps: int, low: float = 0.1, high: float = 10.0):
        alphas = [
            math.exp(-low / steps - 0.5 * (high - low) * (2 * t - 1) / steps**2)
            for t in range(1, steps + 1)
        ]
        self.steps, self.alpha, self.bar = steps, alphas, [1.0]
        for alpha in alphas:
            self.bar.append(self.bar[-1] * alpha)

    def noisy(self, a: Row, i: int, eps: Row) -> Row:
        bar = self.bar[i + 1]
        pairs = zip(a, eps, strict=True)
        return [math.sqrt(bar) * x + math.sqrt(1 - bar) * e for x, e in pairs]

    def reverse(self, x: Row, i: int, eps: Row, z: Row) -> Row:
        """One step of p(x_{i-1} | x_i) with x_0 clipped; step 0 adds no noise."""
        bar, before, alpha = self.bar[i + 1], self.bar[i], self.alpha[i]
        beta = 1 - alpha
        clean = clip(
            [(n - math.sqrt(1 - bar) * e) / math.sqrt(bar) for n, e in zip(x, eps, strict=True)]
        )
        mu = [
            (math.sqrt(before) * beta * c + math.sqrt(alpha) * (1 - before) * n) / (1 - bar)
            for c, n in zip(clean, x, strict=True)
        ]
        deviation = math.sqrt(beta * (1 - before) / (1 - bar)) if i else 0.0
        return [m + deviation * e for m, e in zip(mu, z, strict=True)]


def diffusion_sample(views: dict[str, Any], s: Row, z: list[Row], depth: int, vp: VP) -> Row:
    """Noise z[0], then the reverse process; z[k] is added after the k-th step."""
    x = z[0]
    for k, i in enumerate(range(vp.steps - 1, -1, -1)):
        eps = timed(views, x, float(i), s, depth)
        x = vp.reverse(x, i, eps, z[k + 1] if i else [0.0] * len(x))
    return clip(x)


def consistency(
    views: dict[str, Any], x: Row, t: float, s: Row, depth: int, sd: float = 0.5, eps: float = 0.002
) -> Row:
    """g(x, t) = c_skip x + c_out F(x, t, s)."""
    skip = sd**2 / ((t - eps) ** 2 + sd**2)
    out = sd * (t - eps) / math.sqrt(t**2 + sd**2)
    return [skip * a + out * f for a, f in zip(x, timed(views, x, t, s, depth), strict=True)]


def consistency_sample(views: dict[str, Any], s: Row, z: list[Row], depth: int, times: Row) -> Row:
    x = consistency(views, [80.0 * e for e in z[0]], times[0], s, depth)
    for k, t in enumerate(times[1:], start=1):
        lift = math.sqrt(t**2 - 0.002**2)
        x = consistency(views, [a + lift * e for a, e in zip(x, z[k], strict=True)], t, s, depth)
    return clip(x)


def karras(count: int, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> Row:
    a, b = low ** (1 / rho), high ** (1 / rho)
    return [(a + i / (count - 1) * (b - a)) ** rho for i in range(count)]
