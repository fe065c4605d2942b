"""The fused multilayer perceptron: native code on a CPU, Triton on a GPU, behind autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from gtp_fast import native, reference

_CODES = {"mish": 0, "relu": 1, "gelu": 2}


def mlp(
    x: Tensor | Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str = "mish",
) -> Tensor:
    """Compute `reference.mlp` in native code, float32 on the CPU: [G, B, in] -> [G, B, out].

    Rows of a weight must be contiguous and a bias too; groups may lie any distance apart. The bits
    of an element depend neither on the other rows nor on the number of threads.
    """
    x = reference.join(x, weights[0].shape[0])
    result: Tensor = _Mlp.apply(x, activation, *weights, *biases)  # type: ignore[no-untyped-call]
    return result


class _Buffer:
    """Floats that a forward pass keeps until its graph is gone, then given to the next that needs
    as many.

    Fresh memory of this size costs more in page faults than the pass spends writing it.
    """

    _free: ClassVar[dict[int, list[Tensor]]] = {}

    def __init__(self, size: int):
        free = self._free.setdefault(size, [])
        self.tensor = free.pop() if free else torch.empty(size)

    def __del__(self) -> None:
        self._free[self.tensor.numel()].append(self.tensor)


def _inner(tensor: Tensor) -> Tensor:
    """Return the tensor with contiguous groups, copied only where they are not."""
    return tensor if tensor[:1].is_contiguous() else tensor.contiguous()


def _layers(weights: Sequence[Tensor], biases: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return [
        (w.data_ptr(), b.data_ptr(), w.stride(0), b.stride(0))
        for w, b in zip(weights, biases, strict=True)
    ]


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: str, *parameters: Tensor) -> Tensor:
        # Bound to a name: a temporary would be gone before the call reads its memory.
        x = x.contiguous()
        module, count = native.module(), len(parameters) // 2
        weights = [_inner(w) for w in parameters[:count]]
        biases = [_inner(b) for b in parameters[count:]]
        sizes = [weights[0].shape[1], *(w.shape[2] for w in weights)]
        groups, rows = x.shape[:2]
        shape = module.MlpShape(groups, rows, sizes, _CODES[activation])
        out = x.new_empty(groups, rows, sizes[-1])
        keeps = any(ctx.needs_input_grad)
        saved = _Buffer(shape.saved) if keeps else None
        module.mlp_forward(
            shape,
            x.data_ptr(),
            _layers(weights, biases),
            out.data_ptr(),
            0 if saved is None else saved.tensor.data_ptr(),
            torch.get_num_threads(),
        )
        if saved is not None:
            ctx.shape, ctx.saved = shape, saved
            ctx.save_for_backward(*weights, *biases)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        parameters = ctx.saved_tensors
        count = len(parameters) // 2
        weights, biases = parameters[:count], parameters[count:]
        gradient = gradient.contiguous()
        groups, rows = gradient.shape[:2]
        results = [torch.empty(p.shape, dtype=p.dtype) for p in parameters]
        dx = gradient.new_empty(groups, rows, weights[0].shape[1])
        wants_input = ctx.needs_input_grad[0]
        native.module().mlp_backward(
            ctx.shape,
            gradient.data_ptr(),
            _layers(weights, biases),
            ctx.saved.tensor.data_ptr(),
            dx.data_ptr() if wants_input else 0,
            _layers(results[:count], results[count:]),
            torch.get_num_threads(),
        )
        return (dx if wants_input else None, None, *results)
