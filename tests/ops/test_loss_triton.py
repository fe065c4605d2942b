"""The losses of the flow map in Triton; test_kernels_offline.py runs it under the interpreter."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from triton_cases import (  # noqa: F401
    DEVICE,
    INTERPRETED,
    STEP,
    LossCase,
    draw_actions,
    fast_perturb,
    generator,
    poisoned_outputs,
    pytestmark,
    seeds,
)

F32, BF16 = torch.float32, torch.bfloat16


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
