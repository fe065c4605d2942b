"""The multilayer perceptron behind autograd: native code on a CPU, and all its forms."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.ops.context import Context
from gtp_fast.ops.gradients import destination, summed_to
from gtp_fast.ops.mlp_triton import triton_mlp
from gtp_fast.system import native

_CODES = {"mish": 0, "relu": 1, "gelu": 2}


def native_mlp(
    x: Tensor | Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str = "mish",
    precision: str = "fp32",
) -> Tensor:
    """Compute `reference.mlp` in native code, float32 on the CPU: [G, B, in] -> [G, B, out].

    precision: what the products read, fp32 or bf16; those of a single output read fp32 all the
    same, and all sums are float32. Rows of a weight must be contiguous and a bias too; groups may
    lie any distance apart. The bits of an element depend neither on the other rows nor on the
    number of threads.
    """
    pieces = (x,) if isinstance(x, Tensor) else tuple(x)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (*pieces, *weights, *biases)):
        result: Tensor = _Mlp.apply(activation, precision, len(pieces), *pieces, *weights, *biases)  # type: ignore[no-untyped-call]
        return result
    return forward(activation, pieces, weights, biases, None, precision=precision)[0]


class Buffer:
    """Floats that a forward pass keeps until its graph is gone.

    The next pass that needs as many takes them.

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
    strides, shape = tensor.stride(), tensor.shape
    dense = strides[-1] == 1 and (len(shape) == 2 or strides[1] == shape[2])
    return tensor if dense else tensor.contiguous()


@functools.lru_cache(maxsize=64)
def _shape(groups: int, rows: int, activation: str, precision: str, *sizes: int) -> Any:
    return native.module().MlpShape(groups, rows, sizes, _CODES[activation], precision == "bf16")


@functools.lru_cache(maxsize=256)
def _made_layers(*layers: tuple[int, ...]) -> Any:
    return native.module().MlpLayers(layers)


def native_layers(weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Any:
    """Return the layers as native code has them: the same object while nothing moves."""
    return _made_layers(
        *[
            (w.data_ptr(), b.data_ptr(), w.stride(0), b.stride(0))
            for w, b in zip(weights, biases, strict=True)
        ]
    )


def _parts(pieces: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return [(x.data_ptr(), x.shape[2], x.shape[0], x.shape[1]) for x in pieces]


def forward(
    activation: str,
    pieces: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    keep: Callable[[int], Buffer] | None,
    out: Tensor | None = None,
    precision: str = "fp32",
) -> tuple[Tensor, Any, Any]:
    """Return y, its native shape, and the buffer of saved values from `keep`.

    out: where y is to go, if anywhere; its rows lie equally spaced.
    """
    module = native.module()
    # Bound to names: temporaries would be gone before the call reads their memory.
    pieces = [x.contiguous() for x in pieces]
    weights, biases = [_inner(w) for w in weights], [_inner(b) for b in biases]
    groups, rows = weights[0].shape[0], max([x.shape[1] for x in pieces])
    sizes = [weights[0].shape[1], *[w.shape[2] for w in weights]]
    shape = _shape(groups, rows, activation, precision, *sizes)
    out = torch.empty(groups, rows, sizes[-1]) if out is None else out
    saved = keep(shape.saved) if keep is not None else None
    module.mlp_forward(
        shape,
        _parts(pieces),
        native_layers(weights, biases),
        (out.data_ptr(), out.stride(1)),
        0 if saved is None else saved.tensor.data_ptr(),
        torch.get_num_threads(),
    )
    return out, shape, saved


def backward(
    shape: Any,
    saved: Buffer,
    gradient: Tensor,
    stride: int,
    pieces: Sequence[Tensor],
    parameters: Sequence[Tensor],
    wanted: Sequence[bool],
    results: Sequence[Tensor],
) -> list[Any]:
    """Return the wanted gradients of the inputs; write those of the parameters.

    The parameters' go into `results`, weights first, unless it is empty; None stands for a gradient
    that is not wanted.

    gradient: [G, B, out], its rows `stride` apart.
    """
    half = len(parameters) // 2
    pieces, parameters = [x.contiguous() for x in pieces], [_inner(p) for p in parameters]
    inputs = [
        torch.empty(*gradient.shape[:2], x.shape[2]) if want else None
        for x, want in zip(pieces, wanted, strict=True)
    ]
    native.module().mlp_backward(
        shape,
        (gradient.data_ptr(), stride),
        native_layers(parameters[:half], parameters[half:]),
        saved.tensor.data_ptr(),
        _parts(pieces),
        [0 if dx is None else dx.data_ptr() for dx in inputs],
        native_layers(results[:half], results[half:]) if results else None,
        torch.get_num_threads(),
    )
    return [None if dx is None else summed_to(dx, x) for dx, x in zip(inputs, pieces, strict=True)]


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activation: str, precision: str, count: int, *tensors: Tensor) -> Tensor:
        pieces, parameters = tensors[:count], tensors[count:]
        half = len(parameters) // 2
        out, ctx.shape, ctx.saved = forward(
            activation, pieces, parameters[:half], parameters[half:], Buffer, precision=precision
        )
        ctx.count = count
        ctx.save_for_backward(*tensors)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        count, pieces = ctx.count, ctx.saved_tensors[: ctx.count]
        parameters, wanted = ctx.saved_tensors[count:], ctx.needs_input_grad[3:]
        trains = any(wanted[count:])
        results = [destination(p) for p in parameters] if trains else []
        inputs = backward(
            ctx.shape, ctx.saved, gradient.contiguous(), gradient.shape[2], pieces, parameters,
            wanted[:count], results,
        )  # fmt: skip
        kept = results if trains else [None] * len(parameters)
        return (None, None, None, *inputs, *kept)


def _native(context: Context) -> Callable[..., Tensor]:
    return functools.partial(native_mlp, precision=context.precision)


def _triton(context: Context) -> Callable[..., Tensor]:
    return functools.partial(triton_mlp, precision=context.precision, strict=context.strict)


FORMS: dict[str, Callable[[Context], Callable[..., Tensor]]] = {
    "reference": lambda _: reference.mlp,
    "compiled": lambda _: torch.compile(reference.mlp, dynamic=False),
    "native": _native,
    "triton": _triton,
}
