"""Losses, weights, critic, optimiser, activation: values, gradients, and where these must stop."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck

from gtp_fast import reference
from gtp_fast.reference import philox
from gtp_fast.reference.adam import plain

KEYS = philox.key_tensor([0, 1, 2])


def normals(*shape: int, step: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    seeds, rows, columns = shape
    return philox.normals(KEYS[:seeds], step, philox.Stream.NOISE, rows, columns, dtype)


def case(
    seeds: int = 2, rows: int = 5, width: int = 3, count: int = 11, kind: str = "edm"
) -> tuple[torch.Tensor, ...]:
    """Return student, teacher, a, w and the perturbation of a small batch in float64."""
    a = torch.tanh(normals(seeds, rows, width, step=1))
    nodes = reference.karras_nodes(count, dtype=torch.float64)
    p = reference.perturb(a, nodes, count, KEYS[:seeds], 4, kind=kind)
    student, teacher = normals(seeds, 2 * rows, width, step=2), normals(seeds, rows, width, step=3)
    w = normals(seeds, rows, 1, step=5)[..., 0].exp()
    return student, teacher, a, w, p


def spelled_out(student, teacher, a, w, p, seed: int) -> tuple[float, float]:
    """Add up equations 17 and 18 for one seed, with the direct difference of the two maps."""
    rows, width = a.shape[1:]
    consistency = flow = 0.0
    for b in range(rows):
        t, u, tau = (float(x[seed, b]) for x in (p.t, p.u, p.tau))
        for d in range(width):
            clean, z = float(a[seed, b, d]), float(p.z[seed, b, d])
            a_t, a_u = clean + t * z, clean + u * z
            phi = [
                float(skip[seed, b]) * x + float(out[seed, b]) * float(f)
                for skip, out, x, f in (
                    (p.skip_t, p.out_t, a_t, student[seed, b, d]),
                    (p.skip_u, p.out_u, a_u, teacher[seed, b, d]),
                    (p.skip_t, p.out_t, a_t, student[seed, rows + b, d]),
                )
            ]
            online = tau / t * a_t + (1 - tau / t) * phi[0]
            target = a_u if u == tau else tau / u * a_u + (1 - tau / u) * phi[1]
            consistency += float(w[seed, b]) * (online - target) ** 2 / rows
            flow += float(w[seed, b]) * (clean - phi[2]) ** 2 / rows
    return consistency, flow


@pytest.mark.parametrize("kind", reference.PRECONDITIONINGS)
def test_losses_are_equations_17_and_18(kind: str) -> None:
    student, teacher, a, w, p = case(rows=40, kind=kind)
    consistency, flow = reference.flow_map_loss(student, teacher, a, p, w)
    for seed in range(2):
        hand = spelled_out(student, teacher, a, w, p, seed)
        assert (float(consistency[seed]), float(flow[seed])) == pytest.approx(hand, rel=1e-10)


def test_gradient_of_the_losses_is_the_formula() -> None:
    student, teacher, a, w, p = case()
    student.requires_grad_()
    consistency, flow = reference.flow_map_loss(student, teacher, a, p, w)
    (gradient,) = torch.autograd.grad((2 * consistency + 3 * flow).sum(), student)
    half = student.shape[1] // 2
    d_t = reference.clean_action(p.a_t, student[:, :half], p.skip_t, p.out_t) - a
    d_u = reference.clean_action(p.a_u, teacher, p.skip_u, p.out_u) - a
    residual = p.q_t[..., None] * d_t - p.q_u[..., None] * d_u
    clean = reference.clean_action(p.a_t, student[:, half:], p.skip_t, p.out_t) - a
    first = 2 * 2 * (w * p.q_t * p.out_t)[..., None] * residual / half
    second = 3 * 2 * (w * p.out_t)[..., None] * clean / half
    assert torch.allclose(gradient, torch.cat((first, second), 1), rtol=1e-12, atol=1e-14)


def test_both_losses_vanish_at_a_point_mass() -> None:
    _, _, a, w, p = case(kind="none")
    consistency, flow = reference.flow_map_loss(a.repeat(1, 2, 1), a, a, p, w)
    assert consistency.tolist() == [0.0, 0.0]
    assert flow.tolist() == [0.0, 0.0]


def test_no_gradient_reaches_teacher_or_weights() -> None:
    student, teacher, a, w, p = case()
    for x in (student, teacher, w):
        x.requires_grad_()
    loss = sum(x.sum() for x in reference.flow_map_loss(student, teacher, a, p, w))
    gradients = torch.autograd.grad(loss, (student, teacher, w), allow_unused=True)
    assert gradients[0].abs().min() > 0
    assert gradients[1] is None
    assert gradients[2] is None


def test_no_seed_feels_another() -> None:
    student, teacher, a, w, p = case()
    whole = reference.flow_map_loss(student, teacher, a, p, w)
    for seed in range(2):
        s = slice(seed, seed + 1)
        alone = reference.flow_map_loss(
            student[s], teacher[s], a[s], reference.Perturbation(*(x[s] for x in p)), w[s]
        )
        for one, all_ in zip(alone, whole, strict=True):
            assert torch.equal(one[0], all_[seed])


def test_whole_weights_are_repeated_rows() -> None:
    student, teacher, a, _, p = case(seeds=1, rows=4)
    counts = torch.tensor([[3.0, 1.0, 0.0, 2.0]], dtype=torch.float64)
    index = torch.repeat_interleave(torch.arange(4), counts[0].long())
    student.requires_grad_()
    weighted = reference.flow_map_loss(student, teacher, a, p, counts)
    repeated = reference.flow_map_loss(
        torch.cat((student[:, index], student[:, 4 + index]), 1),
        teacher[:, index],
        a[:, index],
        reference.Perturbation(*(x[:, index] for x in p[:14]), *p[14:]),
        torch.ones(1, 6, dtype=torch.float64),
    )
    for x, y in zip(weighted, repeated, strict=True):
        assert x.item() * 4 == pytest.approx(y.item() * 6)
        left, right = (torch.autograd.grad(v.sum(), student, retain_graph=True)[0] for v in (x, y))
        assert torch.allclose(left * 4, right * 6, rtol=1e-12, atol=1e-14)


# --- cancelled residual --------------------------------------------------------------------------


def residuals(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return fused residual, direct residual and its scale at N = 1281, T = 80."""
    rows, count = 20_000, 1281
    nodes = reference.karras_nodes(count)
    n_t, n_u, n_tau = reference.draw_times(KEYS[:1], 0, rows, count)
    a = torch.tanh(normals(1, rows, 2, step=1, dtype=torch.float32))
    z = normals(1, rows, 2, step=2, dtype=torch.float32)
    phi = [0.7 * normals(1, rows, 2, step=i, dtype=torch.float32) for i in (3, 4)]
    a, z, nodes, phi_t, phi_u = (x.to(dtype) for x in (a, z, nodes, *phi))
    p = reference.perturb_at(a, z, nodes, n_t, n_u, n_tau)
    fused = reference.consistency_residual(phi_t - a, phi_u - a, p.q_t, p.q_u)
    direct = reference.flow_map(p.a_t, phi_t, p.t, p.tau) - reference.flow_map(
        p.a_u, phi_u, p.u, p.tau
    )
    return fused, direct, fused.abs().max()


