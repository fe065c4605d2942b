"""The TD loss and the advantage weights: native on a CPU, Triton on a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtp_fast.system import native


def td_gradient(
    values: Tensor, following: Tensor, reward: Tensor, mask: Tensor, discount: float
) -> tuple[Tensor, Tensor]:
    """Return the loss [S] and its gradient with respect to values [S, twins, B]; following: [S,
    twins, m B].
    """
    S, T, B = values.shape
    inputs = [x.contiguous() for x in (values, following, reward, mask)]
    loss, gradient = torch.empty(S), torch.empty(S, T, B)
    native.module().td_loss(
        (S, T, B, following.shape[2] // max(B, 1)),
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
        following, reward, mask, discount = rest
        # Twins inside their seed, which is how a stack of critics has them.
        loss, gradient = compute(
            values.transpose(0, 1), following.transpose(0, 1), reward, mask, discount
        )
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        scaled = (gradient * upstream[:, None, None]).transpose(0, 1)
        return (None, scaled, None, None, None, None)


def native_td_loss(
    values: Tensor, following: Tensor, reward: Tensor, mask: Tensor, discount: float
) -> Tensor:
    """Do `reference.td_loss` with its gradient in one native pass, float32 on the CPU."""
    inputs = (values, following.detach(), reward, mask, discount)
    loss: Tensor = _TdLoss.apply(td_gradient, *inputs)  # type: ignore[no-untyped-call]
    return loss


def triton_td_loss(
    values: Tensor, following: Tensor, reward: Tensor, mask: Tensor, discount: float
) -> Tensor:
    """Do `reference.td_loss` with its gradient in one Triton launch."""
    from gtp_fast.kernels import td

    inputs = (values, following.detach(), reward, mask, discount)
    loss: Tensor = _TdLoss.apply(td.td_loss, *inputs)  # type: ignore[no-untyped-call]
    return loss


def native_weigh(
    values: Tensor, eta: Tensor, rows: int, maximum: float | None
) -> tuple[Tensor, ...]:
    """Do `reference.weigh` in one native pass, float32 on the CPU."""
    values, eta = values.detach().transpose(0, 1).contiguous(), eta.contiguous()
    S, T, count = values.shape
    w, statistics = torch.empty(S, rows), torch.empty(4, S)
    native.module().weigh(
        (S, T, rows, count // max(rows, 1) - 1),
        values.data_ptr(),
        eta.data_ptr(),
        math.inf if maximum is None else maximum,
        w.data_ptr(),
        statistics.data_ptr(),
    )
    return (w, *statistics.unbind(0))


def triton_weigh(
    values: Tensor, eta: Tensor, rows: int, maximum: float | None
) -> tuple[Tensor, ...]:
    """Do `reference.weigh` in one Triton launch."""
    from gtp_fast.kernels import weigh

    weighed: tuple[Tensor, ...] = weigh.weigh(values.detach().transpose(0, 1), eta, rows, maximum)
    return weighed
