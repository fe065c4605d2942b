"""The advantage weights w (eq. 14) and their forms."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.ops.context import Context
from gtp_fast.ops.operands import operand, output
from gtp_fast.system import native


def native_weigh(
    values: Tensor, eta: Tensor, rows: int, maximum: float | None, scale: str = "std"
) -> tuple[Tensor, ...]:
    """Do `reference.weigh` in one native pass; UserError for another shape or dtype."""
    values = values.detach().transpose(0, 1)
    S, T, count = values.shape
    if T < 1 or rows < 1 or count < 2 * rows or count % rows:
        raise UserError(
            f"values {[T, S, count]} do not hold (1 + m) x {rows} rows of twins: weights need the "
            "values of data actions and of policy actions."
        )
    values, eta = operand(values, (S, T, count), "values"), operand(eta, (S,), "eta")
    w, statistics = output(S, rows), output(4, S)
    native.module().weigh(
        (S, T, rows, count // rows - 1),
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
