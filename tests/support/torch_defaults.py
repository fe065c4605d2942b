"""Other defaults of PyTorch, as a user's program may have set them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def other_defaults() -> Iterator[None]:
    """Make float64 the default type and `meta` the default device.

    On `meta` nothing has numbers, so a tensor made without a device of its own is an error.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            yield
    finally:
        torch.set_default_dtype(before)
