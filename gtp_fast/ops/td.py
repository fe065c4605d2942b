"""The TD loss of the twin critics (eq. 16) and its forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.ops.context import Context
from gtp_fast.ops.gradients import first_order
from gtp_fast.ops.operands import operand, output
from gtp_fast.system import native


def td_gradient(
    values: Tensor, next_values: Tensor, reward: Tensor, mask: Tensor, discount: float
) -> tuple[Tensor, Tensor]:
    """Return the loss [S] and its gradient by the values [S, twins, B].

    next_values: [S, twins, m B]; reward, mask: [S, B]. UserError for other shapes and dtypes.
    """
    (S, T, B), width = values.shape, next_values.shape[-1]
    if T < 1 or B < 1 or width < B or width % B:
        raise UserError(
            f"values {list(values.shape)} and {list(next_values.shape)} do not hold [S, twins, B] "
            "and [S, twins, m B]: a TD loss needs twins, rows and next actions."
        )
    inputs = [
        operand(values, (S, T, B), "values"),
        operand(next_values, (S, T, width), "next_values"),
        operand(reward, (S, B), "reward"),
        operand(mask, (S, B), "mask"),
    ]
    loss, gradient = output(S), output(S, T, B)
    native.module().td_loss(
        (S, T, B, width // B),
        discount,
        [x.data_ptr() for x in inputs],
        loss.data_ptr(),
        gradient.data_ptr(),
    )
    return loss, gradient


class _TdLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, compute: Callable[..., tuple[Tensor, Tensor]], values: Tensor, *rest: Any
    ) -> Tensor:
        next_values, reward, mask, discount = rest
        # Twins inside their seed, which is how a stack of critics has them.
        loss, gradient = compute(
            values.transpose(0, 1), next_values.transpose(0, 1), reward, mask, discount
        )
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @first_order
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        scaled = (gradient * upstream[:, None, None]).transpose(0, 1)
        return (None, scaled, None, None, None, None)


def native_td_loss(
    values: Tensor, next_values: Tensor, reward: Tensor, mask: Tensor, discount: float
) -> Tensor:
    """Do `reference.td_loss` with its gradient in one native pass, float32 on the CPU."""
    inputs = (values, next_values.detach(), reward, mask, discount)
    loss: Tensor = _TdLoss.apply(td_gradient, *inputs)  # type: ignore[no-untyped-call]
    return loss


def triton_td_loss(
    values: Tensor, next_values: Tensor, reward: Tensor, mask: Tensor, discount: float
) -> Tensor:
    """Do `reference.td_loss` with its gradient in one Triton launch."""
    from gtp_fast.kernels import td

    inputs = (values, next_values.detach(), reward, mask, discount)
    loss: Tensor = _TdLoss.apply(td.td_loss, *inputs)  # type: ignore[no-untyped-call]
    return loss


FORMS: dict[str, Callable[[Context], Callable[..., Tensor]]] = {
    "reference": lambda _: reference.td_loss,
    "native": lambda _: native_td_loss,
    "triton": lambda _: triton_td_loss,
}
