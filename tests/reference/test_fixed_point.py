"""What the consistency loss converges to: an exact model on Gaussian data, two modes by tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import (
    TWO_MODES,
    Array,
    TableMap,
    gaussian_recursion,
    judge,
    karras,
    normal_scores,
    quadrature,
)

from gtp_fast import reference
from gtp_fast.reference import philox

SD = 0.5

# Deviation of the one-jump sample: nodes; T = 80 adjacent, uniform; T = 5 adjacent, uniform.
PRINTED = [
    (11, 0.3764, 0.1377, 0.4223, 0.1687),
    (41, 0.4657, 0.1507, 0.4775, 0.1759),
    (161, 0.4912, 0.1540, 0.4925, 0.1777),
    (1281, 0.4989, 0.1550, 0.4969, 0.1782),
]


def fit_linear(nodes: torch.Tensor, u_mode: str, targets: list[int]) -> Array:
    """Minimise the package's consistency loss over Phi = c(t, tau) x, from low t upwards.

    Data N(0, SD^2); three quadrature points each for data and noise make the expectations exact.
    The loss is quadratic in every c, so two gradients give its minimum. Returns columns `targets`.
    """
    count = len(nodes)
    points, mass = quadrature(3)
    clean = SD * np.repeat(points, 3)
    z, chance = np.tile(points, 3), np.repeat(mass, 3) * np.tile(mass, 3)
    c = torch.eye(count, dtype=torch.float64)
    for t in range(1, count):
        tau = torch.tensor([m for m in targets if m < t])
        low = [t - 1] if u_mode == "adjacent" else range(t)
        pairs = [(i, u, m) for i, m in enumerate(tau.tolist()) for u in low if u >= m]
        column, n_u, n_tau = torch.tensor(pairs).T
        share = 1 / torch.bincount(column)[column]
        n_u, n_tau, column, share = (x.repeat_interleave(9) for x in (n_u, n_tau, column, share))
        repeats = len(n_u) // 9
        a, noise, chances = (torch.from_numpy(np.tile(x, repeats)) for x in (clean, z, chance))
        a, noise = a[None, :, None], noise[None, :, None]
        n_t = torch.full_like(n_u, t)
        p = reference.perturb_at(a, noise, nodes, n_t[None], n_u[None], n_tau[None], kind="none")
        safe = torch.where(p.q_u > 0, p.q_u, 1.0)
        # phi of the teacher such that Phi = c x; where u = tau the loss does not look at it.
        target = ((c[n_u, n_tau] - p.r_u) / safe)[..., None] * p.a_u
        w = (chances * share * len(n_u))[None]

        slopes = []
        for start in (0.0, 1.0):
            value = torch.full((len(tau),), start, dtype=torch.float64, requires_grad=True)
            phi = ((value[column] - p.r_t) / p.q_t)[..., None] * p.a_t
            loss, _ = reference.flow_map_loss(phi.repeat(1, 2, 1), target, a, p, w)
            slopes.append(torch.autograd.grad(loss.sum(), value)[0])
        c[t, tau] = slopes[0] / (slopes[0] - slopes[1])
    return c.numpy()


@pytest.mark.parametrize("u_mode", reference.U_MODES)
@pytest.mark.parametrize("t_max", [80.0, 5.0])
def test_an_exact_linear_model_reaches_the_recursion_at_every_pair(u_mode, t_max) -> None:
    nodes = reference.karras_nodes(11, t_max=t_max, dtype=torch.float64)
    fitted = fit_linear(nodes, u_mode, list(range(11)))
    assert fitted == pytest.approx(gaussian_recursion(karras(11, t_max), SD, u_mode), abs=1e-10)


@pytest.mark.parametrize("u_mode", reference.U_MODES)
def test_an_exact_linear_model_reaches_the_recursion_at_fine_grids(u_mode: str) -> None:
    count = 1281 if u_mode == "adjacent" else 161
    fitted = fit_linear(reference.karras_nodes(count, dtype=torch.float64), u_mode, [0])
    expected = gaussian_recursion(karras(count), SD, u_mode)[:, 0]
    assert fitted[:, 0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("row", PRINTED, ids=lambda row: f"N{row[0]}")
def test_recursion_gives_the_printed_deviations(row: tuple[float, ...]) -> None:
    count, *printed = row
    cases = [(t_max, u_mode) for t_max in (80.0, 5.0) for u_mode in reference.U_MODES]
    for (t_max, u_mode), value in zip(cases, printed, strict=True):
        # The printed table stops at t_min; the package's node 0 is time 0: 6e-4 apart at most.
        for first, tolerance in ((0.002, 6e-5), (0.0, 7e-4)):
            c = gaussian_recursion(karras(int(count), t_max, first), SD, u_mode)
            assert t_max * c[-1, 0] == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("u_mode", reference.U_MODES)
def test_regression_on_drawn_times_reaches_the_recursion(u_mode: str) -> None:
    """Fit c(t, tau) by least squares on the package's own draws, which also checks their law."""
    count, rows, seeds = 6, 60_000, 5
    keys = philox.key_tensor(range(seeds))
    nodes = reference.karras_nodes(count, t_max=5.0, dtype=torch.float64)
    a = SD * philox.normals(keys, 0, philox.Stream.INIT, rows, 1, torch.float64)
    p = reference.perturb(a, nodes, count, keys, 0, u_mode=u_mode, kind="none")
    n_t, n_u, n_tau = reference.draw_times(keys, 0, rows, count, u_mode)
    c = torch.eye(count, dtype=torch.float64)
    for t in range(1, count):
        for tau in range(t):
            pick = (n_t == t) & (n_tau == tau)
            x, target = p.a_t[pick][:, 0], c[n_u[pick], tau] * p.a_u[pick][:, 0]
            c[t, tau] = (x @ target) / (x @ x)
    expected = gaussian_recursion(karras(count, 5.0), SD, u_mode)
    assert c.numpy() == pytest.approx(expected, abs=0.015)


