"""Theorem 1 in numbers: practical and ideal loss on a law known exactly.

Every expectation is an exact sum over quadrature rows, given to the package's own loss as weights.
Student and teacher are fixed functions, compared at time 0, where the map is phi.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch

from gtp_fast import reference
from gtp_fast.reference import Perturbation
from gtp_fast.toy.laws import Array, Mixture, quadrature
from gtp_fast.toy.solvers import solve

DATA = Mixture((0.3, 0.7), (-0.7, 0.5), (0.15, 0.15))


def student(x: Array) -> Array:
    """Return the student's clean value."""
    return np.tanh(1.3 * x)


def teacher(x: Array) -> Array:
    """Return the teacher's clean value."""
    return 0.7 * np.tanh(2 * x)


@cache
def rows() -> tuple[Array, Array, Array]:
    """Return clean values, noises and probabilities: clean from the mixture, noise normal."""
    nodes, weights = quadrature(16)
    clean = np.array(DATA.means)[:, None] + np.array(DATA.deviations)[:, None] * nodes
    mass = np.array(DATA.weights)[:, None] * weights
    # For smooth functions of the noise the plain sum converges faster than any power of its step.
    z = np.linspace(-8.0, 8.0, 201)
    chance = np.exp(-0.5 * z**2)
    chance /= chance.sum()
    pairs = np.broadcast_arrays(clean.reshape(-1, 1), z[None], mass.reshape(-1, 1) * chance)
    first, second, third = (np.asarray(x.ravel(), np.float64) for x in pairs)
    return first, second, third


def tensor(x: Array) -> torch.Tensor:
    """Return an array as the package takes it."""
    return torch.from_numpy(np.ascontiguousarray(x))


def perturbation(t: float, u: float) -> Perturbation:
    """Return rows noised at t and u, compared at time 0, where Phi is phi."""
    clean, z, _ = rows()
    index = torch.zeros(1, len(clean), dtype=torch.int64)
    nodes = torch.tensor([0.002, u, t], dtype=torch.float64)
    a, noise = (tensor(x)[None, :, None] for x in (clean, z))
    return reference.perturb_at(a, noise, nodes, index + 2, index + 1, index, kind="none")


def practical(
    t: float, u: float, target: Callable[[Array], Array], online: Callable[[Array], Array] = student
) -> tuple[float, Array]:
    """Return the package's consistency loss and its gradient by the student's output."""
    clean, _, mass = rows()
    p = perturbation(t, u)
    output = tensor(online(p.a_t.numpy())).repeat(1, 2, 1).requires_grad_()
    w = tensor(mass)[None] * len(mass)
    loss, _ = reference.flow_map_loss(
        output, tensor(target(p.a_u.numpy())), tensor(clean)[None, :, None], p, w
    )
    (gradient,) = torch.autograd.grad(loss.sum(), output)
    return float(loss.item()), np.asarray(gradient[0, : len(clean), 0])


def ideal(
    t: float, u: float, target: Callable[[Array], Array], steps: int, order: int
) -> tuple[float, Array]:
    """Return the loss with a solver of the true field, and its gradient."""
    clean, z, mass = rows()
    x = clean + t * z
    residual = student(x) - target(solve(DATA.field, x, t, u, steps, order))
    return float(mass @ residual**2), 2 * mass * residual


def functional(t: float, gradient: Array) -> float:
    """Return the gradient along the direction sin(x_t)."""
    clean, z, _ = rows()
    return float(np.sin(clean + t * z) @ gradient)


def gaps(t: float, u: float, steps: int, order: int) -> tuple[float, float]:
    """Return |L_practical - L_ideal| and the gap of the gradients along sin(x_t)."""
    real, exact = practical(t, u, teacher), ideal(t, u, teacher, steps, order)
    return (
        abs(real[0] - exact[0]),
        abs(functional(t, real[1]) - functional(t, exact[1])),
    )
