"""The multilayer perceptron behind autograd: native code on a CPU, and all its forms."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.ops.compiled import compiled
from gtp_fast.ops.context import Context
from gtp_fast.ops.gradients import destination, first_order, summed_to
from gtp_fast.ops.limits import Beyond, beyond, of_network
from gtp_fast.ops.mlp_network import Network, native_layers, read
from gtp_fast.ops.mlp_triton import triton_mlp
from gtp_fast.ops.operands import operand, output
from gtp_fast.ops.precision import checked
from gtp_fast.system import native

_CODES = {"mish": 0, "relu": 1, "gelu": 2}


def native_mlp(
    x: Tensor | Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str = "mish",
    precision: str = "fp32",
    norms: Sequence[reference.Norm] = (),
    strict: bool = False,
) -> Tensor:
    """Compute `reference.mlp` in native code, float32 on the CPU: [G, B, in] -> [G, B, out].

    precision: what the products read, fp32 or bf16; those of a single output read fp32 all the
    same, and all sums and norms are float32. Rows of a weight must be contiguous and vectors too;
    groups may lie any distance apart. The bits of an element depend neither on the other rows nor
    on the number of threads. Layers beyond `limits.NATIVE_LAYER` go through the reference, which is
    reported once; strict: they raise UserError.
    """
    pieces = (x,) if isinstance(x, Tensor) else tuple(x)
    network = Network.of(weights, biases, norms)
    try:
        if torch.is_grad_enabled() and any(t.requires_grad for t in (*pieces, *network.flat())):
            counts = (len(pieces), len(weights))
            result: Tensor = _Mlp.apply(activation, precision, counts, *pieces, *network.flat())  # type: ignore[no-untyped-call]
            return result
        return forward(activation, pieces, network, None, precision=precision)[0]
    except Beyond as error:
        beyond(f"a network of {weights[0].shape[1]} inputs", str(error), strict)
        return reference.mlp(x, weights, biases, activation, norms)


def native_affine(x: Tensor, weight: Tensor, bias: Tensor, strict: bool = False) -> Tensor:
    """Compute `reference.affine` in native code, in float32 whatever the run's precision.

    PyTorch's own bits depend on the number of threads, and a fold decides every action. strict: as
    for `native_mlp`.
    """
    return native_mlp(x, (weight,), (bias,), strict=strict)


class Buffer:
    """Floats that a forward pass keeps until its graph is gone.

    The next pass that needs as many takes them.

    Fresh memory of this size costs more in page faults than the pass spends writing it.
    """

    _free: ClassVar[dict[int, list[Tensor]]] = {}

    def __init__(self, size: int):
        free = self._free.setdefault(size, [])
        self.tensor = free.pop() if free else output(size)

    def __del__(self) -> None:
        self._free[self.tensor.numel()].append(self.tensor)


@functools.lru_cache(maxsize=64)
def _shape(groups: int, rows: int, activation: str, precision: str, norm: bool, *sizes: int) -> Any:
    if reason := of_network("native", sizes):
        raise Beyond(reason)
    code, bf16 = _CODES[activation], checked(precision, ("fp32", "bf16")) == "bf16"
    return native.module().MlpShape(groups, rows, sizes, code, bf16, norm)


Part = tuple[int, int, int, int]
"""Address, width, groups and rows of a piece of the input."""


def _read_pieces(pieces: Sequence[Tensor]) -> tuple[list[Tensor], list[Part]]:
    """Return the pieces as native code reads them; the tensors must outlive the call."""
    kept, parts = [], []
    for x in pieces:
        shape = x.shape
        if len(shape) != 3:
            raise UserError(f"a piece of x must be [G, B, n], not {list(shape)}")
        kept.append(operand(x, shape, "x"))
        parts.append((kept[-1].data_ptr(), shape[2], shape[0], shape[1]))
    return kept, parts


def forward(
    activation: str,
    pieces: Sequence[Tensor],
    network: Network,
    keep: Callable[[int], Buffer] | None,
    out: Tensor | None = None,
    precision: str = "fp32",
) -> tuple[Tensor, Any, Any]:
    """Return y, its native shape, and the buffer of saved values from `keep`.

    out: where y is to go, if anywhere; its rows lie equally spaced. UserError for parameters and
    inputs of another shape, dtype or device.
    """
    module = native.module()
    # Bound to names: temporaries would be gone before the call reads their memory.
    (pieces, parts), (sizes, layers, _kept) = _read_pieces(pieces), read(network)
    groups, rows = network.weights[0].shape[0], max([rows for *_, rows in parts])
    shape = _shape(groups, rows, activation, precision, bool(network.scales), *sizes)
    result = (groups, rows, sizes[-1])
    if out is None:
        out = output(*result)
    elif out.shape != result:
        raise UserError(f"the network returns {list(result)}, not {list(out.shape)}")
    saved = keep(shape.saved) if keep is not None else None
    to = out.data_ptr(), out.stride(1)
    address = 0 if saved is None else saved.tensor.data_ptr()
    try:
        module.mlp_forward(shape, parts, layers, to, address, torch.get_num_threads())
    except ValueError as error:
        given = [list(x.shape) for x in pieces]
        raise UserError(f"x {given} does not fit {groups} networks of {sizes}: {error}.") from error
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
    (pieces, parts), (_, layers, _kept) = _read_pieces(pieces), read(network)
    inputs = [
        output(*gradient.shape[:2], x.shape[2]) if want else None
        for x, want in zip(pieces, wanted, strict=True)
    ]
    native.module().mlp_backward(
        shape,
        (gradient.data_ptr(), stride),
        layers,
        saved.tensor.data_ptr(),
        parts,
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
    @first_order
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
    return functools.partial(native_mlp, precision=context.precision, strict=context.strict)


def _triton(context: Context) -> Callable[..., Tensor]:
    return functools.partial(triton_mlp, precision=context.precision, strict=context.strict)


FORMS: dict[str, Callable[[Context], Callable[..., Tensor]]] = {
    "reference": lambda _: reference.mlp,
    "compiled": lambda _: compiled(reference.mlp),
    "native": _native,
    "triton": _triton,
}

AFFINE: dict[str, Callable[[Context], Callable[..., Tensor]]] = {
    "reference": lambda _: reference.affine,
    "compiled": lambda _: reference.affine,
    "native": lambda context: functools.partial(native_affine, strict=context.strict),
    "triton": lambda _: reference.affine,
}
"""`reference.affine` by the form of the mlp."""
