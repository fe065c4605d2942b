"""The Triton form of both losses and their gradient against the reference."""

from __future__ import annotations

import pytest
import torch
from tolerance import assert_as_accurate
from torch import Tensor
from triton_cases import (  # noqa: F401
    BF16,
    DEVICE,
    F32,
    STEP,
    draw_actions,
    generator,
    normal,
    poisoned_outputs,
    pytestmark,
    seeds,
)

from gtp_fast import ops, reference
from gtp_fast.errors import UserError
from gtp_fast.reference import Perturbation


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


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("student", r"student must be \[1, 8, 3\]"),
        ("teacher", "teacher, a_t and a_u"),
        ("w", "q, skip, out and w"),
    ],
)
def test_loss_refuses_a_wrong_shape(field: str, message: str) -> None:
    case = LossCase(1, 4, 3)
    setattr(case, field, getattr(case, field)[:, 1:])
    with pytest.raises(ValueError, match=message):
        case.fast()


def test_more_actions_than_the_kernel_holds_go_through_the_reference_and_say_so() -> None:
    from gtp_fast.ops import limits

    a, nodes = draw_actions(2, 3, 65), reference.karras_nodes(11).to(DEVICE)
    p, w = reference.perturb(a, nodes, 11, seeds(2), STEP), torch.ones(2, 3, device=DEVICE)
    given = normal(1, 2, 6, 65), normal(2, 2, 3, 65), a, p, w
    limits.beyond.cache_clear()
    with pytest.warns(UserWarning, match="the loss of 65 action dimensions runs through PyTorch"):
        made = ops.resolve("auto", DEVICE).loss(*given)
    for one, other in zip(made, reference.flow_map_loss(*given), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(UserError, match="not available for the loss of 65 action dimensions"):
        ops.resolve("fused", DEVICE).loss(*given)