def test_cancelled_residual_is_the_direct_one_in_double_precision() -> None:
    fused, direct, scale = residuals(torch.float64)
    assert (fused - direct).abs().max() < 1e-12 * scale


def test_cancelled_residual_keeps_its_digits_in_single_precision() -> None:
    exact, _, scale = residuals(torch.float64)
    fused, direct, _ = residuals(torch.float32)
    error = (fused - exact).abs().max()
    assert error < 1e-6 * scale
    assert (direct - exact).abs().max() > 10 * error


# --- gradients in float64 ------------------------------------------------------------------------


def test_gradcheck_of_the_losses() -> None:
    student, teacher, a, w, p = case(rows=3, width=2)
    student.requires_grad_()
    assert gradcheck(lambda s: reference.flow_map_loss(s, teacher, a, p, w), (student,))


def test_gradcheck_of_the_parts() -> None:
    x = normals(2, 3, 4, step=6).requires_grad_()
    t = torch.tensor([0.01, 0.5, 7.0], dtype=torch.float64, requires_grad=True)
    tau = torch.tensor([0.0, 0.2, 6.9], dtype=torch.float64, requires_grad=True)
    assert gradcheck(reference.mish, (x,))
    assert gradcheck(reference.flow_map, (x, x.detach().cos().requires_grad_(), t, tau))
    assert gradcheck(lambda v: reference.sinusoid(v, scale=5.0), (t,))
    for kind in reference.PRECONDITIONINGS:
        assert gradcheck(lambda v, kind=kind: reference.precondition(v, kind), (t,))
    values = normals(2, 3, 4, step=7).requires_grad_()
    target = normals(1, 3, 4, step=8)[0]
    assert gradcheck(lambda v: reference.double_q_loss(v, target), (values,))


