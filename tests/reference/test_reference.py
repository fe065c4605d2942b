"""Flow map, preconditioning and sampler against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from folded import FORMS, Folded, Form, Sizes
from oracles import (
    TWO_MODES,
    Mixture,
    gaussian_denoiser,
    gaussian_flow,
    judge,
    karras,
    normal_scores,
    slope,
    solve,
)

from gtp_fast import networks, reference
from gtp_fast.networks.parameters import Parameters, initialise
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


# --- sampler -------------------------------------------------------------------------------------


def exact_phi(mixture: Mixture):
    def phi(x: torch.Tensor, t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        ratio = float(s) / float(t)
        moved = mixture.flow(x.numpy(), float(t), float(s))
        return (tensor(moved) - ratio * x) / (1 - ratio)

    return phi


@pytest.mark.parametrize("steps", [1, 2, 5, 16])
def test_sampler_with_the_exact_map_gives_the_data_law(steps: int) -> None:
    noise = tensor(normal_scores(2001))[None, :, None]
    times = reference.sampling_times(steps, dtype=torch.float64)
    drawn = reference.sample(exact_phi(TWO_MODES), noise, times, clip=None)[0, :, 0].numpy()
    assert drawn == pytest.approx(
        TWO_MODES.flow(80.0 * noise[0, :, 0].numpy(), 80.0, 0.0), abs=1e-8
    )
    shape = judge(drawn)
    assert shape.distance < 2e-4
    assert shape.middle == pytest.approx(0.0098, abs=6e-4)


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_sampler_with_the_denoiser_is_euler(steps: int) -> None:
    noise = tensor(normal_scores(101))[None, :, None]
    grid = tensor(np.append(np.geomspace(10.0, 0.1, steps), 0.0))
    drawn = reference.sample(
        lambda x, t, s: tensor(UNEVEN.denoiser(x.numpy(), float(t))), noise, grid, clip=None
    )
    x = 10.0 * noise.numpy()
    for t, s in zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True):
        x = solve(UNEVEN.field, x, t, s, 1, 1)
    assert drawn.numpy() == pytest.approx(x, abs=1e-12)


def test_sampler_clips_only_its_result() -> None:
    noise = tensor([[[-3.0], [0.001], [3.0]]])
    times = tensor([80.0, 1.0, 0.0])
    seen = []

    def phi(x: torch.Tensor, t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        seen.append(x.abs().max().item())
        return x

    assert reference.sample(phi, noise, times).flatten().tolist() == [-1.0, 0.08, 1.0]
    assert reference.sample(phi, noise, times, clip=None).abs().max() == 240.0
    assert seen == [240.0] * 4


@pytest.mark.parametrize("kind", reference.PRECONDITIONINGS)
@pytest.mark.parametrize(("depth", "steps"), [(1, 1), (2, 5), (3, 2)])
def test_folded_sampler_is_the_sampler_through_the_network(kind, depth, steps) -> None:
    seeds, rows, observed, acted = 3, 7, 4, 2
    network = networks.FlowMapNetwork(observed, acted, 8, depth, reference.mlp)
    keys = philox.key_tensor(range(seeds))
    parameters = Parameters(seeds, network.shapes(), torch.device("cpu"), torch.float64)
    initialise(parameters, keys, (0,))
    times = reference.sampling_times(steps, dtype=torch.float64)
    observation = philox.normals(keys, 0, 5, rows, observed, torch.float64)
    noise = philox.normals(keys, 0, 6, rows, acted, torch.float64)

    def phi(a: torch.Tensor, t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        skip, out, scale = reference.precondition(t, kind)
        levels = torch.stack((reference.noise_level(t, 0.002), reference.noise_level(s, 0.002)))
        levels = levels.expand(seeds, rows, 2)
        output = network(parameters.views, scale * a, levels, observation)
        return reference.clean_action(a, output, skip.expand(seeds, rows), out.expand(seeds, rows))

    with torch.no_grad():
        plain = reference.sample(phi, noise, times)
    policy = network.fold(
        parameters.views, tuple(times.tolist()), kind=kind, sigma_data=0.5, t_min=0.002
    )
    folded = reference.folded_sample(policy, observation, noise)
    assert not plain.abs().eq(1).all()
    assert torch.allclose(folded, plain, rtol=1e-11, atol=1e-12)
    alone = reference.folded_sample(policy.select(1), observation[1:2], noise[1:2])
    assert torch.allclose(alone, folded[1:2], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("form", [Form(), *FORMS], ids=str)
def test_folded_sampler_is_its_definition_in_every_form(form: Form) -> None:
    policy = Folded(Sizes(S=2, A=3, H=20, K=4), form=form)
    observation, noise, _ = policy.inputs(9)
    folded = policy.policy()
    result = reference.folded_sample(folded.to(torch.float64), tensor(observation), tensor(noise))
    assert folded.draws == (4 if form.stochastic else 1)
    assert result.numpy() == pytest.approx(policy.exact(observation, noise), abs=1e-13)
    assert not result.abs().eq(1).all()


def test_grid_of_the_oracle_is_the_grid_of_the_package() -> None:
    assert reference.karras_nodes(21, dtype=torch.float64)[1:].numpy() == pytest.approx(
        karras(21)[1:], rel=1e-13
    )
