"""Both losses: equations 17 and 18, their gradient, their digits, the native form."""

from __future__ import annotations

import pytest
import torch
from native_cases import draw, needs_native, perturbed
from reference_cases import KEYS, noise
from tolerance import assert_as_accurate
from torch.autograd import gradcheck

from gtp_fast import reference
from gtp_fast.ops import loss


def case(
    seeds: int = 2, rows: int = 5, width: int = 3, count: int = 11, kind: str = "edm"
) -> tuple[torch.Tensor, ...]:
    """Return student, teacher, a, w and the perturbation of a small batch in float64."""
    a = torch.tanh(noise(seeds, rows, width, step=1))
    nodes = reference.karras_nodes(count, dtype=torch.float64)
    p = reference.perturb(a, nodes, count, KEYS[:seeds], 4, kind=kind)
    student, teacher = noise(seeds, 2 * rows, width, step=2), noise(seeds, rows, width, step=3)
    w = noise(seeds, rows, 1, step=5)[..., 0].exp()
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


def test_gradcheck_of_the_losses() -> None:
    student, teacher, a, w, p = case(rows=3, width=2)
    student.requires_grad_()
    assert gradcheck(lambda s: reference.flow_map_loss(s, teacher, a, p, w), (student,))


# --- cancelled residual --------------------------------------------------------------------------


def residuals(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return fused residual, direct residual and its scale at N = 1281, T = 80."""
    rows, count = 20_000, 1281
    nodes = reference.karras_nodes(count)
    n_t, n_u, n_tau = reference.draw_times(KEYS[:1], 0, rows, count)
    a = torch.tanh(noise(1, rows, 2, step=1, dtype=torch.float32))
    z = noise(1, rows, 2, step=2, dtype=torch.float32)
    phi = [0.7 * noise(1, rows, 2, step=i, dtype=torch.float32) for i in (3, 4)]
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


# --- native --------------------------------------------------------------------------------------


@needs_native
@pytest.mark.parametrize("weight", [1.0, 1e4])
@pytest.mark.parametrize(("S", "B", "A", "N"), [(1, 1, 1, 2), (3, 63, 3, 11), (2, 257, 17, 1281)])
def test_loss(S: int, B: int, A: int, N: int, weight: float) -> None:
    a, student, teacher = torch.tanh(draw(2, S, B, A)), draw(3, S, 2 * B, A), draw(4, S, B, A)
    w = weight * draw(5, S, B).square()
    scale = draw(6, 2, S)
    results = []
    for function, dtype in (
        (loss.native_loss, torch.float32),
        (reference.flow_map_loss, torch.float32),
        (reference.flow_map_loss, torch.float64),
    ):
        p = perturbed(reference.perturb, a, N)
        p = type(p)(*(field.to(dtype) for field in p))
        leaf = student.to(dtype).requires_grad_()
        losses = function(leaf, teacher.to(dtype), a.to(dtype), p, w.to(dtype))
        (gradient,) = torch.autograd.grad((torch.stack(losses) * scale.to(dtype)).sum(), leaf)
        results.append([*(x.detach() for x in losses), gradient])
    for name, *values in zip(("consistency", "flow", "gradient"), *results, strict=True):
        assert_as_accurate(f"{name} {S, B, A, N}", *values)