# --- weights -------------------------------------------------------------------------------------


def advantages() -> torch.Tensor:
    return normals(3, 64, 1, step=9)[..., 0] * torch.tensor([[0.01], [1.0], [50.0]])


def test_no_guidance_weighs_every_row_one() -> None:
    assert torch.equal(
        reference.advantage_weights(advantages(), 0.0), torch.ones(3, 64, dtype=torch.float64)
    )


@pytest.mark.parametrize("maximum", [100.0, None])
def test_weights_are_the_exponential_of_the_positive_advantage(maximum: float | None) -> None:
    a = advantages()
    w = reference.advantage_weights(a, 1.5, maximum=maximum)
    for seed in range(3):
        values = a[seed].tolist()
        mean = sum(values) / 64
        std = math.sqrt(sum((v - mean) ** 2 for v in values) / 64)
        hand = [math.exp(1.5 * max(0.0, v) / (std + 1e-6)) for v in values]
        assert w[seed].tolist() == pytest.approx([min(x, maximum or x) for x in hand])
    assert (w >= 1).all()
    assert (w[a < 0] == 1).all()
    assert (w[a > 0] > 1).all()


def test_weights_do_not_feel_the_scale_of_the_advantage() -> None:
    a = advantages()[1:]
    for factor in (0.1, 30.0):
        scaled = reference.advantage_weights(factor * a, 1.0)
        assert torch.allclose(scaled, reference.advantage_weights(a, 1.0), rtol=1e-4)


def test_one_strength_for_each_seed() -> None:
    a = advantages()
    etas = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    w = reference.advantage_weights(a, etas)
    for seed, eta in enumerate(etas.tolist()):
        alone = reference.advantage_weights(a[seed : seed + 1], eta)
        assert torch.allclose(w[seed : seed + 1], alone, rtol=1e-13)


def test_weights_survive_hopeless_advantages() -> None:
    equal = torch.full((1, 8), 3.0)
    # No spread: the exponent is 3 / 1e-6 and only the clamp keeps it finite.
    assert reference.advantage_weights(equal, 1.0).tolist() == [[pytest.approx(100.0)] * 8]
    assert reference.advantage_weights(-equal, 1.0).tolist() == [[1.0] * 8]
    assert reference.advantage_weights(0 * equal, 5.0).tolist() == [[1.0] * 8]
    assert torch.isinf(reference.advantage_weights(equal, 1.0, maximum=None)).all()
    one = reference.advantage_weights(torch.tensor([[2.0]]), 1.0)
    assert torch.isfinite(one).all()


# --- critic --------------------------------------------------------------------------------------


def test_target_takes_the_lesser_twin_and_the_mask() -> None:
    values = torch.tensor([[[1.0, 5.0, 2.0]], [[3.0, 4.0, 9.0]]])
    target = reference.td_target(
        torch.tensor([[10.0, 20.0, 30.0]]), torch.tensor([[1.0, 1.0, 0.0]]), values, 0.5
    )
    assert target.tolist() == [[10.5, 22.0, 30.0]]


def test_critic_loss_adds_the_twins_and_lets_no_gradient_into_its_target() -> None:
    values = torch.tensor([[[1.0, 2.0]], [[0.0, 4.0]]], requires_grad=True)
    target = torch.tensor([[3.0, 3.0]], requires_grad=True)
    loss = reference.double_q_loss(values, target)
    assert loss.tolist() == [pytest.approx((4 + 1) / 2 + (9 + 1) / 2)]
    gradients = torch.autograd.grad(loss.sum(), (values, target), allow_unused=True)
    assert gradients[0].tolist() == [[[-2.0, -1.0]], [[-3.0, 1.0]]]
    assert gradients[1] is None


@pytest.mark.parametrize(("mask", "expected"), [(0.0, (2.8, 2.0)), (1.0, (2.8 / 0.19, 2.9 / 0.19))])
def test_values_of_a_two_state_chain(mask: float, expected: tuple[float, float]) -> None:
    # A pays 1 and leads to B; B pays 2 and ends (mask 0), or is cut by a time-out and leads to A.
    reward, masks = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, mask]])
    values = torch.zeros(2, 1, 2, requires_grad=True)
    for _ in range(500):
        target = reference.td_target(reward, masks, values.detach().flip(2), 0.9)
        (gradient,) = torch.autograd.grad(reference.double_q_loss(values, target).sum(), values)
        values.data -= 0.5 * gradient
    for twin in values.detach():
        assert twin[0].tolist() == pytest.approx(expected, rel=1e-4)


