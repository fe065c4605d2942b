"""The embedding of two time levels, and its forms."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.ops import mlp
from gtp_fast.ops.context import Context
from gtp_fast.ops.gradients import destination, first_order
from gtp_fast.ops.mlp import Buffer
from gtp_fast.ops.mlp_network import Network
from gtp_fast.ops.mlp_triton import empty_like
from gtp_fast.ops.operands import operand, output
from gtp_fast.system import native

# Of weight, bias, weight, bias of one clock: the weights, then the biases.
WEIGHTS_FIRST = (0, 2, 1, 3)


def native_embed(levels: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Compute `reference.embed` of two time levels in native code: [S, B, 2] -> [S, B, 2 n]."""
    if torch.is_grad_enabled() and any(p.requires_grad for p in parameters):
        result: Tensor = _NativeEmbed.apply(levels, *parameters)  # type: ignore[no-untyped-call]
        return result
    return forward(levels, parameters, None)[0]


@functools.cache
def rates(half: int) -> Tensor:
    """Return the geometric frequencies of `reference.sinusoid`."""
    exponent = torch.arange(half, dtype=torch.float64, device="cpu") / max(half - 1, 1)
    return torch.pow(10_000.0, -exponent).float()


def forward(
    levels: Tensor, parameters: Sequence[Tensor], keep: Callable[[int], Buffer] | None
) -> tuple[Tensor, Tensor, list[tuple[Any, Any]]]:
    """Return the embedding, its sines, and what each clock's pass keeps."""
    (S, B, _), features = levels.shape, parameters[0].shape[1]
    levels, rate = operand(levels, (S, B, 2), "levels"), rates(features // 2)
    sines, out = output(2, S, B, features), output(S, B, 2 * features)
    native.module().sinusoid(
        levels.data_ptr(), S * B, rate.data_ptr(), features // 2, sines.data_ptr()
    )
    halves = (out[..., :features], out[..., features:])
    clocks = zip(sines.unbind(0), (parameters[:4], parameters[4:]), halves, strict=True)
    kept = [mlp.forward("mish", (x,), Network(p[::2], p[1::2]), keep, y)[1:] for x, p, y in clocks]
    return out, sines, kept


def backward(
    kept: Sequence[tuple[Any, Any]],
    sines: Tensor,
    gradient: Tensor,
    parameters: Sequence[Tensor],
    results: Sequence[Tensor],
) -> None:
    """Write the gradients of the parameters into results, from that of the embedding."""
    gradient = gradient.contiguous()
    for clock, dy in enumerate(gradient.chunk(2, -1)):
        own, to = (
            Network.split([tensors[4 * clock + i] for i in WEIGHTS_FIRST], 2)
            for tensors in (parameters, results)
        )
        mlp.backward(*kept[clock], dy, gradient.shape[2], (sines[clock],), own, (False,), to)


class _NativeEmbed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, levels: Tensor, *parameters: Tensor) -> Tensor:
        out, sines, ctx.kept = forward(levels, parameters, Buffer)
        ctx.save_for_backward(sines, *parameters)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        sines, *parameters = ctx.saved_tensors
        results = [destination(p) for p in parameters]
        backward(ctx.kept, sines, gradient, parameters, results)
        return (None, *results)


def triton_embed(levels: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Compute `reference.embed` of two time levels in one launch: [S, B, 2] -> [S, B, 2 n]."""
    result: Tensor = _TritonEmbed.apply(levels, *parameters)  # type: ignore[no-untyped-call]
    return result


class _TritonEmbed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, levels: Tensor, *parameters: Tensor) -> Tensor:
        from gtp_fast.kernels import embed as kernel

        ctx.save_for_backward(levels, *parameters)
        y: Tensor = kernel.embed(levels, parameters)
        return y

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from gtp_fast.kernels import embed as kernel

        levels, *parameters = ctx.saved_tensors
        results = empty_like(parameters)
        kernel.embed_backward(gradient, levels, parameters, results)
        return (None, *results)


def _compiled(context: Context) -> Callable[..., Tensor]:
    return functools.partial(reference.embed, mlp=context.mlp)


FORMS: dict[str, Callable[[Context], Callable[..., Tensor]]] = {
    "reference": lambda _: reference.embed,
    "compiled": _compiled,
    "native": lambda _: native_embed,
    "triton": lambda _: triton_embed,
}
