"""The forms behind the objectives beside the score approximation, against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from oracles import TWO_MODES, gaussian_denoiser, gaussian_flow, slope

from gtp_fast import reference
from gtp_fast.reference import philox

MEAN, SD = 0.2, 0.4
Tensor = torch.Tensor


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, -1)


def at(time: float, count: int = 40) -> Tensor:
    return torch.full((1, count), time, dtype=torch.float64)


def rows(count: int = 40) -> tuple[Tensor, Tensor]:
    """Return clean actions and noises, [1, B, 1]."""
    draws = philox.normals(philox.key_tensor([1]), 0, 0, count, 2, torch.float64)
    return MEAN + SD * draws[..., :1], draws[..., 1:]


def gaussian_phi(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Return the exact phi of N(MEAN, SD^2), also where s = t."""
    t, s = t[..., None], s[..., None]
    ahead = MEAN + (x - MEAN) * torch.sqrt((SD**2 + s**2) / (SD**2 + t**2))
    denoised = MEAN + SD**2 / (SD**2 + t**2) * (x - MEAN)
    r = s / t.clamp(min=1e-12)
    return torch.where(s == t, denoised, (ahead - r * x) / (1 - r))


def offset_of(phi, a: Tensor, z: Tensor):
    return lambda delta, t, s: phi(a + t[..., None] * z + delta, t, s) - a


# --- the solver ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "counts"), [(1, (32, 64, 128)), (2, (16, 32, 64))])
def test_the_solver_reaches_the_exact_map_at_its_order(order: int, counts) -> None:
    a, z = rows()
    t, u = at(5.0, 40), at(0.3, 40)
    x = a + 5.0 * z
    exact = gaussian_flow(x.numpy(), 5.0, 0.3, MEAN, SD)
    errors = [
        np.abs(reference.solve(gaussian_phi, x, t, u, n, order).numpy() - exact).max()
        for n in counts
    ]
    assert errors[-1] < 0.02
    assert slope(1 / np.array(counts), np.array(errors)) == pytest.approx(order, abs=0.15)