# --- optimiser, average, activation --------------------------------------------------------------


def test_adam_is_the_one_of_torch() -> None:
    rates = (1e-3, 2e-2)
    start = normals(2, 7, 1, step=10)[..., 0]
    theirs = [start[s].clone().requires_grad_() for s in range(2)]
    optimisers = [torch.optim.Adam([x], lr=lr) for x, lr in zip(theirs, rates, strict=True)]
    ours, average = start.clone(), start.clone()
    first, second = torch.zeros_like(start), torch.zeros_like(start)
    expected_average = start.clone()
    rate = torch.tensor(rates, dtype=torch.float64)
    for step in range(1, 31):
        gradient = normals(2, 7, 1, step=100 + step)[..., 0] * 10.0 ** (step % 5 - 3)
        for x, g, optimiser in zip(theirs, gradient, optimisers, strict=True):
            x.grad = g.clone()
            optimiser.step()
        buffers = (ours, gradient, first, second, average)
        plain(*buffers, step, rate, 0.05, None, torch.zeros(2, dtype=torch.bool))
        now = torch.stack([x.detach() for x in theirs])
        expected_average = 0.95 * expected_average + 0.05 * now
        assert torch.allclose(ours, now, rtol=1e-11, atol=1e-13)
        assert torch.allclose(average, expected_average, rtol=1e-11, atol=1e-13)


def test_average_forgets_its_start_geometrically() -> None:
    start, online, rate = normals(1, 4, 1, step=11), normals(1, 4, 1, step=12), 0.005
    average, parameter = start.clone()[..., 0], online.clone()[..., 0]
    still, healthy = torch.zeros_like(parameter), torch.zeros(1, dtype=torch.bool)
    for updates in range(1, 301):
        moments = still.clone(), still.clone(), still.clone()
        plain(parameter, *moments, average, updates, torch.ones(1), rate, None, healthy)
    expected = online + (1 - rate) ** 300 * (start - online)
    assert torch.allclose(average, expected[..., 0], rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mish_is_the_one_of_torch(dtype: torch.dtype) -> None:
    x = torch.cat((torch.linspace(-30, 30, 2001), torch.tensor([-80.0, 80.0, 1e4, -1e4]))).to(dtype)
    x.requires_grad_()
    theirs = torch.nn.functional.mish(x.double())
    ours = reference.mish(x)
    scale = 1e-5 if dtype == torch.float32 else 1e-12
    assert ((ours - theirs).abs() <= scale * theirs.abs() + 1e-30).all()
    slopes = [torch.autograd.grad(y.sum(), x)[0].double() for y in (ours, theirs)]
    assert ((slopes[0] - slopes[1]).abs() < 2 * scale).all()


def test_td_loss_backs_up_the_best_of_several_next_actions() -> None:
    # Twins' best next values are 5 and 4, so the target is 1 + 0.5 * 4 = 3.
    values = torch.tensor([[[1.0]], [[2.0]]], dtype=torch.float64)
    following = torch.tensor([[[3.0, 5.0]], [[4.0, 1.0]]], dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    assert reference.td_loss(values, following, one, one, 0.5).tolist() == [5.0]
    assert reference.td_loss(values, following, one, 0 * one, 0.5).tolist() == [1.0]


def test_weigh_takes_the_lesser_twin_and_the_mean_of_policy_actions() -> None:
    twin = torch.tensor([2.0, 4.0, 0.0, 1.0, 2.0, -1.0], dtype=torch.float64)
    other = torch.tensor([3.0, 3.0, 5.0, 5.0, 5.0, 5.0], dtype=torch.float64)
    # Q is 2 and 3, V is (0 + 2) / 2 = 1 and (1 - 1) / 2 = 0: A is 1 and 3.
    values = torch.stack((twin, other))[:, None]
    w, q, spread, mean, largest = reference.weigh(values, torch.ones(1), 2, maximum=None)
    expected = torch.exp(torch.tensor([1.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(w[0], expected, rtol=1e-5, atol=0)
    assert (q.item(), spread.item()) == (2.5, 1.0)
    torch.testing.assert_close(torch.cat((mean, largest)), torch.stack((w.mean(), w.max())))
