"""One-step solvers of an ODE, and the order of an error."""

from __future__ import annotations

import numpy as np

from gtp_fast.toy.laws import Array, Field


def solve(field: Field, x: Array, t: float, s: float, steps: int, order: int) -> Array:
    """Integrate dx/dt = field from t to s by Euler (1), Heun (2) or Runge-Kutta (4)."""
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
