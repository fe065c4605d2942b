"""Shared by tests of Triton kernels: on a GPU, or on the CPU under TRITON_INTERPRET=1."""

from __future__ import annotations

import os

import pytest
import torch
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
