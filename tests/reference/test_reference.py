"""Flow map and preconditioning against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import (
    TWO_MODES,
    Mixture,
    gaussian_denoiser,
    gaussian_flow,
    slope,
    solve,
)
from reference_cases import noise
from torch.autograd import gradcheck

from gtp_fast import reference
from gtp_fast.reference import philox

UNEVEN = Mixture((0.3, 0.7), (-0.7, 0.5), (0.15, 0.1))
X = np.linspace(-4.0, 4.0, 41)


def tensor(x: object) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


# --- oracles judge each other first --------------------------------------------------------------


def test_quantile_transport_is_the_solution_of_the_ode() -> None:
    for mixture in (UNEVEN, TWO_MODES):
        for t, s in ((2.0, 0.05), (5.0, 0.5), (0.5, 2.0)):
            x = X * t
            moved = solve(mixture.field, x, t, s, 1200, 4)
            assert mixture.flow(x, t, s) == pytest.approx(moved, abs=1e-10)


def test_quantile_transport_of_a_gaussian_is_linear() -> None:
    narrow = Mixture((1.0,), (0.3,), (0.4,))
    for t, s in ((80.0, 0.0), (3.0, 0.1), (1.0, 1.0)):
        exact = gaussian_flow(X * t, t, s, 0.3, 0.4)
        assert narrow.flow(X * t, t, s) == pytest.approx(exact, abs=1e-9)
        assert narrow.denoiser(X * t, t) == pytest.approx(gaussian_denoiser(X * t, t, 0.3, 0.4))


def test_flow_of_a_mixture_is_a_semigroup() -> None:
    x = X * 5
    two_jumps = UNEVEN.flow(UNEVEN.flow(x, 5.0, 0.7), 0.7, 0.01)
    assert two_jumps == pytest.approx(UNEVEN.flow(x, 5.0, 0.01), abs=1e-10)


def test_solvers_have_their_order() -> None:
    x, t, s = X / 2, 2.0, 0.5
    exact = UNEVEN.flow(x, t, s)
    for order, counts in ((1, (160, 320, 640)), (2, (80, 160, 320)), (4, (40, 80, 160))):
        errors = [abs(solve(UNEVEN.field, x, t, s, n, order) - exact).max() for n in counts]
        assert slope(1.5 / np.array(counts), np.array(errors)) == pytest.approx(order, abs=0.15)


# --- jump and flow map ---------------------------------------------------------------------------


@pytest.mark.parametrize("count", [11, 41, 1281])
def test_map_to_its_own_time_is_the_identity_bit_for_bit(count: int) -> None:
    nodes = reference.karras_nodes(count)
    nodes[0] = 0.0
    keys = philox.key_tensor([0])
    x = philox.normals(keys, 0, 2, count, 8)[0] * 100
    phi = philox.normals(keys, 1, 2, count, 8)[0]
    assert torch.equal(reference.flow_map(x, phi, nodes, nodes), x)


@pytest.mark.parametrize("count", [11, 1281])
def test_jump_ratios_are_accurate_between_neighbours(count: int) -> None:
    nodes = reference.karras_nodes(count)
    nodes[0] = 0.0
    t, tau = nodes[1:], nodes[:-1]
    r, q = reference.jump(t, tau)
    exact_r, exact_q = reference.jump(t.double(), tau.double())
    assert ((r - exact_r) / exact_r.clamp(min=1e-30)).abs().max() < 1.3e-7
    assert ((q - exact_q) / exact_q).abs().max() < 1.3e-7
    assert (r[0], q[0]) == (0.0, 1.0)


def test_jump_at_time_zero_stays() -> None:
    r, q = reference.jump(torch.zeros(3), torch.zeros(3))
    assert r.tolist() == [1.0] * 3
    assert q.tolist() == [0.0] * 3


def test_point_mass_is_approached_along_a_straight_line() -> None:
    a, x = tensor([[0.3, -0.7]]), tensor([[40.0, -3.0]])
    for t, s in ((80.0, 0.0), (80.0, 3.0), (0.5, 0.1)):
        moved = reference.flow_map(x, a, tensor([t]), tensor([s]))
        assert torch.allclose(moved, a + s / t * (x - a), rtol=1e-14, atol=1e-14)


def test_average_velocity_tends_to_the_denoiser() -> None:
    mean, sd, t = 0.2, 0.4, 1.5
    gaps, steps = [], [0.1, 0.05, 0.025]
    for h in steps:
        s = t - h
        moved = gaussian_flow(X, t, s, mean, sd)
        phi = (moved - s / t * X) / (1 - s / t)
        again = reference.flow_map(tensor(X)[:, None], tensor(phi)[:, None], tensor(t), tensor(s))
        assert again[:, 0].numpy() == pytest.approx(moved, abs=1e-12)
        gaps.append(abs(phi - gaussian_denoiser(X, t, mean, sd)).max())
    assert slope(np.array(steps), np.array(gaps)) == pytest.approx(1.0, abs=0.1)


# --- preconditioning -----------------------------------------------------------------------------


def coefficients(kind: str, t: float, **options: float) -> list[float]:
    return [float(c) for c in reference.precondition(tensor(t), kind, **options)]


def test_preconditioning_at_its_extremes() -> None:
    assert coefficients("edm", 0.0) == [1.0, 0.0, 2.0]
    assert coefficients("none", 0.0) == [0.0, 1.0, 2.0]
    assert coefficients("cm", 0.002) == coefficients("cm", 0.0) == [1.0, 0.0, 1.0]
    far = (80.0**2 + 0.25) ** 0.5
    assert coefficients("edm", 80.0) == pytest.approx([0.25 / far**2, 40 / far, 1 / far])
    shifted = 79.998
    assert coefficients("cm", 80.0) == pytest.approx(
        [0.25 / (shifted**2 + 0.25), 0.5 * shifted / far, 1.0]
    )
    assert coefficients("none", 80.0) == pytest.approx([0.0, 1.0, 1 / far])


@pytest.mark.parametrize("sd", [0.5, 1.0])
def test_edm_preconditioning_is_the_gaussian_denoiser(sd: float) -> None:
    for t in (0.002, 0.3, 4.0, 80.0):
        skip, out, scale = coefficients("edm", t, sigma_data=sd)
        assert skip * X == pytest.approx(gaussian_denoiser(X, t, 0.0, sd))
        assert scale**2 * (sd**2 + t**2) == pytest.approx(1.0)
        # The residual a network has to learn has unit variance.
        assert out**2 == pytest.approx(sd**2 * t**2 / (sd**2 + t**2))


@pytest.mark.parametrize("kind", reference.PRECONDITIONINGS)
def test_preconditioning_keeps_single_precision(kind: str) -> None:
    nodes = reference.karras_nodes(1281)
    single = reference.precondition(nodes, kind)
    double = reference.precondition(nodes.double(), kind)
    for a, b in zip(single, double, strict=True):
        assert ((a - b).abs() <= 1e-6 * b.abs() + 1e-9).all()


def test_unknown_preconditioning_is_refused() -> None:
    with pytest.raises(ValueError, match="precondition is one of edm, cm, none"):
        reference.precondition(torch.ones(1), "vp")


# --- gradients in float64 ------------------------------------------------------------------------


def test_gradcheck_of_the_parts() -> None:
    x = noise(2, 3, 4, step=6).requires_grad_()
    t = torch.tensor([0.01, 0.5, 7.0], dtype=torch.float64, requires_grad=True)
    tau = torch.tensor([0.0, 0.2, 6.9], dtype=torch.float64, requires_grad=True)
    assert gradcheck(reference.mish, (x,))
    assert gradcheck(reference.flow_map, (x, x.detach().cos().requires_grad_(), t, tau))
    assert gradcheck(lambda v: reference.sinusoid(v, scale=5.0), (t,))
    for kind in reference.PRECONDITIONINGS:
        assert gradcheck(lambda v, kind=kind: reference.precondition(v, kind), (t,))
    values = noise(2, 3, 4, step=7).requires_grad_()
    target = noise(1, 3, 4, step=8)[0]
    assert gradcheck(lambda v: reference.double_q_loss(v, target), (values,))
