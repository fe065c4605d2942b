"""The consistency and flow losses of the flow map (eq. 17, 18), and their forms."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.ops.compiled import compiled
from gtp_fast.ops.context import Context
from gtp_fast.ops.gradients import first_order
from gtp_fast.ops.limits import beyond, of_actions
from gtp_fast.ops.operands import operand, output
from gtp_fast.reference import Perturbation
from gtp_fast.system import native


def loss_rows(p: Perturbation) -> tuple[Tensor, ...]:
    """Return what the losses read of a perturbation, in the kernels' order."""
    return p.a_t, p.a_u, p.q_t, p.q_u, p.skip_t, p.out_t, p.skip_u, p.out_u


def flow_map_gradient(
    student: Tensor, teacher: Tensor, a: Tensor, *rows: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return both losses [S], and the gradient [S, 2 B, A] of their sum by the student.

    rows: what of the perturbation `loss_rows` names, then w. UserError for other shapes and dtypes.
    """
    S, B, A = a.shape
    if B < 1 or A < 1:
        raise UserError(f"actions {list(a.shape)} are no batch: a loss needs rows and actions.")
    inputs = [
        operand(student, (S, 2 * B, A), "student"),
        operand(teacher, (S, B, A), "teacher"),
        operand(a, (S, B, A), "a"),
        *[operand(x, (S, B, A), "a_t and a_u") for x in rows[:2]],
        *[operand(x, (S, B), "q, skip, out and w") for x in rows[2:]],
    ]
    losses, gradient = output(2, S), output(S, 2 * B, A)
    native.module().flow_map_loss(
        (S, B, A),
        [x.data_ptr() for x in inputs],
        losses.data_ptr(),
        gradient.data_ptr(),
    )
    return losses[0], losses[1], gradient


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        compute: Callable[..., tuple[Tensor, Tensor, Tensor]],
        student: Tensor,
        teacher: Tensor,
        a: Tensor,
        w: Tensor,
        *rows: Tensor,
    ) -> tuple[Tensor, Tensor]:
        consistency, flow, gradient = compute(student, teacher, a, *rows, w)
        ctx.save_for_backward(gradient)
        return consistency, flow

    @staticmethod
    @first_order
    def backward(ctx: Any, g_consistency: Tensor, g_flow: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        S, rows, A = gradient.shape
        # The upstream factors stay float32: rounded to bf16 they would cost the gradient a digit.
        scale = torch.stack((g_consistency, g_flow), 1)[..., None, None]
        scaled = (gradient.view(S, 2, rows // 2, A) * scale).to(gradient.dtype)
        return (None, scaled.view(S, rows, A), *(None,) * 11)


def _loss(
    compute: Callable[..., tuple[Tensor, Tensor, Tensor]],
    student: Tensor,
    teacher: Tensor,
    a: Tensor,
    p: Perturbation,
    w: Tensor,
) -> tuple[Tensor, Tensor]:
    inputs = (student, teacher.detach(), a, w.detach(), *loss_rows(p))
    result: tuple[Tensor, Tensor] = _Loss.apply(compute, *inputs)  # type: ignore[no-untyped-call]
    return result


def native_loss(
    student: Tensor, teacher: Tensor, a: Tensor, p: Perturbation, w: Tensor
) -> tuple[Tensor, Tensor]:
    """Do `reference.flow_map_loss` with its gradient in one native pass, float32 on the CPU."""
    return _loss(flow_map_gradient, student, teacher, a, p, w)


def triton_loss(
    student: Tensor, teacher: Tensor, a: Tensor, p: Perturbation, w: Tensor, strict: bool = False
) -> tuple[Tensor, Tensor]:
    """Do `reference.flow_map_loss` with its gradient in one Triton launch.

    More actions than the kernel holds go through the reference, which is reported once; strict:
    they raise UserError.
    """
    from gtp_fast.kernels import loss

    if reason := of_actions("triton", a.shape[2]):
        beyond(f"the loss of {a.shape[2]} action dimensions", reason, strict)
        return reference.flow_map_loss(student, teacher, a, p, w)
    return _loss(loss.flow_map_loss, student, teacher, a, p, w)


FORMS: dict[str, Callable[[Context], Callable[..., tuple[Tensor, Tensor]]]] = {
    "reference": lambda _: reference.flow_map_loss,
    "compiled": lambda _: compiled(reference.flow_map_loss),
    "native": lambda _: native_loss,
    "triton": lambda context: functools.partial(triton_loss, strict=context.strict),
}
