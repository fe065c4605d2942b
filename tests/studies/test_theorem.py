"""What is true of the score approximation: the practical loss against the ideal one (Theorem 1).

Every expectation is an exact sum over quadrature rows, given to the package's own loss as weights.
The gap between the two losses closes with t - u, whatever the solver; at a fixed u it stays.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import Array, slope, solve

from gtp_fast import reference
from gtp_fast.toy.theorem import (
    DATA,
    functional,
    ideal,
    perturbation,
    practical,
    rows,
    student,
    teacher,
    tensor,
)

GAPS = np.array([1 / 8, 1 / 16, 1 / 32])


def affine(x: Array) -> Array:
    return 0.4 * x - 0.2


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
