"""Where gradients of parameters belong: a backward pass that asks writes them there itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from gtp_fast.networks.parameters import Parameters

_homes: dict[int, Tensor] = {}


@contextmanager
def _offered(parameters: Sequence[Tensor], homes: Sequence[Tensor]) -> Iterator[None]:
    addresses = [p.data_ptr() for p in parameters]
    _homes.update(zip(addresses, homes, strict=True))
    try:
        yield
    finally:
        for address in addresses:
            _homes.pop(address, None)


def destination(parameter: Tensor) -> Tensor:
    """Return where a backward pass is to write the gradient of a parameter: its home while
    `differentiate` offers one that no earlier pass has taken, else memory of its own.
    """
    home = _homes.pop(parameter.data_ptr(), None)
    return torch.empty(parameter.shape) if home is None else home


def differentiate(parameters: Parameters, loss: Tensor) -> None:
    """Do `Parameters.differentiate`, sparing a copy of each gradient that is written at home."""
    leaves, homes = (list(x.values()) for x in (parameters.views, parameters.gradient_views))
    with _offered(leaves, homes):
        parts = torch.autograd.grad(loss, leaves)
    # A gradient that several passes add to comes back as their sum, in memory of its own.
    away = [pair for pair in zip(homes, parts, strict=True) if pair[0] is not pair[1]]
    if away:
        torch._foreach_copy_([home for home, _ in away], [part for _, part in away])
