"""What is true of the score approximation: the practical loss against the ideal one (Theorem 1).

Every expectation is an exact sum over quadrature rows, given to the package's own loss as weights.
The gap between the two losses closes with t - u, whatever the solver; at a fixed u it stays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from oracles import Array, Mixture, quadrature, slope, solve

from gtp_fast import reference
from gtp_fast.reference import Perturbation

DATA = Mixture((0.3, 0.7), (-0.7, 0.5), (0.15, 0.15))
GAPS = np.array([1 / 8, 1 / 16, 1 / 32])


def student(x: Array) -> Array:
    return np.tanh(1.3 * x)


def teacher(x: Array) -> Array:
    return 0.7 * np.tanh(2 * x)


def affine(x: Array) -> Array:
    return 0.4 * x - 0.2


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
    return tuple(x.ravel() for x in pairs)


def tensor(x: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def perturbation(t: float, u: float) -> Perturbation:
    """Return the rows noised at t and u and compared at time 0, where Phi is phi."""
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
    return loss.item(), gradient[0, : len(clean), 0].numpy()


def ideal(
    t: float, u: float, target: Callable[[Array], Array], steps: int, order: int
) -> tuple[float, Array]:
    """Return the loss with a solver of the true field for the straight line, and its gradient."""
    clean, z, mass = rows()
    x = clean + t * z
    residual = student(x) - target(solve(DATA.field, x, t, u, steps, order))
    return float(mass @ residual**2), 2 * mass * residual


def functional(t: float, gradient: Array) -> float:
    """Return the gradient along the direction sin(x_t)."""
    clean, z, _ = rows()
    return float(np.sin(clean + t * z) @ gradient)


def test_every_one_step_solver_integrates_the_straight_field_exactly() -> None:
    clean, _, _ = rows()
    p = perturbation(2.0, 1.0)
    for order in (1, 2, 4):
        reached = solve(lambda x, r: (x - clean) / r, p.a_t[0, :, 0].numpy(), 2.0, 1.0, 1, order)
        assert reached == pytest.approx(p.a_u[0, :, 0].numpy(), abs=1e-13)


def test_losses_stay_apart_when_the_solver_is_refined_at_a_fixed_u() -> None:
    loss, gradient = practical(2.0, 1.0, teacher)
    limit, limit_gradient = ideal(2.0, 1.0, teacher, 100, 4)
    assert loss == pytest.approx(0.13289, abs=1e-5)
    assert limit == pytest.approx(0.07793, abs=1e-5)
    assert loss - limit == pytest.approx(0.05496, abs=1e-5)
    gap = functional(2.0, gradient) - functional(2.0, limit_gradient)
    assert gap == pytest.approx(0.05109, abs=1e-5)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_the_ideal_loss_converges_at_the_order_of_its_solver(order: int) -> None:
    limit, _ = ideal(2.0, 1.0, teacher, 100, 4)
    counts = {1: (32, 64, 128), 2: (16, 32, 64), 4: (6, 12, 24)}[order]
    errors = [abs(ideal(2.0, 1.0, teacher, n, order)[0] - limit) for n in counts]
    assert slope(1 / np.array(counts), np.array(errors)) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_both_gaps_close_with_the_square_of_t_minus_u_for_every_order(order: int) -> None:
    t = 2.0
    losses, gradients = [], []
    for h in GAPS:
        real, exact = practical(t, t - h, teacher), ideal(t, t - h, teacher, 1, order)
        losses.append(abs(real[0] - exact[0]))
        gradients.append(abs(functional(t, real[1]) - functional(t, exact[1])))
    # The last halving alone gives 2.03 to 2.05; the higher terms weigh more before it.
    for errors in (losses, gradients):
        assert slope(GAPS[-2:], np.array(errors[-2:])) == pytest.approx(2.0, abs=0.1)


def test_an_affine_teacher_makes_the_gradient_that_of_an_euler_step() -> None:
    for t, u in ((2.0, 1.0), (2.0, 0.1), (0.5, 0.2)):
        real, exact = practical(t, u, affine)[1], ideal(t, u, affine, 1, 1)[1]
        assert functional(t, real) == pytest.approx(functional(t, exact), abs=1e-12)


def test_the_bias_of_a_bent_teacher_is_of_second_order() -> None:
    t = 1.0
    bias = []
    for h in GAPS / 2:
        real, exact = practical(t, t - h, teacher)[1], ideal(t, t - h, teacher, 1, 1)[1]
        bias.append(abs(functional(t, real) - functional(t, exact)))
    assert slope(GAPS / 2, np.array(bias)) == pytest.approx(2.0, abs=0.1)


def test_the_flow_loss_has_the_gradient_of_the_distance_to_the_denoiser() -> None:
    clean, z, mass = rows()
    for t in (0.3, 2.0):
        p = perturbation(t, t / 2)
        output = tensor(student(p.a_t.numpy())).repeat(1, 2, 1).requires_grad_()
        w = tensor(mass)[None] * len(mass)
        _, loss = reference.flow_map_loss(output, p.a_u, tensor(clean)[None, :, None], p, w)
        (gradient,) = torch.autograd.grad(loss.sum(), output)
        x = clean + t * z
        exact = 2 * mass * (student(x) - DATA.denoiser(x, t))
        given = gradient[0, len(clean) :, 0].numpy()
        assert functional(t, given) == pytest.approx(functional(t, exact), abs=1e-8)
        assert abs(functional(t, exact)) > 1e-3
