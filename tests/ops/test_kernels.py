"""Parity of the Triton kernels with the reference: on a GPU or, under TRITON_INTERPRET=1, the CPU.

`test_kernels_offline.py` runs this file under the interpreter, so every machine runs it one way.
"""

from __future__ import annotations

import os

import pytest
import torch
from ties import cdf_of_drawn_words
from tolerance import assert_as_accurate
from torch import Tensor

from gtp_fast import reference
from gtp_fast.reference import Perturbation, philox

triton = pytest.importorskip("triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = (
    []
    if INTERPRETED
    else [
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: none here"),
    ]
)

F32, BF16 = torch.float32, torch.bfloat16
TIMES = ("t", "u", "tau")
STEP = 123_456


@pytest.fixture(autouse=True)
def poisoned_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill every fresh buffer with NaN, so that an element left unwritten is seen."""
    empty = torch.empty

    def poisoned(*args: object, **options: object) -> Tensor:
        buffer = empty(*args, **options)
        return buffer.fill_(float("nan") if buffer.is_floating_point() else -(2**31))

    monkeypatch.setattr(torch, "empty", poisoned)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw_actions(S: int, B: int, A: int) -> Tensor:
    return (torch.rand(S, B, A, generator=generator(1)) * 2 - 1).to(DEVICE)


def seeds(S: int) -> Tensor:
    # Beyond 2^63, so that a sign bit and both words of the key take part.
    return philox.key_tensor([2**63 + 2**33 * k + 7 + k for k in range(S)], DEVICE)


def fast_perturb(*args: object, **options: object) -> Perturbation:
    from gtp_fast.kernels.perturb import perturb

    return Perturbation(**perturb(*args, **options))


def assert_perturbation(
    a: Tensor,
    N: int,
    step: int = STEP,
    u_mode: str = "adjacent",
    kind: str = "edm",
    dtype: torch.dtype = F32,
    cdf: Tensor | None = None,
) -> Perturbation:
    """Compare all outputs with the reference and return them."""
    nodes, keys = reference.karras_nodes(N).to(DEVICE), seeds(a.shape[0])
    law = {"u_mode": u_mode, "cdf": cdf}
    fast = fast_perturb(a, nodes, N, keys, step, kind=kind, dtype=dtype, **law)
    plain = reference.perturb(a, nodes, N, keys, step, kind=kind, dtype=dtype, **law)
    exact = reference.perturb(a.double(), nodes.double(), N, keys, step, kind=kind, **law)
    for name in Perturbation._fields:
        assert_as_accurate(name, getattr(fast, name), getattr(plain, name), getattr(exact, name))
    for name in TIMES:
        assert torch.equal(getattr(fast, name), getattr(plain, name)), (
            f"{name} must be equal bit for bit"
        )
    return fast


def assert_same_bits(one: Perturbation, other: Perturbation) -> None:
    for name in Perturbation._fields:
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize(
    ("S", "B", "A", "N", "u_mode", "kind", "dtype"),
    [
        (1, 1, 1, 2, "adjacent", "edm", F32),
        (3, 63, 6, 41, "adjacent", "edm", F32),
        (1, 255, 3, 11, "uniform", "edm", BF16),
        (3, 256, 8, 1281, "adjacent", "edm", F32),
        (1, 257, 17, 1281, "uniform", "cm", F32),
        (1, 1000, 6, 161, "adjacent", "none", BF16),
        (1, 63, 64, 1281, "uniform", "edm", F32),
    ],
)
def test_perturb_matches_the_reference(
    S: int, B: int, A: int, N: int, u_mode: str, kind: str, dtype: torch.dtype
) -> None:
    assert_perturbation(draw_actions(S, B, A), N, u_mode=u_mode, kind=kind, dtype=dtype)


@pytest.mark.parametrize("u_mode", reference.U_MODES)
@pytest.mark.parametrize("N", [2, 11, 41, 1281])
def test_perturb_draws_the_nodes_of_a_cdf(N: int, u_mode: str) -> None:
    a, ties = draw_actions(2, 1300, 1), cdf_of_drawn_words(seeds(2), STEP, N)
    for cdf in (reference.lognormal_cdf(N).to(DEVICE), ties):
        assert_perturbation(a, N, u_mode=u_mode, cdf=cdf)


def test_perturb_on_two_nodes_jumps_straight_to_the_clean_action() -> None:
    p = assert_perturbation(draw_actions(1, 63, 3), N=2)
    # tau = 0 at t, and u = tau: the base case of the recursion.
    expected = {"t": 80, "u": 0, "tau": 0, "r_t": 0, "q_t": 1, "r_u": 1, "q_u": 0}
    for name, value in expected.items():
        assert (getattr(p, name) == value).all(), name
    assert torch.equal(p.a_u, draw_actions(1, 63, 3))


def test_perturb_reads_strided_and_bfloat16_actions() -> None:
    strided = draw_actions(2, 12, 63).mT
    assert not strided.is_contiguous()
    assert_perturbation(strided, N=41)
    assert_perturbation(draw_actions(2, 63, 6).to(BF16), N=41)


def test_perturb_repeats_itself_bit_for_bit_and_changes_with_the_step() -> None:
    a, nodes = draw_actions(1, 63, 6), reference.karras_nodes(41).to(DEVICE)
    first, second, later = (fast_perturb(a, nodes, 41, seeds(1), s) for s in (STEP, STEP, STEP + 1))
    assert_same_bits(first, second)
    assert not torch.equal(first.z, later.z)
    assert not torch.equal(first.t, later.t)


def test_perturb_takes_its_scalars_from_the_device_and_a_longer_table() -> None:
    a, nodes = draw_actions(1, 63, 6), reference.karras_nodes(41).to(DEVICE)
    table = torch.cat((nodes, torch.full((1240,), torch.nan, device=DEVICE)))
    count = torch.tensor(41, dtype=torch.int32, device=DEVICE)
    step = torch.tensor(STEP, dtype=torch.int64, device=DEVICE)
    assert_same_bits(
        fast_perturb(a, nodes, 41, seeds(1), STEP), fast_perturb(a, table, count, seeds(1), step)
    )


@pytest.mark.parametrize("step", [0, 1, 2**31 + 5, 2**32 + 5])
def test_perturb_counts_steps_modulo_two_to_the_32(step: int) -> None:
    assert_perturbation(draw_actions(1, 1, 3), N=41, step=step)


def test_perturb_of_a_seed_among_others_equals_that_seed_alone() -> None:
    a, nodes = draw_actions(3, 63, 6), reference.karras_nodes(41).to(DEVICE)
    together = fast_perturb(a, nodes, 41, seeds(3), STEP)
    for k in range(3):
        alone = fast_perturb(a[k : k + 1], nodes, 41, seeds(3)[k : k + 1], STEP)
        assert_same_bits(Perturbation(*(x[k : k + 1] for x in together)), alone)


class LossCase:
    """Inputs of the losses and their three evaluations."""

    def __init__(self, S: int, B: int, A: int, N: int = 1281, dtype: torch.dtype = F32) -> None:
        self.a = draw_actions(S, B, A)
        self.p = reference.perturb(self.a, reference.karras_nodes(N).to(DEVICE), N, seeds(S), STEP)
        normal = torch.randn(S, 3 * B, A, generator=generator(2)).to(DEVICE)
        self.student, self.teacher = normal[:, : 2 * B].to(dtype), normal[:, 2 * B :].to(dtype)
        self.w = 1 + 10 * torch.rand(S, B, generator=generator(3)).to(DEVICE)

    def fast(self, pick: slice = slice(None)) -> tuple[Tensor, ...]:
        from gtp_fast.kernels.loss import flow_map_loss

        p = self.p
        rows = (p.a_t, p.a_u, p.q_t, p.q_u, p.skip_t, p.out_t, p.skip_u, p.out_u, self.w)
        return flow_map_loss(*(x[pick] for x in (self.student, self.teacher, self.a, *rows)))

    def reference(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        exact = dtype == torch.float64
        student, teacher = (x.double() if exact else x for x in (self.student, self.teacher))
        student = student.detach().requires_grad_()
        a, w, *fields = (x.to(dtype) for x in (self.a, self.w, *self.p))
        consistency, flow = reference.flow_map_loss(student, teacher, a, Perturbation(*fields), w)
        (gradient,) = torch.autograd.grad((consistency + flow).sum(), student)
        return consistency.detach(), flow.detach(), gradient

    def check(self) -> None:
        B = self.a.shape[1]
        fast, plain, exact = self.fast(), self.reference(F32), self.reference(torch.float64)
        assert_as_accurate("consistency", fast[0], plain[0], exact[0])
        assert_as_accurate("flow", fast[1], plain[1], exact[1])
        # Apart, since the flow half is far larger and would hide an error of the other.
        for name, half in (("consistency", slice(0, B)), ("flow", slice(B, None))):
            assert_as_accurate(
                f"gradient of {name}", fast[2][:, half], plain[2][:, half], exact[2][:, half]
            )


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize(
    ("S", "B", "A"),
    [(1, 1, 1), (3, 63, 6), (1, 255, 3), (3, 256, 8), (1, 257, 17), (1, 1000, 6), (1, 63, 64)],
)
def test_loss_matches_the_reference(S: int, B: int, A: int, dtype: torch.dtype) -> None:
    LossCase(S, B, A, dtype=dtype).check()


@pytest.mark.parametrize("N", [2, 11])
def test_loss_matches_the_reference_where_u_is_tau_and_tau_is_zero(N: int) -> None:
    LossCase(1, 63, 6, N=N).check()


@pytest.mark.parametrize("w", [1.0, 1e4])
def test_loss_matches_the_reference_at_extreme_weights(w: float) -> None:
    case = LossCase(1, 63, 6)
    case.w[:, 31:] = w
    case.check()


def test_loss_keeps_its_digits_when_both_networks_are_nearly_right() -> None:
    # Residuals of 1e-3 at noise of 300, where the difference of two jumps loses every digit.
    case = LossCase(1, 256, 6)
    p, near = case.p, 1e-3 * torch.randn(1, 256, 6, generator=generator(4)).to(DEVICE)
    first = (case.a + near - p.skip_t[..., None] * p.a_t) / p.out_t[..., None]
    case.student = torch.cat((first, first), 1)
    case.teacher = (case.a - p.skip_u[..., None] * p.a_u) / p.out_u.clamp(min=1e-3)[..., None]
    case.check()


def test_loss_reads_strided_tensors() -> None:
    case = LossCase(2, 63, 6)
    case.student, case.a = case.student.mT.contiguous().mT, case.a.mT.contiguous().mT
    case.w = case.w[:, :1].expand(2, 63)
    assert not case.student.is_contiguous()
    assert not case.w.is_contiguous()
    case.check()


def test_loss_repeats_itself_bit_for_bit() -> None:
    case = LossCase(1, 1000, 6)
    for one, other in zip(case.fast(), case.fast(), strict=True):
        assert torch.equal(one, other)


def test_loss_of_a_seed_among_others_equals_that_seed_alone() -> None:
    case = LossCase(3, 63, 6)
    together = case.fast()
    for k in range(3):
        for one, other in zip(together, case.fast(slice(k, k + 1)), strict=True):
            assert torch.equal(one[k : k + 1], other)
