"""The sums of metrics and the first unsound update of each seed, and their forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.ops.context import Context
from gtp_fast.ops.operands import buffer, operand
from gtp_fast.system import native


def native_tally(
    metrics: Tensor,
    total: Tensor,
    limits: Tensor,
    bad_step: Tensor,
    step: int | Tensor,
    advance: bool = False,
) -> None:
    """Do `reference.tally` in one pass of native code, float32 on the CPU.

    UserError for other shapes and dtypes, and for gaps in what is written.
    """
    (n, S), losses = metrics.shape, len(bad_step)
    metrics, limits = operand(metrics, (n, S), "metrics"), operand(limits, (losses,), "limits")
    buffer(total, (n, S), "total")
    buffer(bad_step, (losses, S), "bad_step", torch.int64)
    native.module().tally(
        metrics.data_ptr(), (n, losses, S),
        limits.data_ptr(), int(step), total.data_ptr(), bad_step.data_ptr(),
    )  # fmt: skip
    if advance and isinstance(step, Tensor):
        step.add_(1)


def triton_tally(*tensors: Any) -> None:
    """Compute `reference.tally` in one launch."""
    from gtp_fast.kernels import tally

    tally.tally(*tensors)


FORMS: dict[str, Callable[[Context], Callable[..., None]]] = {
    "reference": lambda _: reference.tally,
    "native": lambda _: native_tally,
    "triton": lambda _: triton_tally,
}
