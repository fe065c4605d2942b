"""Plain PyTorch at a lower precision: matrix products read rounded operands and sum in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def to_bf16(x: Tensor) -> Tensor:
    """Round float32 to the nearest bfloat16, and keep it as float32."""
    return x.bfloat16().float()


def to_tf32(x: Tensor) -> Tensor:
    """Round float32 to ten bits of mantissa, ties away from zero."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


ROUND: dict[str, Callable[[Tensor], Tensor]] = {
    "fp32": lambda x: x,
    "tf32": to_tf32,
    "bf16": to_bf16,
}


class RoundedProducts(TorchFunctionMode):
    """Inside this context, every `@` rounds both its operands to a precision."""

    def __init__(self, precision: str):
        super().__init__()
        self.round = ROUND[precision]
        self.products = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func in (torch.matmul, Tensor.matmul, Tensor.__matmul__):
            args = tuple(map(self.round, args))
            self.products += 1
        return func(*args, **(kwargs or {}))
