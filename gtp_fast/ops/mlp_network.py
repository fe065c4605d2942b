"""The parameters of a perceptron as native code reads them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gtp_fast import reference
from gtp_fast.errors import UserError
from gtp_fast.ops.operands import misfit
from gtp_fast.system import native

Address = tuple[int, int]
"""Where a tensor begins, and how many numbers its groups lie apart."""
_NONE: Address = (0, 0)


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


@functools.lru_cache(maxsize=256)
def _made_layers(*layers: tuple[Address, ...]) -> Any:
    return native.module().MlpLayers(layers)


def native_layers(network: Network) -> Any:
    """Return the layers as native code has them: the same object while nothing moves."""
    rows = zip_longest(*network)
    return _made_layers(
        *[tuple(_NONE if x is None else (x.data_ptr(), x.stride(0)) for x in row) for row in rows]
    )


def read(network: Network) -> tuple[list[int], Any, list[Tensor]]:
    """Return the sizes of a network, its `native_layers`, and the tensors that these read.

    Tensors are copied only where a group has gaps, and must outlive the call that reads them.
    UserError for what is not float32 on the CPU, or does not fit the other parameters.
    """
    weights, biases, scales, shifts = network
    groups, width = weights[0].shape[:2]
    sizes, layers, kept = [width], list[tuple[Address, ...]](), list[Tensor]()
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        outputs = weight.shape[-1]
        layer = [
            _address(weight, (groups, width, outputs), "a weight", kept),
            _address(bias, (groups, outputs), "a bias", kept),
            _NONE,
            _NONE,
        ]
        if i < len(scales):
            layer[2] = _address(scales[i], (groups, outputs), "a norm's scale", kept)
            layer[3] = _address(shifts[i], (groups, outputs), "a norm's shift", kept)
        layers.append(tuple(layer))
        sizes.append(width := outputs)
    return sizes, _made_layers(*layers), kept


def _address(x: Tensor, shape: tuple[int, ...], name: str, kept: list[Tensor]) -> Address:
    if x.shape != shape or x.dtype is not torch.float32 or not x.is_cpu:
        raise misfit(x, shape, name)
    strides = x.stride()
    if strides[-1] != 1 or (len(shape) == 3 and strides[1] != shape[2]):
        x = x.contiguous()
        strides = x.stride()
    kept.append(x)
    return x.data_ptr(), strides[0]
