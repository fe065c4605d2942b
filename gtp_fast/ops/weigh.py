"""The advantage weights w (eq. 14) and their forms."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.ops.context import Context
from gtp_fast.system import native


def native_weigh(
    values: Tensor, eta: Tensor, rows: int, maximum: float | None, scale: str = "std"
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
        reference.ADVANTAGE_SCALES.index(scale),
        w.data_ptr(),
        statistics.data_ptr(),
    )
    return (w, *statistics.unbind(0))


def triton_weigh(
    values: Tensor, eta: Tensor, rows: int, maximum: float | None, scale: str = "std"
) -> tuple[Tensor, ...]:
    """Do `reference.weigh` in one Triton launch; ValueError for another scale than `std`."""
    if scale != "std":
        raise ValueError(f"the kernel of the weights has no scale {scale!r}")
    from gtp_fast.kernels import weigh

    weighed: tuple[Tensor, ...] = weigh.weigh(values.detach().transpose(0, 1), eta, rows, maximum)
    return weighed


FORMS: dict[str, Callable[[Context], Callable[..., tuple[Tensor, ...]]]] = {
    "reference": lambda _: reference.weigh,
    "native": lambda _: native_weigh,
    "triton": lambda _: triton_weigh,
}
