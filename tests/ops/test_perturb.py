"""Times, noise and noised actions: the law of (t, u, tau), the closed form, the native form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from native_cases import STEP, draw, keys, needs_native, perturbed
from oracles import karras
from ties import cdf_of_drawn_words
from tolerance import assert_as_accurate, assert_digits_kept

from gtp_fast import reference
from gtp_fast.ops import perturb
from gtp_fast.reference import philox

# --- law of the indices --------------------------------------------------------------------------


def chi_square_excess(observed: torch.Tensor, expected: torch.Tensor) -> float:
    """Return how many standard deviations the chi-square statistic lies above its mean."""
    expected = expected.double()
    chi = float(((observed - expected) ** 2 / expected).sum())
    freedom = expected.numel() - 1
    return (chi - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("u_mode", reference.U_MODES)
def test_indices_are_ordered_and_reach_their_ends(u_mode: str) -> None:
    keys = philox.key_tensor([0, 2**63 + 1])
    for count in (2, 3, 11, 1281):
        n_t, n_u, n_tau = reference.draw_times(keys, 5, 20_000, count, u_mode)
        assert (n_t > n_u).all()
        assert (n_u >= n_tau).all()
        assert (n_tau >= 0).all()
        assert n_t.min() == 1
        assert n_tau.min() == 0
        assert n_t.max() == count - 1
        assert (n_u == n_tau).any(), "the base case u = tau must occur"
        assert n_t.shape == n_u.shape == n_tau.shape == (2, 20_000)


@pytest.mark.parametrize("u_mode", reference.U_MODES)
def test_law_of_the_indices(u_mode: str) -> None:
    count, rows = 8, 400_000
    n_t, n_u, n_tau = (
        n[0] for n in reference.draw_times(philox.key_tensor([4]), 0, rows, count, u_mode)
    )
    cells, expected = [], []
    for t in range(1, count):
        for tau in range(t):
            for u in range(tau, t):
                if u_mode == "adjacent" and u != t - 1:
                    assert not ((n_t == t) & (n_u == u)).any()
                    continue
                share = 1.0 if u_mode == "adjacent" else 1 / (t - tau)
                cells.append(((n_t == t) & (n_u == u) & (n_tau == tau)).sum())
                expected.append(rows / (count - 1) / t * share)
    assert sum(expected) == pytest.approx(rows)
    assert chi_square_excess(torch.stack(cells), torch.tensor(expected)) < 4.5


def test_number_of_nodes_may_live_on_the_device() -> None:
    keys = philox.key_tensor([1])
    plain = reference.draw_times(keys, 3, 100, 21)
    scalar = reference.draw_times(keys, 3, 100, torch.tensor(21, dtype=torch.int32))
    for a, b in zip(plain, scalar, strict=True):
        assert torch.equal(a, b)


def test_a_longer_table_than_n_changes_nothing() -> None:
    keys, a = philox.key_tensor([1]), torch.zeros(1, 64, 2)
    nodes = reference.karras_nodes(11)
    longer = torch.cat((nodes, torch.full((30,), float("nan"))))
    for short, long in zip(
        reference.perturb(a, nodes, 11, keys, 0),
        reference.perturb(a, longer, 11, keys, 0),
        strict=True,
    ):
        assert torch.equal(short, long)


def test_unknown_law_is_refused() -> None:
    with pytest.raises(ValueError, match="u_mode is one of adjacent, uniform"):
        reference.draw_times(philox.key_tensor([1]), 0, 4, 11, "middle")


# --- log-normal law of t -------------------------------------------------------------------------


def lognormal_masses(count: int, t_max: float = 80.0) -> np.ndarray:
    """Return the mass of each interval of the grid under ln t ~ N(-1.1, 2^2), cut at both ends."""
    nodes = karras(count, t_max, first=0.002)
    below = [0.5 * math.erfc((-1.1 - math.log(t)) / (2.0 * math.sqrt(2))) for t in nodes]
    return np.diff(below) / (below[-1] - below[0])


@pytest.mark.parametrize("t_max", [80.0, 5.0])
@pytest.mark.parametrize("count", [2, 3, 11, 41, 1281])
def test_lognormal_cdf_has_the_mass_of_every_interval(count: int, t_max: float) -> None:
    cdf = reference.lognormal_cdf(count, t_max=t_max)
    assert cdf.shape == (count,) and cdf.dtype == torch.int64
    assert (cdf[0], cdf[-1]) == (0, 2**32)
    # Both ends of an interval are rounded, each by half a word at most.
    assert cdf.diff().double() * 2.0**-32 == pytest.approx(
        lognormal_masses(count, t_max), abs=2.0**-32
    )


@pytest.mark.parametrize("count", [2, 11, 41, 1281])
def test_lognormal_times_are_drawn_by_their_masses(count: int) -> None:
    keys, rows, cdf = philox.key_tensor([3, 2**63 + 1]), 200_000, reference.lognormal_cdf(count)
    n_t, n_u, n_tau = reference.draw_times(keys, 0, rows, count, "adjacent", cdf)
    masses = lognormal_masses(count)
    found = np.bincount(n_t.flatten().numpy(), minlength=count)[1:] / n_t.numel()
    assert len(found) == count - 1
    # Frequencies stray from masses by sqrt(2 / pi) of their deviations in the mean.
    variation = np.abs(found - masses).sum() / 2
    assert variation <= np.sqrt(masses * (1 - masses) / n_t.numel()).sum() / 2
    assert torch.equal(n_u, n_t - 1)
    assert (n_tau >= 0).all() and (n_tau <= n_u).all()


@pytest.mark.parametrize(("t_min", "t_max"), [(1e-6, 1e6), (1e5, 1e6), (1e-6, 2e-6), (3.0, 3.0)])
def test_lognormal_times_stay_nodes_of_any_grid(t_min: float, t_max: float) -> None:
    cdf = reference.lognormal_cdf(41, t_min, t_max)
    assert (cdf[0], cdf[-1]) == (0, 2**32) and (cdf.diff() >= 0).all()
    n_t, _, _ = reference.draw_times(philox.key_tensor([1]), 0, 10_000, 41, "adjacent", cdf)
    assert n_t.min() >= 1 and n_t.max() <= 40


def test_a_word_at_a_bound_of_the_cdf_belongs_to_the_node_above() -> None:
    keys, count, rows = philox.key_tensor([5]), 41, 300
    cdf = cdf_of_drawn_words(keys, 2, count)
    longer = torch.cat((cdf, torch.full((30,), 2**32)))
    word = philox.words(keys, 2, philox.Stream.TIME, rows, 1)[0].flatten()
    expected = [sum(bound <= w for bound in cdf.tolist()) for w in word.tolist()]
    for table, number in ((cdf, count), (longer, torch.tensor(count))):
        n_t, _, _ = reference.draw_times(keys, 2, rows, number, "uniform", table)
        assert n_t[0].tolist() == expected
    assert (n_t.min(), n_t.max()) == (1, count - 1)


# --- noising -------------------------------------------------------------------------------------


@pytest.mark.parametrize("u_mode", reference.U_MODES)
@pytest.mark.parametrize("kind", reference.PRECONDITIONINGS)
@pytest.mark.parametrize(("sigma_data", "t_min"), [(0.5, 0.002), (0.8, 0.01)])
def test_perturbation_is_the_closed_form(
    u_mode: str, kind: str, sigma_data: float, t_min: float
) -> None:
    seeds, rows, width, count = 2, 200, 3, 11
    keys = philox.key_tensor(range(seeds))
    a = torch.linspace(-1, 1, seeds * rows * width, dtype=torch.float64).view(seeds, rows, width)
    nodes = reference.karras_nodes(count, dtype=torch.float64)
    of_time = {"kind": kind, "sigma_data": sigma_data, "t_min": t_min}
    p = reference.perturb(a, nodes, count, keys, 9, u_mode=u_mode, **of_time)
    indices = reference.draw_times(keys, 9, rows, count, u_mode)
    grid = karras(count)
    t, u, tau = (grid[n.numpy()] for n in indices)
    for field, value in (("t", t), ("u", u), ("tau", tau)):
        assert getattr(p, field).numpy() == pytest.approx(value, rel=1e-13, abs=0)
    assert (p.tau == 0).any()
    assert (p.u == 0).any()
    z = philox.normals(keys, 9, philox.Stream.NOISE, rows, width, torch.float64)
    assert torch.equal(p.z, z)
    clean = a.numpy()
    for time, noised in ((t, p.a_t), (u, p.a_u)):
        assert noised.numpy() == pytest.approx(clean + time[..., None] * z.numpy(), abs=1e-12)
    with np.errstate(invalid="ignore"):
        ratio = np.where(u == tau, 1.0, tau / u)
    assert p.r_t.numpy() == pytest.approx(tau / t, rel=1e-12)
    assert p.q_t.numpy() == pytest.approx(1 - tau / t, rel=1e-12, abs=1e-14)
    assert p.r_u.numpy() == pytest.approx(ratio, rel=1e-12)
    assert p.q_u.numpy() == pytest.approx(1 - ratio, rel=1e-9, abs=1e-14)
    for time, skip, out in ((p.t, p.skip_t, p.out_t), (p.u, p.skip_u, p.out_u)):
        expected = reference.precondition(time, **of_time)
        assert torch.equal(skip, expected[0])
        assert torch.equal(out, expected[1])
    level = {i: 0.25 * math.log(max(x, 0.002)) for i, x in enumerate(grid)}
    levels = [np.vectorize(level.__getitem__)(n.numpy()) for n in indices]
    halves = p.student_levels.chunk(2, 1)
    assert halves[0].numpy() == pytest.approx(np.stack((levels[0], levels[2]), -1), rel=1e-12)
    assert halves[1].numpy() == pytest.approx(np.stack((levels[0], levels[0]), -1), rel=1e-12)
    assert p.teacher_levels.numpy() == pytest.approx(np.stack(levels[1:], -1), rel=1e-12)
    scale_t, scale_u = (reference.precondition(x, **of_time)[2][..., None] for x in (p.t, p.u))
    assert torch.equal(p.student_x, (scale_t * p.a_t).repeat(1, 2, 1))
    assert torch.equal(p.teacher_x, scale_u * p.a_u)


def test_small_jumps_keep_their_digits_in_float32() -> None:
    a, nodes, seeds = torch.zeros(1, 500, 1), reference.karras_nodes(1281), philox.key_tensor([0])
    p = reference.perturb(a, nodes, 1281, seeds, 0, u_mode="uniform")
    for time, q in ((p.t, p.q_t), (p.u, p.q_u)):
        r = p.tau.double() / time.double()
        exact = torch.where(time == p.tau, 0.0, 1.0 - r)
        assert_digits_kept("q", q, exact.float(), exact)


def test_network_inputs_alone_take_the_compute_dtype() -> None:
    a = torch.zeros(1, 16, 3)
    nodes = reference.karras_nodes(11)
    p = reference.perturb(a, nodes, 11, philox.key_tensor([0]), 0, dtype=torch.bfloat16)
    half = {name for name, value in p._asdict().items() if value.dtype == torch.bfloat16}
    assert half == {"student_x", "teacher_x"}


# --- native --------------------------------------------------------------------------------------


@needs_native
@pytest.mark.parametrize("kind", ["edm", "cm", "none"])
@pytest.mark.parametrize("u_mode", ["adjacent", "uniform"])
@pytest.mark.parametrize(("S", "B", "A", "N"), [(1, 1, 1, 2), (3, 63, 3, 11), (2, 257, 17, 1281)])
def test_perturb(S: int, B: int, A: int, N: int, u_mode: str, kind: str) -> None:
    a = torch.tanh(draw(0, S, B, A))
    options = {"u_mode": u_mode, "kind": kind}
    fast = perturbed(perturb.native_perturb, a, N, **options)
    plain = perturbed(reference.perturb, a, N, **options)
    exact = perturbed(reference.perturb, a, N, torch.float64, **options)
    for name in fast._fields:
        values = (getattr(p, name) for p in (fast, plain, exact))
        assert_as_accurate(f"{name} {S, B, A, N}", *values)
    for name in ("q_t", "q_u"):
        assert_digits_kept(name, *(getattr(p, name) for p in (fast, plain, exact)))
    for name in ("t", "u", "tau"):
        assert torch.equal(getattr(fast, name), getattr(plain, name)), name


@needs_native
@pytest.mark.parametrize("u_mode", reference.U_MODES)
@pytest.mark.parametrize("N", [2, 11, 12, 1281])
def test_perturb_draws_the_nodes_of_a_cdf(N: int, u_mode: str) -> None:
    a = torch.zeros(2, 3000, 1)
    for cdf in (reference.lognormal_cdf(N), cdf_of_drawn_words(keys(2), STEP, N)):
        # The zeros behind the law change the draw if they are read.
        options = {"u_mode": u_mode, "cdf": torch.cat((cdf, torch.zeros_like(cdf)))[:N]}
        fast = perturbed(perturb.native_perturb, a, N, **options)
        plain = perturbed(reference.perturb, a, N, **options)
        for name in ("t", "u", "tau"):
            assert torch.equal(getattr(fast, name), getattr(plain, name)), name
    for wrong in (cdf[1:], cdf.int()):
        with pytest.raises(ValueError, match=rf"cdf must be \[{N}\] int64"):
            perturbed(perturb.native_perturb, a, N, cdf=wrong)


@needs_native
def test_perturb_takes_its_scalars_as_tensors_and_a_longer_table() -> None:
    a, options = draw(1, 2, 9, 3), {"u_mode": "uniform"}
    nodes = torch.cat((reference.karras_nodes(11), torch.full((5,), math.nan)))
    fast = perturbed(perturb.native_perturb, a, 11, **options)
    again = perturb.native_perturb(
        a, nodes, torch.tensor(11), keys(2), torch.tensor(STEP), **options
    )
    assert all(torch.equal(x, y) for x, y in zip(fast, again, strict=True))
    alone = perturbed(perturb.native_perturb, a[1:], 11, seeds=keys(2)[1:], **options)
    assert all(torch.equal(x[1:], y) for x, y in zip(fast, alone, strict=True))
    with pytest.raises(ValueError, match=r"2\.\.16, not 17"):
        perturb.native_perturb(a, nodes, 17, keys(2), 0)
    with pytest.raises(ValueError, match="sideways"):
        perturb.native_perturb(a, nodes, 11, keys(2), 0, u_mode="sideways")