# --- two modes -----------------------------------------------------------------------------------

ADJACENT = {
    (11, 5): (0.177, 0.226, 0.468),
    (41, 1): (0.100, 0.186, 0.552),
    (41, 5): (0.070, 0.126, 0.569),
    (161, 1): (0.043, 0.109, 0.594),
    (161, 2): (0.042, 0.107, 0.595),
    (161, 5): (0.029, 0.078, 0.601),
}
UNIFORM = {
    (11, 5): (0.202, 0.236, 0.438),
    (41, 1): (0.472, 0.880, 0.159),
    (41, 5): (0.177, 0.211, 0.465),
}


@pytest.mark.parametrize(
    ("count", "u_mode", "points"),
    [(11, "adjacent", 601), (41, "adjacent", 601), (161, "adjacent", 601), (11, "uniform", 401),
     (41, "uniform", 401)],
)  # fmt: skip
def test_population_recursion_gives_the_printed_columns(count, u_mode, points) -> None:
    model = TableMap(TWO_MODES, count, u_mode, points)
    printed = ADJACENT if u_mode == "adjacent" else UNIFORM
    for (nodes, steps), values in printed.items():
        if nodes == count:
            shape = judge(model.sample(normal_scores(4001), steps))
            got = (shape.distance, shape.middle, shape.deviation)
            # The printed columns claim a numerical tolerance of 0.005.
            assert got == pytest.approx(values, abs=0.005), (steps, got)


def test_truth_and_denoiser_give_the_printed_figures() -> None:
    noise = normal_scores(4001)
    truth = judge(TWO_MODES.flow(80 * noise, 80.0, 0.0))
    assert (truth.middle, truth.deviation) == pytest.approx((0.0098, 0.618), abs=7e-4)
    printed = {
        1: (0.595, 1.000, 0.007),
        2: (0.482, 0.914, 0.146),
        5: (0.226, 0.248, 0.410),
    }
    for steps, values in printed.items():
        drawn = reference.sample(
            lambda x, t, s: torch.from_numpy(TWO_MODES.denoiser(x.numpy(), float(t))),
            torch.from_numpy(noise)[None, :, None],
            reference.sampling_times(steps, dtype=torch.float64),
            clip=None,
        )
        shape = judge(drawn.flatten().numpy())
        got = (shape.distance, shape.middle, shape.deviation)
        assert got == pytest.approx(values, abs=0.007), (steps, got)
