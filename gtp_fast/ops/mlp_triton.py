"""Triton's multilayer perceptron behind autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.ops.gradients import first_order, summed_to
from gtp_fast.ops.limits import beyond, of_network


def triton_mlp(
    x: Tensor | Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str = "mish",
    precision: str = "fp32",
    strict: bool = False,
    norms: Sequence[reference.Norm] = (),
) -> Tensor:
    """Compute `reference.mlp`, all layers in one launch: [G, B, in] -> [G, B, out].

    precision: what the products read, fp32, tf32 or bf16; sums are float32 in any case. Sizes
    beyond the kernel's (widths of 8 to 512, up to 64 outputs) and norms go through the reference,
    which is reported once; strict: they raise UserError.
    """
    sizes = (weights[0].shape[1], *[weight.shape[2] for weight in weights])
    if reason := of_network("triton", sizes, bool(norms)):
        beyond(_named(sizes, bool(norms)), reason, strict)
        return reference.mlp(x, weights, biases, activation, norms)
    pieces = (x,) if isinstance(x, Tensor) else tuple(x)
    result: Tensor = _Mlp.apply(  # type: ignore[no-untyped-call]
        activation, precision, len(pieces), *pieces, *weights, *biases
    )
    return result


def _named(sizes: tuple[int, ...], norm: bool) -> str:
    size = f"a network of {len(sizes) - 2} hidden layers of {sizes[1]} with {sizes[-1]} outputs"
    return size + " and layer norm" * norm


def empty_like(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return empty tensors of the same shapes: views of one flat buffer, in order."""
    groups = parameters[0].shape[0]
    sizes = [p[0].numel() for p in parameters]
    flat = torch.empty((groups, sum(sizes)), dtype=torch.float32, device=parameters[0].device)
    parts = torch.split(flat, sizes, 1)
    return [
        part.unflatten(1, p.shape[1:])  # type: ignore[no-untyped-call]
        for part, p in zip(parts, parameters, strict=True)
    ]


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activation: str, precision: str, count: int, *tensors: Tensor) -> Tensor:
        from gtp_fast.kernels import mlp as kernel

        inputs, parameters = tensors[:count], tensors[count:]
        half = len(parameters) // 2
        weights, biases = parameters[:half], parameters[half:]
        saves = any(ctx.needs_input_grad)
        y: Tensor
        y, saved = kernel.mlp(inputs, weights, biases, activation, precision, saves)
        if saved is not None:
            ctx.count, ctx.precision = count, precision
            ctx.save_for_backward(*inputs, *parameters, *saved)
        return y

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from gtp_fast.kernels import mlp as kernel
        from gtp_fast.kernels import mlp_backward

        *tensors, hidden, slopes = ctx.saved_tensors
        inputs, parameters = tensors[: ctx.count], tensors[ctx.count :]
        half = len(parameters) // 2
        wanted = ctx.needs_input_grad[3 : 3 + ctx.count]
        trains = any(ctx.needs_input_grad[3 + ctx.count :])
        # Weight, bias, weight, bias: the order that the kernel writes one flat row in.
        pairs = [p for pair in zip(parameters[:half], parameters[half:], strict=True) for p in pair]
        results = empty_like(pairs) if trains else []
        found = mlp_backward.mlp_backward(
            gradient, kernel.Saved(hidden, slopes), inputs, parameters[:half], parameters[half:],
            results[::2], results[1::2], wanted, ctx.precision,
        )  # fmt: skip
        found = [None if g is None else summed_to(g, x) for g, x in zip(found, inputs, strict=True)]
        kept = [*results[::2], *results[1::2]] if trains else [None] * len(parameters)
        return (None, None, None, *found, *kept)