def test_the_solver_transports_quantiles_of_two_modes() -> None:
    x = torch.linspace(-9, 9, 21, dtype=torch.float64).reshape(1, -1, 1)

    def phi(a: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return torch.from_numpy(TWO_MODES.denoiser(a[..., 0].numpy(), float(t[0, 0])))[..., None]

    t, u = at(4.0, 21), at(0.05, 21)
    reached = reference.solve(phi, x, t, u, 400, 2)[0, :, 0].numpy()
    assert reached == pytest.approx(TWO_MODES.flow(x[0, :, 0].numpy(), 4.0, 0.05), abs=2e-3)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_point_mass_is_reached_exactly_also_at_time_zero(order: int, steps: int) -> None:
    t, u = column(3.0, 0.002, 80.0), column(0.0, 0.0, 1.0)
    x = torch.randn(1, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    got = reference.solve(lambda a, r, s: torch.full_like(a, 0.3), x, t, u, steps, order)
    assert torch.allclose(got, 0.3 + (u / t)[..., None] * (x - 0.3), atol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_displacements_are_points_without_the_straight_line(order: int) -> None:
    a, z = rows()
    t, u = at(2.0, 40), at(0.5, 40)
    points = reference.solve(gaussian_phi, a + 2.0 * z, t, u, 3, order)
    start = torch.zeros_like(a)
    moved = reference.solve(offset_of(gaussian_phi, a, z), start, t, u, 3, order)
    assert torch.allclose(a + 0.5 * z + moved, points, atol=1e-12)
    assert moved.abs().max() > 0.01


def test_no_step_starts_below_the_floor_and_the_last_goes_all_the_way() -> None:
    asked = []

    def phi(x: Tensor, r: Tensor, s: Tensor) -> Tensor:
        asked.append(r.min().item())
        return gaussian_phi(x, r, s)

    a, z = rows()
    t, u = at(0.2), at(0.0)
    reached = reference.solve(phi, a + 0.2 * z, t, u, 6, 2, floor=0.1)
    # Time 0 is looked at, for the slope that its step then does without.
    assert min(r for r in asked if r > 0) == 0.1 and asked.count(0.1) >= 4
    # Two steps in truth: from t to the floor, and by Euler from the floor to 0.
    first = reference.solve(gaussian_phi, a + 0.2 * z, t, at(0.1), 60, 2)
    euler = gaussian_phi(first, at(0.1), at(0.1))
    assert torch.allclose(reached, euler, atol=2e-3)


# --- shortcut ------------------------------------------------------------------------------------


def test_half_jumps_of_the_exact_map_are_the_exact_jump() -> None:
    a, z = rows()
    t, m, tau = (at(v, 40) for v in (3.0, 1.0, 0.2))
    delta = reference.half_jumps(offset_of(gaussian_phi, a, z), torch.zeros_like(a), t, m, tau)
    exact = gaussian_flow((a + 3.0 * z).numpy(), 3.0, 0.2, MEAN, SD)
    assert (a + 0.2 * z + delta).numpy() == pytest.approx(exact, abs=1e-12)


def test_a_jump_over_one_interval_is_an_euler_step_of_the_instantaneous_map() -> None:
    a, z = rows()
    t, tau = at(3.0, 40), at(1.0, 40)
    asked = []

    def phi(x: Tensor, now: Tensor, then: Tensor) -> Tensor:
        asked.append((float(now[0, 0]), float(then[0, 0])))
        return gaussian_phi(x, now, then)

    delta = reference.half_jumps(offset_of(phi, a, z), torch.zeros_like(a), t, tau, tau)
    x = a + 3.0 * z
    euler = x / 3 + 2 / 3 * gaussian_phi(x, at(3.0), at(3.0))
    assert torch.allclose(a + z + delta, euler, atol=1e-12)
    assert asked[0] == (3.0, 3.0)


# --- mean flow -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.0, 0.4, 1.9])
def test_the_exact_map_obeys_the_mean_flow_identity(tau: float) -> None:
    """The target is linear in (a, z), so its mean given a_t is its value at their means."""
    x = torch.linspace(-4, 4, 9, dtype=torch.float64).reshape(1, -1, 1)
    t = at(2.0, 9)
    s = torch.full_like(t, tau)
    a = torch.from_numpy(gaussian_denoiser(x.numpy(), 2.0, MEAN, SD))
    target = reference.mean_flow_target(lambda y, r: gaussian_phi(y, r, s), a, (x - a) / 2.0, t, s)
    assert torch.allclose(a + target, gaussian_phi(x, t, s), atol=1e-10)
    assert not torch.allclose(target, torch.zeros_like(target), atol=1e-3)


def test_the_mean_flow_derivative_is_a_finite_difference() -> None:
    a, z = rows(7)
    t, tau = at(1.5, 7), at(0.5, 7)

    def phi(x: Tensor, r: Tensor) -> Tensor:
        return torch.sin(x) * torch.log(r)[..., None] + x * r[..., None] ** 2

    h = 1e-5
    up, down = (phi(a + (1.5 + d) * z, t + d) for d in (h, -h))
    derivative = (up - down) / (2 * h)
    value = phi(a + 1.5 * z, t)
    expected = (1 / 3) * a + (2 / 3) * value - 1.0 * derivative - a
    got = reference.mean_flow_target(phi, a, z, t, tau)
    assert torch.allclose(got, expected, atol=1e-8)


def test_the_mean_flow_target_keeps_no_gradient_and_ends_in_the_flow_loss() -> None:
    a, z = rows(5)
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    t = at(1.5, 5)
    target = reference.mean_flow_target(lambda x, r: weight * x, a, z, t, t)
    assert not target.requires_grad
    assert torch.equal(target, torch.zeros_like(target))


# --- distances, weights, the law of t ------------------------------------------------------------


def test_pseudo_huber_is_a_square_near_zero_and_a_length_far_away() -> None:
    d = torch.tensor([[[3.0, 4.0], [1e-7, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    assert torch.equal(reference.distance(d)[0, :1], torch.tensor([25.0]).double())
    c = 0.00054 * math.sqrt(2)
    far, near, zero = reference.distance(d, huber=True)[0].tolist()
    assert far == pytest.approx(math.sqrt(25 + c * c) - c)
    assert near == pytest.approx(1e-14 / (2 * c), rel=1e-6)
    assert zero == 0.0


@pytest.mark.parametrize("huber", [False, True])
def test_distances_have_the_gradient_of_finite_differences(huber: bool) -> None:
    d = torch.tensor([[[0.3, -0.4], [1e-3, 2e-3]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: reference.distance(x, huber), d, eps=1e-7)
    at_zero = torch.zeros(1, 1, 2, requires_grad=True)
    reference.distance(at_zero, huber).sum().backward()
    assert torch.equal(at_zero.grad, torch.zeros(1, 1, 2))


def test_the_edm_weight_makes_the_flow_loss_one_of_the_raw_output() -> None:
    t = torch.tensor([0.002, 0.5, 80.0], dtype=torch.float64)
    _, out, _ = reference.precondition(t, "edm", 0.5)
    assert torch.allclose(reference.flow_weight(t, "edm", 0.5) * out**2, torch.ones(3).double())
    assert torch.equal(reference.flow_weight(t), torch.ones(3).double())
    with pytest.raises(ValueError, match="flow_weight is one of"):
        reference.flow_weight(t, "snr")


# --- sampler plans -------------------------------------------------------------------------------


def follow(plan: reference.Plan, phi, a: Tensor, noise: list[Tensor] | None = None) -> Tensor:
    before = torch.zeros_like(a)
    full = torch.ones_like(a[..., 0])
    for k, ((t, tau), *step) in enumerate(zip(plan.times, *plan.schedule, strict=True)):
        c_in, skip, out, keep, gain, carry, spread = step
        assert (c_in, skip, out) == (1, 0, 1), "a plan is that of phi itself"
        value = phi(a, t * full, tau * full)
        a = keep * a + gain * value + carry * before
        a = a if noise is None or k + 1 == len(plan.times) else a + spread * noise[k]
        before = value
    return a


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize(("make", "order"), [(reference.euler_plan, 1), (reference.heun_plan, 2)])
def test_plans_of_solvers_are_those_solvers(make, order: int, steps: int) -> None:
    times = reference.sampling_times(steps, dtype=torch.float64)
    plan = make(times)
    x = 80.0 * rows()[1]
    expected = x
    for t, s in pairwise(times):
        full = torch.ones(1, 40, dtype=torch.float64)
        expected = reference.solve(gaussian_phi, expected, t * full, s * full, 1, order)
    assert torch.allclose(follow(plan, gaussian_phi, x), expected, atol=1e-10)
    assert len(plan.times) == (steps if order == 1 else 2 * steps - 1)


def test_the_map_plan_of_the_exact_map_is_exact_for_every_k() -> None:
    x = 80.0 * rows()[1]
    exact = gaussian_flow(x.numpy(), 80.0, 0.0, MEAN, SD)
    for steps in (1, 2, 5):
        plan = reference.map_plan(reference.sampling_times(steps, dtype=torch.float64))
        assert follow(plan, gaussian_phi, x).numpy() == pytest.approx(exact, abs=1e-9)


def test_the_consistency_plan_draws_from_the_law_of_the_exact_map() -> None:
    """Noise added anew at every step leaves the Gaussian law as it is."""
    z = philox.normals(philox.key_tensor([5]), 0, 0, 40_000, 3, torch.float64).unsqueeze(-1)
    plan = reference.consistency_plan(reference.sampling_times(3, dtype=torch.float64))
    a = follow(plan, gaussian_phi, 80.0 * z[:, :, 0], [z[:, :, 1], z[:, :, 2]])
    assert float(a.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(a.std()) == pytest.approx(SD, abs=0.01)
    assert float(plan.schedule.spread[-1]) == 0.0


@pytest.mark.parametrize(
    ("make", "draws"),
    [
        (reference.map_plan, 1),
        (reference.euler_plan, 1),
        (reference.heun_plan, 1),
        (reference.consistency_plan, 3),
    ],
)
def test_a_plan_starts_from_noise_at_its_first_time_and_says_what_it_draws(
    make: Callable[[Tensor], reference.Plan], draws: int
) -> None:
    plan = make(reference.sampling_times(3, dtype=torch.float64))
    assert plan.initial_scale == 80.0
    assert (plan.draws, plan.stochastic) == (draws, draws > 1)
