"""The multilayer perceptron behind autograd: native code on a CPU, and all its forms."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.ops.compiled import compiled
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
    norms: Sequence[reference.Norm] = (),
) -> Tensor:
    """Compute `reference.mlp` in native code, float32 on the CPU: [G, B, in] -> [G, B, out].

    precision: what the products read, fp32 or bf16; those of a single output read fp32 all the
    same, and all sums and norms are float32. Rows of a weight must be contiguous and vectors too;
    groups may lie any distance apart. The bits of an element depend neither on the other rows nor
    on the number of threads.
    """
    pieces = (x,) if isinstance(x, Tensor) else tuple(x)
    network = Network.of(weights, biases, norms)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (*pieces, *network.flat())):
        counts = (len(pieces), len(weights))
        result: Tensor = _Mlp.apply(activation, precision, counts, *pieces, *network.flat())  # type: ignore[no-untyped-call]
        return result
    return forward(activation, pieces, network, None, precision=precision)[0]


class Network(NamedTuple):
    """The parameters of a perceptron, or their gradients.

    weights: [G, in, out] each; biases: [G, out]; scales, shifts: [G, out] of every hidden layer's
    norm, or none.
    """

    weights: Sequence[Tensor]
    biases: Sequence[Tensor]
    scales: Sequence[Tensor] = ()
    shifts: Sequence[Tensor] = ()

    @staticmethod
    def of(
        weights: Sequence[Tensor], biases: Sequence[Tensor], norms: Sequence[reference.Norm]
    ) -> Network:
        """Take the norms apart; UserError unless every hidden layer has one, or none has."""
        if len(norms) not in (0, len(weights) - 1):
            raise UserError(
                f"A perceptron of {len(weights) - 1} hidden layers takes as many norms or none, "
                f"not {len(norms)}."
            )
        return Network(weights, biases, [n[0] for n in norms], [n[1] for n in norms])

    @staticmethod
    def split(tensors: Sequence[Tensor], layers: int) -> Network:
        """Undo `flat`, for a network of so many layers."""
        ends = (layers, 2 * layers, 3 * layers - 1)
        parts = zip((0, *ends), (*ends, len(tensors)), strict=True)
        return Network(*[tensors[begin:end] for begin, end in parts])

    def flat(self) -> list[Tensor]:
        """Return weights, biases, scales, shifts in one list."""
        return [*self.weights, *self.biases, *self.scales, *self.shifts]

    def dense(self) -> Network:
        """Return the parameters as native code reads them, copied only where they must be."""
        return Network(*[[_inner(x) for x in part] for part in self])


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
def _shape(groups: int, rows: int, activation: str, precision: str, norm: bool, *sizes: int) -> Any:
    code, bf16 = _CODES[activation], precision == "bf16"
    return native.module().MlpShape(groups, rows, sizes, code, bf16, norm)


@functools.lru_cache(maxsize=256)
def _made_layers(*layers: tuple[tuple[int, int], ...]) -> Any:
    return native.module().MlpLayers(layers)


def native_layers(network: Network) -> Any:
    """Return the layers as native code has them: the same object while nothing moves."""
    rows = zip_longest(*network)
    return _made_layers(*[tuple(_address(x) for x in row) for row in rows])


def _address(x: Tensor | None) -> tuple[int, int]:
    return (0, 0) if x is None else (x.data_ptr(), x.stride(0))


def _parts(pieces: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return [(x.data_ptr(), x.shape[2], x.shape[0], x.shape[1]) for x in pieces]


def forward(
    activation: str,
    pieces: Sequence[Tensor],
    network: Network,
    keep: Callable[[int], Buffer] | None,
    out: Tensor | None = None,
    precision: str = "fp32",
) -> tuple[Tensor, Any, Any]:
    """Return y, its native shape, and the buffer of saved values from `keep`.

    out: where y is to go, if anywhere; its rows lie equally spaced.
    """
    module = native.module()
    # Bound to names: temporaries would be gone before the call reads their memory.
    pieces, network = [x.contiguous() for x in pieces], network.dense()
    weights = network.weights
    groups, rows = weights[0].shape[0], max([x.shape[1] for x in pieces])
    sizes = [weights[0].shape[1], *[w.shape[2] for w in weights]]
    shape = _shape(groups, rows, activation, precision, bool(network.scales), *sizes)
    out = torch.empty(groups, rows, sizes[-1]) if out is None else out
    saved = keep(shape.saved) if keep is not None else None
    module.mlp_forward(
        shape,
        _parts(pieces),
        native_layers(network),
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
    network: Network,
    wanted: Sequence[bool],
    results: Network | None,
) -> list[Any]:
    """Return the wanted gradients of the inputs; write those of the parameters.

    The parameters' go into `results` unless it is None; None stands for a gradient that is not
    wanted.

    gradient: [G, B, out], its rows `stride` apart.
    """
    pieces, network = [x.contiguous() for x in pieces], network.dense()
    inputs = [
        torch.empty(*gradient.shape[:2], x.shape[2]) if want else None
        for x, want in zip(pieces, wanted, strict=True)
    ]
    native.module().mlp_backward(
        shape,
        (gradient.data_ptr(), stride),
        native_layers(network),
        saved.tensor.data_ptr(),
        _parts(pieces),
        [0 if dx is None else dx.data_ptr() for dx in inputs],
        None if results is None else native_layers(results),
        torch.get_num_threads(),
    )
    return [None if dx is None else summed_to(dx, x) for dx, x in zip(inputs, pieces, strict=True)]


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, activation: str, precision: str, counts: tuple[int, int], *tensors: Tensor
    ) -> Tensor:
        ctx.count, ctx.layers = counts
        network = Network.split(tensors[ctx.count :], ctx.layers)
        out, ctx.shape, ctx.saved = forward(
            activation, tensors[: ctx.count], network, Buffer, precision=precision
        )
        ctx.save_for_backward(*tensors)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        count, wanted = ctx.count, ctx.needs_input_grad[3:]
        pieces, parameters = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        results = [destination(p) for p in parameters] if any(wanted[count:]) else None
        inputs = backward(
            ctx.shape, ctx.saved, gradient.contiguous(), gradient.shape[2], pieces,
            Network.split(parameters, ctx.layers), wanted[:count],
            None if results is None else Network.split(results, ctx.layers),
        )  # fmt: skip
        kept = [None] * len(parameters) if results is None else results
        return (None, None, None, *inputs, *kept)


def _native(context: Context) -> Callable[..., Tensor]:
    return functools.partial(native_mlp, precision=context.precision)


def _triton(context: Context) -> Callable[..., Tensor]:
    return functools.partial(triton_mlp, precision=context.precision, strict=context.strict)


FORMS: dict[str, Callable[[Context], Callable[..., Tensor]]] = {
    "reference": lambda _: reference.mlp,
    "compiled": lambda _: compiled(reference.mlp),
    "native": _native,
    "triton": _triton,
}
