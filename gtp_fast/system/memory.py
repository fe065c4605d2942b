"""Tensors in memory that several processes see, without a name that could outlive them."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Mapping

import torch
from torch import Tensor

Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]
_ALIGNED = 64


class Shared:
    """Named tensors one after another in one piece of memory.

    file: the memory's open file in this process, to be inherited by others. Who may write when is
    for the processes to agree on.
    """

    def __init__(self, layout: Layout, file: int):
        self.layout, self.file = layout, file
        memory = mmap.mmap(file, _size(layout))
        self.tensors: dict[str, Tensor] = {}
        offset = 0
        for name, (dtype, shape) in layout.items():
            count = math.prod(shape)
            flat = torch.frombuffer(memory, dtype=dtype, count=count, offset=offset)
            self.tensors[name] = flat.view(shape)
            offset += _bytes(dtype, shape)

    def close(self) -> None:
        """Close the file; the memory goes with the last tensor of the last process."""
        os.close(self.file)


def copied(tensors: Mapping[str, Tensor]) -> Shared:
    """Return shared memory that holds copies of the tensors, none of them empty."""
    layout = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("gtp_fast")
    else:
        with tempfile.TemporaryFile() as made:
            file = os.dup(made.fileno())
    os.ftruncate(file, _size(layout))
    shared = Shared(layout, file)
    for name, tensor in tensors.items():
        shared.tensors[name].copy_(tensor)
    return shared


def _bytes(dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    return -(-math.prod(shape) * dtype.itemsize // _ALIGNED) * _ALIGNED


def _size(layout: Layout) -> int:
    return sum(_bytes(*entry) for entry in layout.values())
